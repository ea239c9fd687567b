//! When others end a stream.

use std::{task::Waker, time::Duration};

use tokio::time::Instant;

use super::ticker::{Alarm, Ticker};
use crate::{
    event::EndReason,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

/// An end that a stream is to come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) at: Instant,
    pub(crate) reason: EndReason,
    /// When the client is to come back, where that is not what it was told before.
    pub(crate) retry: Option<Duration>,
}

/// The first of the ends that a stream is to come to. Anybody may add one, at any time; who does never
/// waits for the stream.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Whether there is one. Most streams have none, and look no further.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Boxed, since most streams have none.
    next: Option<Box<Next>>,
    over: bool,
    ticker: Option<Arc<Ticker>>,
}

#[derive(Debug)]
struct Next {
    end: End,
    alarm: Option<Alarm>,
}

impl Ends {
    /// Adds an end, for which `waker` is woken, unless an earlier one is set. Returns whether somebody
    /// else has to see to it, since no clock does.
    pub(super) fn add(&self, end: End, waker: impl FnOnce() -> Waker) -> bool {
        let mut state = lock(&self.state);
        let is_earlier = state
            .next
            .as_ref()
            .is_some_and(|next| next.end.at <= end.at);
        if state.over || is_earlier {
            return false;
        }
        let ticker = state.ticker.as_ref().filter(|ticker| !ticker.has_ended());
        let alarm = ticker.map(|ticker| ticker.set(end.at, &waker()));
        let is_unattended = alarm.is_none();
        let before = state.next.replace(Box::new(Next { end, alarm }));
        self.any.store(true, Ordering::Release);
        drop(state);
        // Not under the lock: it may have the last waker.
        drop(before);
        is_unattended
    }

    /// Returns the end that the stream has come to, if it has.
    pub(super) fn due(&self, now: impl Fn() -> Instant) -> Option<End> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let state = lock(&self.state);
        let next = state.next.as_ref()?;
        (next.end.at <= now()).then_some(next.end)
    }

    /// Sees to it that the clock of the runtime of whoever calls is the one for ends, should there be
    /// none, or it have ended with its runtime.
    pub(super) fn attend(&self, waker: impl FnOnce() -> Waker) {
        let mut state = lock(&self.state);
        let ticker = state.ticker.as_ref();
        if state.over || ticker.is_some_and(|ticker| !ticker.has_ended()) {
            return;
        }
        state.ticker = Ticker::current();
        let State { next, ticker, .. } = &mut *state;
        if let (Some(next), Some(ticker)) = (next, ticker) {
            next.alarm = Some(ticker.set(next.end.at, &waker()));
        }
    }

    /// Does the same where there is an end to come. Else it costs nothing.
    pub(super) fn attend_if_any(&self, waker: impl FnOnce() -> Waker) {
        if self.any.load(Ordering::Relaxed) {
            self.attend(waker);
        }
    }

    /// Notes that the stream is over.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.over = true;
        let gone = (state.next.take(), state.ticker.take());
        self.any.store(false, Ordering::Release);
        drop(state);
        drop(gone);
    }
}
