//! The body of a response that has passed a layer.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Answer;
use crate::{
    connection::{BoxError, Connection, HYPER_BUFFER, OpenStream, Source},
    sent::Sent,
    wire::LineScanner,
};

pin_project! {
    /// The body of a response that has passed an [`SseLayer`](super::SseLayer).
    pub struct LayerBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = Project]
    enum Kind<B> {
        Passed { #[pin] body: B },
        Text { text: Option<Bytes> },
        // Of a stream whose head only is asked for: it has no length.
        Head,
        Decorated { connection: Connection },
    }
}

impl<B> LayerBody<B> {
    /// Somebody else's body, untouched.
    pub(super) fn passed(body: B) -> Self {
        Self {
            kind: Kind::Passed { body },
        }
    }

    /// That of a stream whose head only is asked for.
    pub(super) fn head() -> Self {
        Self { kind: Kind::Head }
    }

    /// An event stream, and the handle to it.
    pub(super) fn of(source: impl Source + Send + 'static) -> (Self, OpenStream) {
        let connection = Connection::new(source);
        let open = connection.open_stream().clone();
        let kind = Kind::Decorated { connection };
        (Self { kind }, open)
    }

    fn text(text: Bytes) -> Self {
        let text = Some(text).filter(|text| !text.is_empty());
        Self {
            kind: Kind::Text { text },
        }
    }

    pub(super) fn answer(answer: Answer, is_head: bool) -> http::Response<Self> {
        let len = answer.body.len();
        // Over HTTP/2 hyper sends a body to HEAD, too, if there is one.
        let body = if is_head {
            Self::head()
        } else {
            Self::text(answer.body)
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = answer.status;
        response.headers_mut().extend(answer.headers);
        if response.status() != StatusCode::NO_CONTENT {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, len.into());
        }
        response
    }
}

impl<B> LayerBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Somebody else's event stream, and the handle to it.
    pub(super) fn decorated(body: B) -> (Self, OpenStream) {
        Self::of(Foreign::new(body))
    }
}

impl<B> Body for LayerBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().kind.project() {
            Project::Passed { body } => body.poll_frame(cx).map_err(Into::into),
            Project::Text { text } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Project::Head => Poll::Ready(None),
            Project::Decorated { connection } => {
                let bytes = ready!(connection.poll_bytes(cx, HYPER_BUFFER));
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes?))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passed { body } => body.is_end_stream(),
            Kind::Text { text } => text.is_none(),
            Kind::Head => true,
            Kind::Decorated { connection } => connection.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passed { body } => body.size_hint(),
            Kind::Text { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Head | Kind::Decorated { .. } => SizeHint::default(),
        }
    }
}

/// The bytes of somebody else's event stream.
pub(super) struct Foreign<B> {
    body: Pin<Box<B>>,
    scanner: LineScanner,
}

impl<B> Foreign<B> {
    pub(super) fn new(body: B) -> Self {
        Self {
            body: Box::pin(body),
            scanner: LineScanner::default(),
        }
    }
}

impl<B> Source for Foreign<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Sent, BoxError>>> {
        loop {
            let frame = match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            };
            // Trailers mean nothing to a client of events.
            if let Ok(bytes) = frame.into_data() {
                return Poll::Ready(Some(Ok(bytes.into())));
            }
        }
    }

    fn scanner(&mut self) -> Option<&mut LineScanner> {
        Some(&mut self.scanner)
    }
}

impl<B> fmt::Debug for LayerBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Passed { .. } => "LayerBody::Passed",
            Kind::Text { .. } => "LayerBody::Text",
            Kind::Head => "LayerBody::Head",
            Kind::Decorated { .. } => "LayerBody::Decorated",
        })
    }
}
