//! One open stream, to its body and to whoever may end it.

mod state;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Source, StreamFailed,
    attended::Attended,
    end::{End, Ends},
    terms::{Endable, Terms},
};
use state::State;

/// One open stream.
///
/// Its body polls it; a clock, and whoever may end it, call it. When the stream is over, its source
/// and its companions are dropped there and then, whether or not the server polls the body again,
/// which it does not while a client takes nothing. What is left then are bytes.
pub(super) struct Line<S> {
    state: Attended<State<S>>,
    ends: Ends,
    /// Whether a layer has set how it goes.
    joined: AtomicBool,
    /// Whether the last byte is out.
    has_ended: AtomicBool,
}

pub(super) type Polled = Poll<Option<Result<Bytes, StreamFailed>>>;

impl<S: Source + Send + 'static> Line<S> {
    pub(super) fn new(source: S) -> Arc<Self> {
        Arc::new(Self {
            state: Attended::new(State::new(source)),
            ends: Ends::default(),
            joined: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        })
    }

    fn with<R>(self: &Arc<Self>, work: impl FnOnce(&mut State<S>) -> R) -> R {
        let work = |state: &mut State<S>| {
            let done = work(state);
            (done, state.take_over())
        };
        let (done, over) = self.state.with(work, |state| state.answer(self));
        if let Some(over) = over {
            over.tell();
        }
        done
    }

    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

/// The clock calls.
impl<S: Source + Send + 'static> Wake for Line<S> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.state.call(|state| state.answer(self));
    }
}

/// [`Line`], whatever it sends.
pub(super) trait Control: Endable {
    fn poll(self: Arc<Self>, cx: &mut Context<'_>, write_buffer: usize) -> Polled;

    /// Whether the last byte is out.
    fn has_ended(&self) -> bool;

    /// Whether a layer has set how it goes.
    fn is_joined(&self) -> bool;

    /// Ends the stream, for its body is dropped.
    fn leave(&self);

    /// Adds what a layer has for the stream.
    fn join(self: Arc<Self>, terms: Terms);
}

impl<S: Source + Send + 'static> Control for Line<S> {
    fn poll(self: Arc<Self>, cx: &mut Context<'_>, write_buffer: usize) -> Polled {
        self.with(|state| {
            let polled = state.poll(&self, cx, write_buffer);
            self.has_ended.store(state.has_ended(), Ordering::Relaxed);
            polled
        })
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    fn leave(&self) {
        let leave = |state: &mut State<S>| {
            state.leave(&self.ends);
            state.take_over()
        };
        let over = self.state.with(leave, |_| || ());
        if let Some(over) = over {
            over.tell();
        }
    }

    fn join(self: Arc<Self>, terms: Terms) {
        self.ends.attend(|| self.waker());
        let is_first = !self.joined.swap(true, Ordering::Relaxed);
        self.with(|state| {
            state.join(terms, is_first);
            // Now, since a server may never ask for the body of a client that takes nothing.
            state.keep(&self);
        });
    }
}

impl<S: Source + Send + 'static> Endable for Line<S> {
    fn end(self: Arc<Self>, end: End) {
        let unattended = self.ends.add(end, || self.waker());
        if unattended && end.at <= Instant::now() {
            self.wake();
        }
    }
}

impl<S> fmt::Debug for Line<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}
