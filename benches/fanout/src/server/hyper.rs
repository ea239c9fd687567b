//! Plain hyper.

use std::{
    convert::Infallible,
    io, mem,
    num::NonZeroUsize,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::{Request, Response, body::Incoming, header::HeaderValue, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::{BoxError, Layer, Service, service_fn};
use tower_sse::{LastEventId, SseLayer};

use super::ours;
use crate::control;

pub(super) async fn ours(listener: TcpListener, history: NonZeroUsize) -> io::Result<()> {
    let hub = ours::hub(history);
    tokio::spawn(control::publish(control::commands(), ours::sink(&hub)));
    let handler = service_fn(move |request: Request<Incoming>| {
        let last = request.headers().get("last-event-id");
        let last = match last.map(|id| id.to_str()) {
            None => LastEventId::Absent,
            Some(Ok(id)) => LastEventId::Id(id.into()),
            Some(Err(_)) => LastEventId::Unusable,
        };
        let stream = ours::follow(&hub, request.uri().query(), last);
        async { Ok::<_, Infallible>(stream.into_http_response()) }
    });
    serve(listener, SseLayer::new().layer(handler)).await
}

pub(super) async fn empty(listener: TcpListener) -> io::Result<()> {
    tokio::spawn(control::publish(control::commands(), ()));
    serve(
        listener,
        service_fn(async |_: Request<Incoming>| {
            let mut response = Response::new(Silence::default());
            for (name, value) in HEADERS {
                let value = HeaderValue::from_static(value);
                response.headers_mut().insert(name, value);
            }
            Ok::<_, Infallible>(response)
        }),
    )
    .await
}

async fn serve<S, B>(listener: TcpListener, service: S) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = TowerToHyperService::new(service.clone());
        let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        // It ends with an error where its client is gone.
        tokio::spawn(async { drop(connection.await) });
    }
}

/// The headers of every event stream.
pub(super) const HEADERS: [(&str, &str); 3] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),
];

/// A body of which nothing comes but the first bytes of every event stream. What a server keeps once
/// it has sent something is no part of the difference, nor are [`HEADERS`].
#[derive(Default)]
pub(super) struct Silence {
    has_begun: bool,
}

impl Silence {
    pub(super) fn poll_bytes(&mut self) -> Poll<Option<Result<Bytes, Infallible>>> {
        match mem::replace(&mut self.has_begun, true) {
            false => Poll::Ready(Some(Ok(Bytes::from_static(b":\n")))),
            true => Poll::Pending,
        }
    }
}

impl Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = ready!(self.poll_bytes());
        Poll::Ready(bytes.map(|bytes| bytes.map(Frame::data)))
    }
}
