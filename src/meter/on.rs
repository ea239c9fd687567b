//! Counts for the recorder of the facade `metrics`. The table in the docs of the crate is of these.

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use metrics::{
    SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

pub(crate) const IS_ON: bool = true;

const OPEN: &str = "tower_sse_streams_open";
const OPENED: &str = "tower_sse_streams_total";
const ENDS: &str = "tower_sse_ends_total";
const DURATION: &str = "tower_sse_stream_duration_seconds";
const EVENTS: &str = "tower_sse_events_total";
const BYTES: &str = "tower_sse_bytes_total";
const HEARTBEATS: &str = "tower_sse_heartbeats_total";
const RESUMES: &str = "tower_sse_resumes_total";
const GAPS: &str = "tower_sse_gaps_total";
const REPLAY_DURATION: &str = "tower_sse_replay_duration_seconds";
const REPLAY_EVENTS: &str = "tower_sse_replay_events";
const REPLAY_WAIT: &str = "tower_sse_replay_wait_seconds";
const REFUSALS: &str = "tower_sse_refusals_total";

const ROUTE: &str = "route";
const REASON: &str = "reason";

/// An open stream. It counts as open until this is dropped.
///
/// Keeps no handles: they would be many bytes for each client, and of the recorder that was there when
/// they were made.
#[derive(Debug)]
pub(crate) struct Stream {
    route: Option<Arc<str>>,
}

impl Stream {
    pub(crate) fn open(route: Option<&Arc<str>>) -> Self {
        describe();
        let stream = Self {
            route: route.cloned(),
        };
        gauge!(OPEN, ROUTE => stream.route()).increment(1);
        counter!(OPENED, ROUTE => stream.route()).increment(1);
        stream
    }

    pub(crate) fn count(&self, events: u64, bytes: u64, heartbeats: u64) {
        for (name, count) in [(EVENTS, events), (BYTES, bytes), (HEARTBEATS, heartbeats)] {
            if count > 0 {
                counter!(name, ROUTE => self.route()).increment(count);
            }
        }
    }

    pub(crate) fn resumed(&self, outcome: &'static str) {
        counter!(RESUMES, ROUTE => self.route(), "outcome" => outcome).increment(1);
    }

    pub(crate) fn gap(&self, reason: &'static str) {
        counter!(GAPS, ROUTE => self.route(), REASON => reason).increment(1);
    }

    pub(crate) fn replayed(&self, after: Duration, events: u64) {
        histogram!(REPLAY_DURATION, ROUTE => self.route()).record(after);
        // What is beyond an `f64` nobody replays.
        histogram!(REPLAY_EVENTS, ROUTE => self.route()).record(events as f64);
    }

    pub(crate) fn close(&self, reason: &'static str, duration: Duration) {
        counter!(ENDS, ROUTE => self.route(), REASON => reason).increment(1);
        histogram!(DURATION, ROUTE => self.route()).record(duration);
    }

    fn route(&self) -> SharedString {
        label(self.route.as_ref())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        gauge!(OPEN, ROUTE => self.route()).decrement(1);
    }
}

/// Notes that a request was refused before its handler ran.
pub(crate) fn refused(route: Option<&Arc<str>>, reason: &'static str) {
    describe();
    counter!(REFUSALS, ROUTE => label(route), REASON => reason).increment(1);
}

/// Notes that somebody has waited for a turn to read from a store.
pub(crate) fn waited(time: Duration) {
    histogram!(REPLAY_WAIT).record(time);
}

fn label(route: Option<&Arc<str>>) -> SharedString {
    match route {
        Some(route) => SharedString::from_shared(Arc::clone(route)),
        None => SharedString::const_str(""),
    }
}

/// Once, when there is something to count: a recorder is there by then.
fn describe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (count, seconds) = (Unit::Count, Unit::Seconds);
        describe_gauge!(OPEN, count, "Streams that are open");
        describe_counter!(OPENED, count, "Streams that were opened");
        describe_counter!(ENDS, count, "Streams that have ended, by reason");
        describe_histogram!(DURATION, seconds, "How long streams were open");
        describe_counter!(EVENTS, count, "Events that were sent");
        describe_counter!(BYTES, Unit::Bytes, "Bytes that were sent");
        describe_counter!(HEARTBEATS, count, "Heartbeats that were sent");
        describe_counter!(
            RESUMES,
            count,
            "What became of the last event ids of clients"
        );
        describe_counter!(GAPS, count, "Gaps that clients were told of, by reason");
        describe_histogram!(
            REPLAY_DURATION,
            seconds,
            "How long clients took to catch up"
        );
        describe_histogram!(REPLAY_EVENTS, count, "How many events clients caught up on");
        describe_histogram!(
            REPLAY_WAIT,
            seconds,
            "How long reads of history waited for a turn"
        );
        describe_counter!(REFUSALS, count, "Requests that were refused, by reason");
    });
}
