//! The layer in Tower.

use std::{
    fmt,
    future::ready,
    mem,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, header, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Admission, Admitted, Answer, Entry, LayerBody, RequestView, Route, SseLayer, Treatment,
    body::Foreign,
};
use crate::{
    connection::{BoxError, OpenStream},
    head::{self, Version},
    recording::{Listener, Producer, Recorded},
    store::BoxFuture,
};

impl<S> Layer<S> for SseLayer {
    type Service = SseService<S>;

    fn layer(&self, inner: S) -> SseService<S> {
        SseService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that an [`SseLayer`] makes.
#[derive(Clone, Debug)]
pub struct SseService<S> {
    inner: S,
    layer: SseLayer,
}

impl<S, B, R> Service<Request<R>> for SseService<S>
where
    S: Service<Request<R>, Response = Response<B>> + Clone,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<LayerBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> ResponseFuture<S, R> {
        let context = RequestContext {
            layer: self.layer.clone(),
            version: match request.version() {
                http::Version::HTTP_09 | http::Version::HTTP_10 => Version::Http10,
                http::Version::HTTP_11 => Version::Http11,
                _ => Version::Later,
            },
            head: request.method() == Method::HEAD,
        };
        let accept = request
            .headers()
            .get(header::ACCEPT)
            .map(HeaderValue::as_bytes);
        let view = || RequestView::from(&request);
        let route = || Route::path(request.uri().path());
        let entry = self
            .layer
            .entry(request.method().as_str(), accept, view, route);
        let state = match entry {
            Entry::Open(admission) => State::Called {
                future: self.inner.call(request),
                admission: Some(admission),
            },
            Entry::Refused(answer) => State::Refused {
                answer: Some(answer),
            },
            Entry::Asked(decision) => {
                // The one that was polled ready is called later; its clone takes its place.
                let clone = self.inner.clone();
                State::Asked {
                    asked: Box::new(Asked {
                        decision,
                        call: Some((mem::replace(&mut self.inner, clone), request)),
                    }),
                }
            }
        };
        ResponseFuture { context, state }
    }
}

/// What waits for the hook.
struct Asked<S, R> {
    decision: BoxFuture<'static, Result<Admitted, Answer>>,
    call: Option<(S, Request<R>)>,
}

/// What waits for a handler in a task of its own.
struct Apart<P, E> {
    told: BoxFuture<'static, Result<Opened<P>, E>>,
    client: Option<(Admission, Listener)>,
}

/// What a handler in a task of its own has answered.
enum Opened<P> {
    /// An event stream, whose body stays there.
    Stream(response::Parts),
    Other(P),
}

struct RequestContext {
    layer: SseLayer,
    version: Version,
    head: bool,
}

pin_project! {
    /// The future of an [`SseService`].
    pub struct ResponseFuture<S, R>
    where
        S: Service<Request<R>>,
    {
        context: RequestContext,
        #[pin]
        state: State<S, S::Future, R, S::Response, S::Error>,
    }
}

pin_project! {
    #[project = Project]
    enum State<S, F, R, P, E> {
        // Boxed, since servers keep room for this future as long as a connection lasts.
        Asked { asked: Box<Asked<S, R>> },
        Refused { answer: Option<Answer> },
        Called { #[pin] future: F, admission: Option<Admission> },
        Apart { apart: Box<Apart<P, E>> },
    }
}

impl<S, B, R> Future for ResponseFuture<S, R>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<LayerBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                Project::Called { future, admission } => {
                    let response = ready!(future.poll(cx))?;
                    let admission = admission.take().unwrap_or_default();
                    return Poll::Ready(Ok(this.context.decorate(response, admission)));
                }
                Project::Refused { answer } => {
                    let answer = answer
                        .take()
                        .expect("a future is not polled after it was ready");
                    return Poll::Ready(Ok(LayerBody::answer(answer, this.context.head)));
                }
                Project::Apart { apart } => {
                    let opened = ready!(apart.told.as_mut().poll(cx))?;
                    let client = apart.client.take();
                    let (admission, listener) =
                        client.expect("a future is not polled after it was ready");
                    return Poll::Ready(Ok(match opened {
                        Opened::Stream(head) => this.context.listen(head, listener, admission),
                        Opened::Other(response) => this.context.decorate(response, admission),
                    }));
                }
                Project::Asked { asked } => {
                    let admitted = match ready!(asked.decision.as_mut().poll(cx)) {
                        Ok(admitted) => admitted,
                        Err(answer) => {
                            this.state.set(State::Refused {
                                answer: Some(answer),
                            });
                            continue;
                        }
                    };
                    let call = asked.call.take();
                    let (mut inner, mut request) = call.expect("the hook decides once");
                    let call = |admission: &Admission| {
                        if let Some(grant) = admission.grant() {
                            request.extensions_mut().insert(grant.clone());
                        }
                        inner.call(request)
                    };
                    match admitted {
                        Admitted::Handler(admission) => State::Called {
                            future: call(&admission),
                            admission: Some(admission),
                        },
                        Admitted::Recorded(admission, listener) => {
                            let head = head::of_stream();
                            return Poll::Ready(Ok(this
                                .context
                                .listen(head, *listener, admission)));
                        }
                        Admitted::Task(admission, producer, listener) => {
                            let told = this.context.run_apart(*producer, call(&admission));
                            let client = Some((admission, *listener));
                            let apart = Box::new(Apart { told, client });
                            State::Apart { apart }
                        }
                    }
                }
            };
            this.state.set(next);
        }
    }
}

