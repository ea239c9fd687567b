//! When something was sent last, and what follows from it.

use std::{num::NonZeroU32, task::Waker, time::Duration};

use tokio::time::Instant;

use super::ticker::{Alarm, Ticker};
use crate::{millis::millis, sync::Arc};

/// A connection's one alarm, for its heartbeat and for the limit to how long its client may take
/// nothing.
///
/// The alarm is never later than what is due next, and is not touched when something is sent. It goes
/// off early then, and is set anew, once in a heartbeat.
#[derive(Debug)]
pub(super) struct Pace {
    /// In milliseconds.
    heartbeat: Option<NonZeroU32>,
    /// In milliseconds.
    stall: Option<NonZeroU32>,
    last: Instant,
    /// Whether the server has not asked for more since. Then the client has yet to take it; else the
    /// server waits for us.
    handed: bool,
    alarm: Option<Alarm>,
}

impl Pace {
    /// The head of the response is handed to the server.
    pub(super) fn new() -> Self {
        Self {
            heartbeat: None,
            stall: None,
            last: Instant::now(),
            handed: true,
            alarm: None,
        }
    }

    pub(super) fn set(&mut self, heartbeat: Option<Duration>, stall: Option<Duration>) {
        // No connection lives for as long as does not fit, 49 days.
        let time = |time| {
            u32::try_from(millis(time).max(1))
                .ok()
                .and_then(NonZeroU32::new)
        };
        self.heartbeat = heartbeat.and_then(time);
        self.stall = stall.and_then(time);
    }

    /// Notes that the server was given something.
    pub(super) fn hand(&mut self) {
        self.handed = true;
        if self.heartbeat.is_some() || self.stall.is_some() {
            self.last = Instant::now();
        }
    }

    /// Notes that the server waits for more.
    pub(super) fn wait(&mut self) {
        self.handed = false;
    }

    /// When silence has lasted, or what was handed out was not taken.
    pub(super) fn due(&self) -> Option<Instant> {
        let after = if self.handed {
            self.stall
        } else {
            self.heartbeat
        };
        self.last
            .checked_add(Duration::from_millis(after?.get().into()))
    }

    /// Whether the client has taken nothing for too long.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.handed && self.due().is_some_and(|due| due <= now)
    }

    /// Whether nothing was sent for so long that a heartbeat is due. Then silence begins anew.
    pub(super) fn beats(&mut self) -> bool {
        let Some(due) = self.due() else {
            return false;
        };
        // Where the alarm is still to come, no look at the clock is needed.
        if self.handed || self.is_kept(due) {
            return false;
        }
        let now = Instant::now();
        let beats = due <= now;
        if beats {
            self.last = now;
        }
        beats
    }

    /// Whether an alarm goes off by `due`, and has not yet. Takes no lock, and no look at the clock.
    pub(super) fn is_kept(&self, due: Instant) -> bool {
        self.alarm.as_ref().is_some_and(|alarm| alarm.is_kept(due))
    }

    /// Sees to it that the alarm goes off by `due`, on the clock of the caller's runtime if that of
    /// before has ended with its own. Without a runtime around, nothing does.
    pub(super) fn keep(&mut self, due: Instant, waker: impl FnOnce() -> Waker) {
        if !self.is_kept(due) {
            let ticker = self.ticker().or_else(Ticker::current);
            self.alarm = ticker.map(|ticker| ticker.set(due, &waker()));
        }
    }

    /// Sees to the same when the clock calls, which it does a last time when it ends. Whoever calls
    /// then has no runtime that the stream could count on.
    pub(super) fn keep_on(&mut self, due: Instant, waker: impl FnOnce() -> Waker) {
        if !self.is_kept(due) {
            self.alarm = self.ticker().map(|ticker| ticker.set(due, &waker()));
        }
    }

    fn ticker(&self) -> Option<Arc<Ticker>> {
        let ticker = self.alarm.as_ref().map(Alarm::ticker);
        ticker.filter(|ticker| !ticker.has_ended()).cloned()
    }

    /// Lets go of the alarm.
    pub(super) fn stop(&mut self) {
        self.alarm = None;
    }
}
