//! What layers add to a stream.

use std::{
    fmt,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Source,
    account::Watch,
    end::End,
    line::{Control, Line, Polled},
};
use crate::event::EndReason;

/// An open stream, to those who do not poll it. Its response carries it through the layers.
#[derive(Clone)]
pub(crate) struct OpenStream(Arc<dyn Control>);

/// Keeps nothing of its stream.
#[derive(Clone)]
pub(crate) struct WeakStream(Weak<dyn Endable>);

/// What others may end.
pub(crate) trait Endable: Send + Sync {
    /// Ends it at a time, unless something else ends it before. Does not wait for it.
    fn end(self: Arc<Self>, end: End);
}

/// What one layer adds.
#[derive(Default)]
pub(crate) struct Terms {
    /// Of the innermost layer only.
    pub(crate) decoration: Decoration,
    pub(crate) companions: Companions,
    pub(crate) watch: Option<Watch>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Decoration {
    pub(crate) heartbeat: Option<Duration>,
    /// For how long a client may take nothing.
    pub(crate) write_stall: Option<Duration>,
    /// Whether a heartbeat is an event, where that may stand.
    pub(crate) heartbeat_event: bool,
    pub(crate) retry: Option<Duration>,
    /// Whether the bytes are encoded, so that nothing can be added to them.
    pub(crate) opaque: bool,
}

/// Something that a stream has as long as it is open. It is dropped when the stream is over.
pub(crate) trait Companion: Send {
    /// When it is to be looked at next.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// When the stream is to end, whether or not it is polled.
    fn end(&self) -> Option<(Instant, EndReason)> {
        None
    }

    /// Ready when the stream is to end.
    fn poll_end(&mut self, _cx: &mut Context<'_>) -> Poll<EndReason> {
        Poll::Pending
    }
}

pub(super) type Companions = Vec<Box<dyn Companion>>;

impl OpenStream {
    pub(super) fn new(source: impl Source + Send + 'static) -> Self {
        Self(Line::new(source))
    }

    /// Adds what a layer has for the stream.
    pub(crate) fn join(&self, terms: Terms) {
        Arc::clone(&self.0).join(terms);
    }

    /// Whether a layer has added what it has.
    pub(crate) fn is_joined(&self) -> bool {
        self.0.is_joined()
    }

    pub(crate) fn downgrade(&self) -> WeakStream {
        let weak: Weak<dyn Control> = Arc::downgrade(&self.0);
        WeakStream(weak)
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>, write_buffer: usize) -> Polled {
        Arc::clone(&self.0).poll(cx, write_buffer)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    pub(super) fn leave(&self) {
        self.0.leave();
    }
}

impl WeakStream {
    pub(crate) fn of<E: Endable + 'static>(stream: &Arc<E>) -> Self {
        let weak: Weak<E> = Arc::downgrade(stream);
        Self(weak)
    }

    /// Ends the stream at a time, unless something else ends it before. Does not wait for it.
    pub(crate) fn end(&self, end: End) {
        if let Some(stream) = self.0.upgrade() {
            stream.end(end);
        }
    }
}

impl fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenStream")
    }
}

impl fmt::Debug for WeakStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakStream")
    }
}
