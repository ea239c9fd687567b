//! One open stream: the state machine that the bodies of both frameworks are.

mod account;
mod attended;
mod caught;
mod decorate;
mod end;
mod flush;
mod line;
mod over;
mod pace;
mod terms;
mod ticker;
mod watched;

use std::{
    error::Error,
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use smol_str::SmolStr;

use crate::{
    event::EndReason,
    sent::{Sent, Standing},
    wire::LineScanner,
};
pub(crate) use account::{Report, Seen, Watch, Watcher};
pub(crate) use caught::{caught, drop_caught, run_caught};
pub(crate) use end::End;
pub(crate) use terms::{Companion, Decoration, Endable, OpenStream, Terms, WeakStream};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// How much hyper holds back, in bytes, where it copies what a body gives it.
pub(crate) const HYPER_BUFFER: usize = 448 * 1024;

/// What a connection sends: bytes of an event stream, however they are made.
pub(crate) trait Source {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Sent, BoxError>>>;

    /// What follows the lines, where the bytes are somebody else's, cut anywhere. Those of ours are
    /// whole blocks.
    fn scanner(&mut self) -> Option<&mut LineScanner> {
        None
    }

    /// The id that the client would come back with, where it is known.
    fn last_id(&self) -> Option<SmolStr> {
        None
    }

    /// What is known of where the client is, if that is followed.
    fn standing(&self) -> Option<Standing> {
        None
    }

    /// Why it has ended, once it has.
    fn end_reason(&self) -> EndReason {
        EndReason::Complete
    }

    /// Whether its client knows no events of ours. An end before its time is a broken one then, since a
    /// clean end says that all was sent.
    fn is_plain(&self) -> bool {
        false
    }

    /// Its client is sent away with an `sse.bye`, and may come back.
    fn send_away(&mut self, _reason: EndReason) {}

    /// Whether this thread may poll and drop it.
    fn is_at_home(&self) -> bool {
        true
    }
}

/// The body's side of an open stream.
///
/// It begins with a comment line, sends what its source has, a heartbeat after silence and the
/// reconnection time with the first event, and ends as its source does: cleanly, or, when that failed
/// or panicked, by breaking off after all that came before has gone out. What layers add may end it
/// before that, with an `sse.bye`. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Connection(OpenStream);

impl Connection {
    pub(crate) fn new(source: impl Source + Send + 'static) -> Self {
        Self(OpenStream::new(source))
    }

    /// The stream, for layers.
    pub(crate) fn open_stream(&self) -> &OpenStream {
        &self.0
    }

    /// Whether the last byte is out.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Returns what is to be sent next.
    ///
    /// `write_buffer` is how much a server that copies what it is given may hold back, in bytes.
    pub(crate) fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        write_buffer: usize,
    ) -> Poll<Option<Result<Bytes, StreamFailed>>> {
        self.0.poll(cx, write_buffer)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The end of a stream that failed. The cause is logged; clients see a body that breaks off.
#[derive(Debug)]
#[non_exhaustive]
pub struct StreamFailed;

impl fmt::Display for StreamFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("event stream has failed")
    }
}

impl Error for StreamFailed {}
