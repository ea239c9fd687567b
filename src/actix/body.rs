//! Bodies for actix-web.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use pin_project_lite::pin_project;
use send_wrapper::SendWrapper;
use smol_str::SmolStr;

use super::ACTIX_BUFFER;
use crate::{
    connection::{BoxError, Connection, OpenStream, Source, StreamFailed},
    event::EndReason,
    recording::Listener,
    sent::{Sent, Standing},
    wire::LineScanner,
};

/// A connection as a body.
pub(super) struct StreamBody(Connection);

impl StreamBody {
    /// A stream may not leave its worker's thread.
    pub(super) fn new(source: impl Source + 'static) -> Self {
        Self(Connection::new(Local(SendWrapper::new(source))))
    }

    /// A stream that may be ended from any thread.
    pub(super) fn anywhere(source: impl Source + Send + 'static) -> Self {
        Self(Connection::new(source))
    }

    pub(super) fn open_stream(&self) -> &OpenStream {
        self.0.open_stream()
    }
}

impl MessageBody for StreamBody {
    type Error = StreamFailed;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, StreamFailed>>> {
        self.get_mut().0.poll_bytes(cx, ACTIX_BUFFER)
    }
}

/// A source that stays on its thread.
struct Local<S>(SendWrapper<S>);

impl<S: Source> Source for Local<S> {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Sent, BoxError>>> {
        self.0.poll_bytes(cx)
    }

    fn scanner(&mut self) -> Option<&mut LineScanner> {
        self.0.scanner()
    }

    fn is_plain(&self) -> bool {
        self.0.is_plain()
    }

    fn last_id(&self) -> Option<SmolStr> {
        self.0.last_id()
    }

    fn standing(&self) -> Option<Standing> {
        self.0.standing()
    }

    fn end_reason(&self) -> EndReason {
        self.0.end_reason()
    }

    fn send_away(&mut self, reason: EndReason) {
        self.0.send_away(reason);
    }

    fn is_at_home(&self) -> bool {
        self.0.valid()
    }
}

pin_project! {
    /// The body of a response that has passed an [`SseLayer`](crate::SseLayer) in actix-web.
    pub struct ActixBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = Project]
    enum Kind<B> {
        Passed { #[pin] body: B },
        Text { text: Bytes },
        // Of a stream whose head only is asked for: it has no length.
        Head,
        Decorated { #[pin] body: StreamBody },
    }
}

impl<B> ActixBody<B> {
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

    pub(super) fn text(text: Bytes) -> Self {
        Self {
            kind: Kind::Text { text },
        }
    }

    /// A client of a record, and the handle to it.
    pub(super) fn listening(listener: Listener) -> (Self, OpenStream) {
        Self::streaming(StreamBody::anywhere(listener))
    }

    /// Somebody else's event stream, and the handle to it.
    pub(super) fn decorated(body: B) -> (Self, OpenStream)
    where
        B: MessageBody + 'static,
    {
        Self::streaming(StreamBody::new(Foreign::new(body)))
    }

    fn streaming(body: StreamBody) -> (Self, OpenStream) {
        let open = body.open_stream().clone();
        let kind = Kind::Decorated { body };
        (Self { kind }, open)
    }
}

impl<B: MessageBody> MessageBody for ActixBody<B> {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        match &self.kind {
            Kind::Passed { body } => body.size(),
            Kind::Text { text } => text.size(),
            Kind::Head | Kind::Decorated { .. } => BodySize::Stream,
        }
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match self.project().kind.project() {
            Project::Passed { body } => body.poll_next(cx).map_err(Into::into),
            Project::Text { text } => Pin::new(text).poll_next(cx).map_err(Into::into),
            Project::Head => Poll::Ready(None),
            Project::Decorated { body } => body.poll_next(cx).map_err(Into::into),
        }
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.kind {
            Kind::Passed { body } => body.try_into_bytes().map_err(Self::passed),
            Kind::Text { text } => Ok(text),
            Kind::Head | Kind::Decorated { .. } => Err(self),
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

impl<B: MessageBody> Source for Foreign<B> {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Sent, BoxError>>> {
        let bytes = ready!(self.body.as_mut().poll_next(cx));
        // Errors of actix-web may not leave their thread, so only the text does.
        Poll::Ready(bytes.map(|bytes| match bytes {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(error.into().to_string().into()),
        }))
    }

    fn scanner(&mut self) -> Option<&mut LineScanner> {
        Some(&mut self.scanner)
    }
}

impl<B> fmt::Debug for ActixBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Passed { .. } => "ActixBody::Passed",
            Kind::Text { .. } => "ActixBody::Text",
            Kind::Head => "ActixBody::Head",
            Kind::Decorated { .. } => "ActixBody::Decorated",
        })
    }
}
