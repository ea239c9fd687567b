//! The layer in actix-web.

use std::{
    fmt,
    future::{Ready, ready},
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::{
    Error, HttpMessage, HttpResponse, HttpResponseBuilder,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    error::ErrorServiceUnavailable,
    http::{Method, StatusCode, header},
};
use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use futures_util::FutureExt;
use pin_project_lite::pin_project;
use tokio::{sync::oneshot, task::spawn_local};

use super::body::{ActixBody, Foreign};
use crate::{
    connection::OpenStream,
    head::{self, Headers},
    layer::{Admission, Admitted, Answer, Entry, RequestView, Route, SseLayer, Treatment},
    recording::{Listener, Producer, Recorded},
    store::BoxFuture,
};

impl Headers for header::HeaderMap {
    fn get(&self, name: &'static str) -> Option<&[u8]> {
        self.get(name).map(header::HeaderValue::as_bytes)
    }

    fn set(&mut self, name: &'static str, value: &'static str) {
        let name = header::HeaderName::from_static(name);
        self.insert(name, header::HeaderValue::from_static(value));
    }

    fn remove(&mut self, name: &'static str) {
        self.remove(name);
    }
}

impl<S, B> Transform<S, ServiceRequest> for SseLayer
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<ActixBody<B>>;
    type Error = Error;
    type Transform = SseMiddleware<S>;
    type InitError = ();
    type Future = Ready<Result<SseMiddleware<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(SseMiddleware {
            inner: Rc::new(inner),
            layer: self.clone(),
        }))
    }
}

/// The middleware that an [`SseLayer`] makes in actix-web.
#[derive(Debug)]
pub struct SseMiddleware<S> {
    inner: Rc<S>,
    layer: SseLayer,
}

impl<S, B> Service<ServiceRequest> for SseMiddleware<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<ActixBody<B>>;
    type Error = Error;
    type Future = ResponseFuture<S>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> ResponseFuture<S> {
        let accept = request
            .headers()
            .get(header::ACCEPT)
            .map(header::HeaderValue::as_bytes);
        let view = || {
            RequestView::new(
                request.method().as_str(),
                request.path(),
                request.uri().query(),
                request
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_bytes())),
            )
        };
        let route = || match request.match_pattern() {
            Some(pattern) => Route::pattern(pattern),
            None => Route::path(request.path()),
        };
        let entry = self
            .layer
            .entry(request.method().as_str(), accept, view, route);
        let state = match entry {
            Entry::Open(admission) => State::Called {
                future: self.inner.call(request),
                admission: Some(admission),
            },
            Entry::Refused(answer) => State::Refused {
                refused: Some((request, answer)),
            },
            Entry::Asked(decision) => State::Asked {
                decision,
                call: Some((Rc::clone(&self.inner), request)),
            },
        };
        ResponseFuture {
            layer: self.layer.clone(),
            state,
        }
    }
}

pin_project! {
    /// The future of an [`SseMiddleware`].
    pub struct ResponseFuture<S>
    where
        S: Service<ServiceRequest>,
    {
        layer: SseLayer,
        #[pin]
        state: State<S, S::Future, S::Response>,
    }
}

pin_project! {
    #[project = Project]
    enum State<S, F, P> {
        Asked {
            decision: BoxFuture<'static, Result<Admitted, Answer>>,
            call: Option<(Rc<S>, ServiceRequest)>,
        },
        Refused { refused: Option<(ServiceRequest, Answer)> },
        Called { #[pin] future: F, admission: Option<Admission> },
        Apart {
            told: LocalBoxFuture<'static, Result<Opened<P>, Error>>,
            client: Option<(Admission, Listener)>,
        },
    }
}

/// What a handler in a task of its own has answered.
enum Opened<P> {
    /// An event stream, whose body stays there.
    Stream(ServiceResponse<()>),
    Other(P),
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Output = Result<ServiceResponse<ActixBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                Project::Called { future, admission } => {
                    let response = ready!(future.poll(cx))?;
                    let admission = admission.take().unwrap_or_default();
                    return Poll::Ready(Ok(decorate(this.layer, response, admission)));
                }
                Project::Refused { refused } => {
                    let refused = refused.take();
                    let (request, answer) =
                        refused.expect("a future is not polled after it was ready");
                    return Poll::Ready(Ok(request.into_response(respond(answer))));
                }
                Project::Apart { told, client } => {
                    let opened = ready!(told.as_mut().poll(cx))?;
                    let (admission, listener) = client
                        .take()
                        .expect("a future is not polled after it was ready");
                    return Poll::Ready(Ok(match opened {
                        Opened::Stream(head) => listen(this.layer, head, listener, admission),
                        Opened::Other(response) => decorate(this.layer, response, admission),
                    }));
                }
                Project::Asked { decision, call } => {
                    let decision = ready!(decision.as_mut().poll(cx));
                    let (inner, request) = call.take().expect("the hook decides once");
                    let call = |admission: &Admission, request: ServiceRequest| {
                        if let Some(grant) = admission.grant() {
                            request.extensions_mut().insert(grant.clone());
                        }
                        inner.call(request)
                    };
                    match decision {
                        Err(answer) => State::Refused {
                            refused: Some((request, answer)),
                        },
                        Ok(Admitted::Handler(admission)) => State::Called {
                            future: call(&admission, request),
                            admission: Some(admission),
                        },
                        Ok(Admitted::Recorded(admission, listener)) => {
                            let head = request.into_response(of_stream());
                            return Poll::Ready(Ok(listen(this.layer, head, *listener, admission)));
                        }
                        Ok(Admitted::Task(admission, producer, listener)) => State::Apart {
                            told: run_apart(this.layer, *producer, call(&admission, request)),
                            client: Some((admission, *listener)),
                        },
                    }
                }
            };
            this.state.set(next);
        }
    }
}