impl RequestContext {
    fn decorate<B>(&self, response: Response<B>, mut admission: Admission) -> Response<LayerBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = response.into_parts();
        if !head::is_event_stream(head.status.as_u16(), &head.headers) {
            return Response::from_parts(head, LayerBody::passed(body));
        }
        if head.extensions.get::<Recorded>().is_none()
            && let Some((mut producer, listener)) = admission.record(&head.headers)
        {
            self.layer.drains(&mut producer);
            let stream = Some(Foreign::new(body));
            tokio::spawn(producer.run(ready(stream)));
            return self.listen(head, listener, admission);
        }
        head::complete(&mut head.headers);
        self.version.complete(&mut head.headers);
        let open = head.extensions.get::<OpenStream>();
        let body = match self.layer.treat(&head.headers, self.head, open, admission) {
            Treatment::Pass => LayerBody::passed(body),
            Treatment::Head => LayerBody::head(),
            Treatment::Decorate(admission) => {
                let (body, open) = LayerBody::decorated(body);
                self.layer.join(&open, &head.headers, admission);
                head.extensions.insert(open);
                body
            }
        };
        Response::from_parts(head, body)
    }

    /// The response of a client of a record.
    fn listen<B>(
        &self,
        mut head: response::Parts,
        listener: Listener,
        admission: Admission,
    ) -> Response<LayerBody<B>> {
        head::complete(&mut head.headers);
        self.version.complete(&mut head.headers);
        let (body, open) = LayerBody::of(listener);
        self.layer.join(&open, &head.headers, admission);
        head.extensions.insert(open);
        head.extensions.insert(Recorded);
        Response::from_parts(head, body)
    }

    /// Runs a handler in a task of its own, and records what it sends.
    fn run_apart<F, B, E>(
        &self,
        mut producer: Producer,
        handler: F,
    ) -> BoxFuture<'static, Result<Opened<Response<B>>, E>>
    where
        F: Future<Output = Result<Response<B>, E>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Send + 'static,
    {
        self.layer.drains(&mut producer);
        let (tell, told) = oneshot::channel();
        tokio::spawn(producer.run(async move {
            let (opened, body) = match AssertUnwindSafe(handler).catch_unwind().await {
                Ok(Ok(response)) if is_recordable(&response) => {
                    let (head, body) = response.into_parts();
                    (Ok(Ok(Opened::Stream(head))), Some(Foreign::new(body)))
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
                // It was stopped before, and the record says so.
                Err(_) => Ok(Opened::Stream(head::of_stream())),
            }
        })
    }
}

fn is_recordable<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    response.extensions().get::<Recorded>().is_none()
        && head::is_event_stream(response.status().as_u16(), headers)
        && head::is_identity(headers)
}

impl<S, R> fmt::Debug for ResponseFuture<S, R>
where
    S: Service<Request<R>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
