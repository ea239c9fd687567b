//! The layer in Tower.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Admission, Answer, Entry, LayerBody, RequestView, Route, SseLayer, Treatment};
use crate::{
    connection::{BoxError, OpenStream},
    head::{self, Version},
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
    decision: BoxFuture<'static, Result<Admission, Answer>>,
    call: Option<(S, Request<R>)>,
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
        state: State<S, S::Future, R>,
    }
}

pin_project! {
    #[project = Project]
    enum State<S, F, R> {
        // Boxed, since servers keep room for this future as long as a connection lasts.
        Asked { asked: Box<Asked<S, R>> },
        Refused { answer: Option<Answer> },
        Called { #[pin] future: F, admission: Option<Admission> },
    }
}

impl<S, B, R> Future for ResponseFuture<S, R>
where
    S: Service<Request<R>, Response = Response<B>>,
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
                Project::Asked { asked } => match ready!(asked.decision.as_mut().poll(cx)) {
                    Err(answer) => State::Refused {
                        answer: Some(answer),
                    },
                    Ok(admission) => {
                        let call = asked.call.take();
                        let (mut inner, mut request) = call.expect("the hook decides once");
                        if let Some(grant) = admission.grant() {
                            request.extensions_mut().insert(grant.clone());
                        }
                        State::Called {
                            future: inner.call(request),
                            admission: Some(admission),
                        }
                    }
                },
            };
            this.state.set(next);
        }
    }
}

impl RequestContext {
    fn decorate<B>(&self, response: Response<B>, admission: Admission) -> Response<LayerBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = response.into_parts();
        if !head::is_event_stream(head.status.as_u16(), &head.headers) {
            return Response::from_parts(head, LayerBody::passed(body));
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
}

impl<S, R> fmt::Debug for ResponseFuture<S, R>
where
    S: Service<Request<R>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
