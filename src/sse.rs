//! A response made of a stream.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderValue, Response, header};
use http_body::{Body, Frame};
use smol_str::SmolStr;

use sealed::Piece;

use crate::{
    connection::{BoxError, Connection, HYPER_BUFFER, Source, StreamFailed, caught},
    event::{EncodeError, EndReason, IntoEvent, Sealed as _},
    head,
    sent::{Sent, Standing},
    subscription::Subscription,
};

/// How much is joined into one piece of the body, in bytes, while a stream has more.
const MAX_CHUNK: usize = 64 * 1024;

/// A response that sends events.
///
/// With the feature `axum` it is an `IntoResponse`, with `actix` a `Responder`, and with plain tower
/// and hyper [`into_http_response`](Self::into_http_response) makes the response. It is compliant by
/// itself: `text/event-stream`, not cached, not transformed, not buffered by proxies, and with a
/// comment line as its first bytes so that the client knows at once that it is connected. A
/// [`SseLayer`](crate::SseLayer) on the route adds the heartbeat and all else.
///
/// # How a stream ends
///
/// When the source ends, so does the response, cleanly; browsers then come back, and fetch-based
/// clients take it for complete. When the source fails, yields an event that cannot be encoded, or
/// panics, the cause is logged, what came before is sent, and then the body breaks off without its
/// last chunk, so that clients can tell. No cause is ever sent.
///
/// # Differences from `axum::response::sse`
///
/// - Any `Serialize` value is an event, and an enum names its events.
/// - An event is valid when it is made; nothing panics and nothing is dropped.
/// - CRLF is one line break, and empty data is an event.
/// - The heartbeat comes after silence only, as a bare comment line that no client takes for an event.
/// - A [`Subscription`] resumes.
#[must_use]
pub struct Sse<S> {
    stream: S,
    functions: Functions<S>,
}

/// What can be done with a source, whatever it is.
struct Functions<S> {
    /// Polls it for its next piece, with a buffer to write it to.
    poll: fn(Pin<&mut S>, &mut Context<'_>, &mut Vec<u8>) -> PolledPiece,
    /// Returns the subscription that it is, if it is one.
    subscription: fn(&S) -> Option<&Subscription>,
}

type PolledPiece = Poll<Option<Result<Piece, BoxError>>>;

impl<S: EventSource> Sse<S> {
    /// Makes a response of a stream of values or [events](crate::Event), or of a [`Subscription`].
    pub fn new(source: S) -> Self {
        Self {
            stream: source,
            functions: Functions {
                poll: S::poll_piece,
                subscription: S::subscription,
            },
        }
    }
}

impl<S> Sse<S> {
    /// Makes a response of a stream of results. The first error ends the response as failed.
    pub fn try_new<I, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<I, E>>,
        I: IntoEvent,
        E: Into<BoxError>,
    {
        Self {
            stream,
            functions: Functions {
                poll: |stream, cx, out| {
                    let item = ready!(stream.poll_next(cx));
                    Poll::Ready(item.map(|item| written(item.map_err(Into::into)?.write(out))))
                },
                subscription: |_| None,
            },
        }
    }

    /// Makes the response, for plain tower and hyper.
    ///
    /// Its body has to be polled within a Tokio runtime.
    pub fn into_http_response(self) -> Response<SseBody>
    where
        S: Send + 'static,
    {
        let connection = Connection::new(self.into_source());
        let open = connection.open_stream().clone();
        let mut response = Response::new(SseBody { connection });
        let content_type = HeaderValue::from_static(head::EVENT_STREAM);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        head::complete(response.headers_mut());
        response.extensions_mut().insert(open);
        response
    }

    pub(crate) fn into_source(self) -> Polled<S> {
        Polled {
            stream: Box::pin(self.stream),
            functions: self.functions,
            failure: None,
        }
    }
}

impl<S> fmt::Debug for Sse<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse").finish_non_exhaustive()
    }
}