fn respond<B>(answer: Answer) -> HttpResponse<ActixBody<B>> {
    let status = StatusCode::from_u16(answer.status.as_u16()).unwrap_or_default();
    let mut response = HttpResponseBuilder::new(status);
    for (name, value) in &answer.headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    response
        .message_body(ActixBody::text(answer.body))
        .unwrap_or_else(|_| HttpResponse::with_body(status, ActixBody::text(Bytes::new())))
}

/// The head of an event stream that no handler has made.
fn of_stream() -> HttpResponse<()> {
    let mut response = HttpResponse::with_body(StatusCode::OK, ());
    response
        .headers_mut()
        .set("content-type", head::EVENT_STREAM);
    response
}

fn is_recordable<B>(response: &ServiceResponse<B>) -> bool {
    let headers = response.headers();
    response.response().extensions().get::<Recorded>().is_none()
        && head::is_event_stream(response.status().as_u16(), headers)
        && head::is_identity(headers)
}

/// The connection header is actix's own to write.
fn decorate<B>(
    layer: &SseLayer,
    response: ServiceResponse<B>,
    mut admission: Admission,
) -> ServiceResponse<ActixBody<B>>
where
    B: MessageBody + 'static,
{
    if !head::is_event_stream(response.status().as_u16(), response.headers()) {
        return response.map_body(|_, body| ActixBody::passed(body));
    }
    let is_head = response.request().method() == Method::HEAD;
    let is_recorded = response.response().extensions().get::<Recorded>().is_some();
    if !is_recorded && let Some((mut producer, listener)) = admission.record(response.headers()) {
        layer.drains(&mut producer);
        let (response, body) = split(response);
        spawn_local(producer.run(ready(body)));
        return listen(layer, response, listener, admission);
    }
    let (request, mut response) = response.into_parts();
    super::complete(&mut response, request.version());
    let open = response.extensions().get::<OpenStream>().cloned();
    let response = match layer.treat(response.headers(), is_head, open.as_ref(), admission) {
        Treatment::Pass => response.map_body(|_, body| ActixBody::passed(body)),
        Treatment::Head => response.map_body(|_, _| ActixBody::head()),
        Treatment::Decorate(admission) => {
            let mut open = None;
            let mut response = response.map_body(|_, body| {
                let (body, stream) = ActixBody::decorated(body);
                open = Some(stream);
                body
            });
            if let Some(open) = open {
                layer.join(&open, response.headers(), admission);
                response.extensions_mut().insert(open);
            }
            response
        }
    };
    ServiceResponse::new(request, response)
}

/// Takes the body out of a response.
fn split<B: MessageBody>(
    response: ServiceResponse<B>,
) -> (ServiceResponse<()>, Option<Foreign<B>>) {
    let mut taken = None;
    let response = response.map_body(|_, body| taken = Some(Foreign::new(body)));
    (response, taken)
}

/// The response of a client of a record.
fn listen<B>(
    layer: &SseLayer,
    response: ServiceResponse<()>,
    listener: Listener,
    admission: Admission,
) -> ServiceResponse<ActixBody<B>> {
    let (request, mut response) = response.into_parts();
    super::complete(&mut response, request.version());
    let (body, open) = ActixBody::listening(listener);
    layer.join(&open, response.headers(), admission);
    let mut response = response.set_body(body);
    response.extensions_mut().insert(open);
    response.extensions_mut().insert(Recorded);
    ServiceResponse::new(request, response)
}

/// Runs a handler in a task of its own, and records what it sends.
fn run_apart<F, B>(
    layer: &SseLayer,
    mut producer: Producer,
    handler: F,
) -> LocalBoxFuture<'static, Result<Opened<ServiceResponse<B>>, Error>>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>> + 'static,
    B: MessageBody + 'static,
{
    layer.drains(&mut producer);
    let (tell, told) = oneshot::channel();
    spawn_local(producer.run(async move {
        let (opened, body) = match AssertUnwindSafe(handler).catch_unwind().await {
            Ok(Ok(response)) if is_recordable(&response) => {
                let (response, body) = split(response);
                (Ok(Ok(Opened::Stream(response))), body)
            }
            Ok(response) => (Ok(response.map(Opened::Other)), None),
            Err(panic) => (Err(panic), None),
        };
        // The client may have gone.
        let _ = tell.send(opened);
        body
    }));
    Box::pin(async move {
        match told.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(panic)) => resume_unwind(panic),
            // It was stopped before there was a response.
            Err(_) => Err(ErrorServiceUnavailable("stopped")),
        }
    })
}

impl<S: Service<ServiceRequest>> fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
