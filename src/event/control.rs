//! The events that this crate sends of its own.

use std::fmt;

use super::{Event, EventName};
use crate::topic_name::TopicName;

/// Why a stream does not go on where its client was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// What follows the client's last event id is no longer retained.
    Evicted,
    /// The client's last event id is from another life of the log, or no id of ours.
    Unknown,
    /// The client's last event id is beyond the end of the log, which has lost its end.
    Ahead,
    /// The client reads more slowly than events are evicted, or than its topic
    /// [waits for](crate::SlowClient).
    Lagged,
    /// The log itself has a hole.
    Lost,
}

impl GapReason {
    /// Returns the reason as it stands in the data of a gap event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Unknown => "unknown",
            Self::Ahead => "ahead",
            Self::Lagged => "lagged",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Events that a subscriber does not get, told by an `sse.gap` event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    reason: GapReason,
    missed: Option<u64>,
}

impl Gap {
    pub(crate) const fn new(reason: GapReason, missed: Option<u64>) -> Self {
        Self { reason, missed }
    }

    /// Why the events are missing.
    #[must_use]
    pub const fn reason(&self) -> GapReason {
        self.reason
    }

    /// How many events are missing, where that is known.
    #[must_use]
    pub const fn missed(&self) -> Option<u64> {
        self.missed
    }
}

/// Why a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// Its source had no more.
    Complete,
    /// Its source failed or panicked, or sent what cannot be encoded.
    Failed,
    /// The client went, or the server gave its body up.
    Disconnected,
    /// The client took nothing for longer than the [limit](crate::SseLayer::write_stall).
    Stalled,
    /// It was as old as a stream may [get](crate::SseLayer::max_age).
    MaxAge,
    /// Its grant has [expired](crate::Grant::expires_at).
    Expired,
    /// Its grant was [revoked](crate::Revocations), or not given again when it was asked for again.
    Revoked,
    /// The server [drains](crate::Drain).
    Draining,
    /// Its client read too slowly for its [topic](crate::SlowClient::Disconnect).
    Lagged,
    /// Its store has not answered for too long.
    Unavailable,
    /// The [recorded](crate::Resumable) response was stopped, or nobody had listened for too long.
    Cancelled,
    /// The producer of the [recorded](crate::Resumable) response was not heard of any more.
    Lost,
}

impl EndReason {
    /// Returns the reason as it stands in logs, metrics and the data of `sse.bye`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Disconnected => "disconnected",
            Self::Stalled => "stalled",
            Self::MaxAge => "max-age",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Draining => "draining",
            Self::Lagged => "lagged",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `sse.open`: a position before there is an event to carry it.
pub(crate) fn open() -> Event {
    Event::new("{}").name(EventName::reserved("sse.open"))
}

/// `sse.open` in a stream whose client cannot come back to what follows.
pub(crate) fn not_resumable() -> Event {
    Event::new(r#"{"resumable":false}"#).name(EventName::reserved("sse.open"))
}

/// `sse.heartbeat`, without an id, so that it moves nobody's position.
pub(crate) const HEARTBEAT: &[u8] = b"event: sse.heartbeat\ndata: {}\n\n";

/// `sse.gap`, with the topic where there are several.
pub(crate) fn gap(gap: Gap, topic: Option<&TopicName>) -> Event {
    // Neither names of topics nor reasons have anything to escape.
    let topic = topic.map_or(String::new(), |topic| format!(r#""topic":"{topic}","#));
    let missed = gap
        .missed
        .map_or(String::new(), |missed| format!(r#","missed":{missed}"#));
    let data = format!(r#"{{{topic}"reason":"{}"{missed}}}"#, gap.reason);
    Event::new(data)
        .name(EventName::reserved("sse.gap"))
        .of_gap(gap)
}

/// `sse.bye`: the last event of a stream.
pub(crate) fn bye(reason: EndReason) -> Event {
    farewell(reason.as_str())
}

/// `sse.bye` to a client that gets no stream, and is to come back later.
pub(crate) fn busy() -> Event {
    farewell("busy")
}

fn farewell(reason: &str) -> Event {
    let data = format!(r#"{{"reason":"{reason}"}}"#);
    Event::new(data).name(EventName::reserved("sse.bye"))
}