/// What [`Sse::new`] takes: a [`Subscription`], or a stream of anything that is an event.
///
/// This trait is sealed; it is implemented for everything that it can be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as events",
    note = "`Sse::new` takes a stream of `Serialize` values or `Event`s, or a `Subscription`",
    note = "a stream of `Result`s goes through `Sse::try_new`"
)]
pub trait EventSource: sealed::Sealed {}

impl<S> EventSource for S
where
    S: Stream,
    S::Item: IntoEvent,
{
}
impl EventSource for Subscription {}

mod sealed {
    use super::{Context, Pin, Sent, Subscription};

    #[derive(Debug)]
    pub enum Piece {
        /// The block of an event was appended to the buffer.
        Written,
        /// Blocks that are joined already.
        Joined(Sent),
    }

    pub trait Sealed {
        fn poll_piece(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            out: &mut Vec<u8>,
        ) -> super::PolledPiece;

        fn subscription(&self) -> Option<&Subscription> {
            None
        }
    }
}

impl<S> sealed::Sealed for S
where
    S: Stream,
    S::Item: IntoEvent,
{
    fn poll_piece(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut Vec<u8>) -> PolledPiece {
        let item = ready!(self.poll_next(cx));
        Poll::Ready(item.map(|item| written(item.write(out))))
    }
}

impl sealed::Sealed for Subscription {
    fn poll_piece(self: Pin<&mut Self>, cx: &mut Context<'_>, _out: &mut Vec<u8>) -> PolledPiece {
        let sent = ready!(self.get_mut().poll_blocks(cx));
        Poll::Ready(sent.map(|sent| Ok(Piece::Joined(sent))))
    }

    fn subscription(&self) -> Option<&Subscription> {
        Some(self)
    }
}

fn written(written: Result<(), EncodeError>) -> Result<Piece, BoxError> {
    written?;
    Ok(Piece::Written)
}

/// A stream with its functions.
pub(crate) struct Polled<S> {
    stream: Pin<Box<S>>,
    functions: Functions<S>,
    /// Why the stream has ended, while events that came before are on their way.
    failure: Option<Box<BoxError>>,
}

/// In place of polling a stream that has ended, which must not be polled again.
fn ended<S>(_: Pin<&mut S>, _: &mut Context<'_>, _: &mut Vec<u8>) -> PolledPiece {
    Poll::Ready(None)
}

impl<S> Source for Polled<S> {
    /// Joins the blocks of all events that the stream has at the moment.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Sent, BoxError>>> {
        let mut out = Vec::new();
        let mut events = 0;
        while self.failure.is_none() && out.len() < MAX_CHUNK {
            // Caught here, too, since a panic must not take the events before it along.
            match caught(|| (self.functions.poll)(self.stream.as_mut(), cx, &mut out)) {
                Poll::Ready(Some(Ok(Piece::Written))) => events += 1,
                Poll::Ready(Some(Ok(Piece::Joined(sent)))) => return Poll::Ready(Some(Ok(sent))),
                Poll::Ready(Some(Err(error))) => {
                    self.functions.poll = ended;
                    self.failure = Some(Box::new(error));
                }
                Poll::Ready(None) => {
                    self.functions.poll = ended;
                    break;
                }
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if out.is_empty() {
            return Poll::Ready(self.failure.take().map(|error| Err(*error)));
        }
        Poll::Ready(Some(Ok(Sent {
            bytes: out.into(),
            events,
            gap: None,
        })))
    }

    fn last_id(&self) -> Option<SmolStr> {
        (self.functions.subscription)(&self.stream)?.last_id()
    }

    fn standing(&self) -> Option<Standing> {
        (self.functions.subscription)(&self.stream)?.standing()
    }

    fn end_reason(&self) -> EndReason {
        let subscription = (self.functions.subscription)(&self.stream);
        let farewell = subscription.and_then(Subscription::farewell);
        farewell.unwrap_or(EndReason::Complete)
    }
}

/// The body of an [`Sse`] response.
#[derive(Debug)]
pub struct SseBody {
    connection: Connection,
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = StreamFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFailed>>> {
        let bytes = ready!(self.get_mut().connection.poll_bytes(cx, HYPER_BUFFER));
        Poll::Ready(bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.connection.has_ended()
    }
}
