//! Bodies for actix-web.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use pin_project_lite::pin_project;

use super::ACTIX_BUFFER;
use crate::{
    connection::{BoxError, Connection, Settings, Source, StreamFailed},
    wire::LineScanner,
};

pin_project! {
    /// A connection as a body.
    pub(super) struct StreamBody<S> {
        #[pin]
        connection: Connection<S>,
    }
}

impl<S> StreamBody<S> {
    pub(super) fn new(connection: Connection<S>) -> Self {
        Self { connection }
    }
}

impl<S: Source> MessageBody for StreamBody<S> {
    type Error = StreamFailed;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, StreamFailed>>> {
        self.project().connection.poll_bytes(cx, ACTIX_BUFFER)
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
        // Boxed, so that streams of ours, which pass, are no larger for it.
        Decorated { body: Pin<Box<StreamBody<Foreign<B>>>> },
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

    /// Somebody else's event stream.
    pub(super) fn decorated(body: B, settings: Settings) -> Self
    where
        B: MessageBody,
    {
        let scanner = LineScanner::default();
        let connection = Connection::new(Foreign { body, scanner }, settings);
        Self {
            kind: Kind::Decorated {
                body: Box::pin(StreamBody::new(connection)),
            },
        }
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
            Project::Decorated { body } => body.as_mut().poll_next(cx).map_err(Into::into),
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

pin_project! {
    /// The bytes of somebody else's event stream.
    struct Foreign<B> {
        #[pin]
        body: B,
        scanner: LineScanner,
    }
}

impl<B: MessageBody> Source for Foreign<B> {
    fn poll_bytes(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BoxError>>> {
        let bytes = ready!(self.project().body.poll_next(cx));
        // Errors of actix-web may not leave their thread, so only the text does.
        Poll::Ready(bytes.map(|bytes| bytes.map_err(|error| error.into().to_string().into())))
    }

    fn scanner(self: Pin<&mut Self>) -> Option<&mut LineScanner> {
        Some(self.project().scanner)
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
