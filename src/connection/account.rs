//! What a stream has done, for those who want to know.

use std::{error::Error, fmt, time::Duration};

use tokio::time::Instant;
use tracing::Span;

use super::{
    Source,
    caught::{drop_caught, run_caught},
};
use crate::{
    event::{EndReason, GapReason},
    last_event_id::ResumeOutcome,
    sent::{Sent, Standing},
    wire::EventCounter,
};

/// After this many bytes those who count are told, whether or not a clock calls.
const TOLD_BYTES: u64 = 1024 * 1024;

/// What a layer has a stream watched by.
pub(crate) struct Watch {
    /// Of the innermost layer only.
    pub(crate) span: Span,
    pub(crate) watchers: Vec<Box<dyn Watcher>>,
}

/// Is told of a stream. It is dropped after it was told of the end.
pub(crate) trait Watcher: Send {
    /// Takes note. A panic is caught.
    ///
    /// Of all but the end it is told under the lock of the stream: that is for counters, and not for
    /// code of applications.
    fn see(&mut self, seen: &Seen);
}

/// What is to be known of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// What has come since the last time: once in a heartbeat, and before the end.
    Counted {
        events: u64,
        bytes: u64,
        heartbeats: u64,
    },
    /// What became of the client's position; once, at the most.
    Resumed(ResumeOutcome),
    Gap(GapReason),
    /// A client that came back has everything, after a time and so many events.
    Replayed {
        after: Duration,
        events: u64,
    },
    Closed(Report),
}

/// The whole of a stream, without what was sent after its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) reason: EndReason,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    pub(crate) resume: Option<ResumeOutcome>,
}

/// Is kept only for streams that somebody watches.
pub(super) struct Account {
    span: Span,
    opened: Instant,
    watchers: Vec<Box<dyn Watcher>>,
    events: u64,
    bytes: u64,
    /// How many of them were told.
    told: (u64, u64),
    heartbeats: u32,
    resume: Option<ResumeOutcome>,
    /// Whether the client had everything once.
    live: bool,
    foreign: EventCounter,
}

impl Account {
    pub(super) fn open(watch: Watch) -> Self {
        Self {
            span: watch.span,
            opened: Instant::now(),
            watchers: watch.watchers,
            events: 0,
            bytes: 0,
            told: (0, 0),
            heartbeats: 0,
            resume: None,
            live: false,
            foreign: EventCounter::default(),
        }
    }

    /// Adds what a layer further out has.
    pub(super) fn join(&mut self, watch: Watch) {
        self.watchers.extend(watch.watchers);
    }

    pub(super) fn in_span<R>(&self, run: impl FnOnce() -> R) -> R {
        match self.span.is_disabled() {
            true => run(),
            false => self.span.in_scope(run),
        }
    }

    /// Notes what the source has sent.
    pub(super) fn sent(&mut self, sent: &Sent) {
        self.events += wide(sent.events);
        if let Some(reason) = sent.gap {
            self.tell(Seen::Gap(reason));
        }
    }

    /// Counts the events in bytes of others.
    pub(super) fn pass_on(&mut self, bytes: &[u8]) {
        self.events += wide(self.foreign.count(bytes));
    }

    /// Notes that the server was given something.
    pub(super) fn hand(&mut self, bytes: usize) {
        self.bytes += wide(bytes);
        if self.bytes - self.told.1 >= TOLD_BYTES {
            self.tell_counts();
        }
    }

    pub(super) fn beat(&mut self) {
        self.heartbeats += 1;
    }

    /// Finds out where the client is, until it has had everything once.
    pub(super) fn look(&mut self, source: &impl Source) {
        if !self.live
            && let Some(standing) = source.standing()
        {
            self.stand(standing);
        }
    }

    fn stand(&mut self, standing: Standing) {
        if let (None, Some(outcome)) = (self.resume, standing.resume) {
            self.resume = Some(outcome);
            if !self.span.is_disabled() {
                self.span.record("resume", tracing::field::display(outcome));
            }
            self.tell(Seen::Resumed(outcome));
        }
        if standing.live && !self.live {
            self.live = true;
            if self.resume != Some(ResumeOutcome::New) {
                self.tell(Seen::Replayed {
                    after: self.opened.elapsed(),
                    events: self.events,
                });
            }
        }
    }

    /// Tells what was counted since the last time.
    pub(super) fn tell_counts(&mut self) {
        let seen = Seen::Counted {
            events: self.events - self.told.0,
            bytes: self.bytes - self.told.1,
            heartbeats: self.heartbeats.into(),
        };
        self.told = (self.events, self.bytes);
        self.heartbeats = 0;
        self.tell(seen);
    }

    fn tell(&mut self, seen: Seen) {
        for watcher in &mut self.watchers {
            if let Err(panic) = run_caught(|| watcher.see(&seen)) {
                let error = &panic as &dyn Error;
                tracing::error!(error, "what watches an event stream panicked");
            }
        }
    }

    /// Reports the end. Must not be called under a lock.
    pub(super) fn close(mut self, reason: EndReason) {
        let report = Report {
            reason,
            events: self.events,
            bytes: self.bytes,
            duration: self.opened.elapsed(),
            resume: self.resume,
        };
        let span = self.span.clone();
        let _entered = (!span.is_disabled()).then(|| span.enter());
        tracing::debug!(
            target: "tower_sse::stream",
            reason = reason.as_str(),
            events = report.events,
            bytes = report.bytes,
            seconds = report.duration.as_secs_f64(),
            "event stream is over",
        );
        self.tell_counts();
        self.tell(Seen::Closed(report));
        drop_caught(self.watchers);
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("events", &self.events)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
