//! What is known of what a stream sends, and of where its client is.

use bytes::Bytes;

use crate::{event::GapReason, last_event_id::ResumeOutcome};

/// What a source sends at a time.
#[derive(Debug)]
pub struct Sent {
    pub(crate) bytes: Bytes,
    /// How many events of the application are in it; of bytes of others that is not known here.
    pub(crate) events: usize,
    /// The gap that it tells of.
    pub(crate) gap: Option<GapReason>,
}

impl From<Bytes> for Sent {
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes,
            events: 0,
            gap: None,
        }
    }
}

/// Where a client is in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What became of the position that it came with, once that is known.
    pub(crate) resume: Option<ResumeOutcome>,
    /// Whether it was sent everything.
    pub(crate) live: bool,
}

impl Standing {
    /// That of a client of both.
    pub(crate) fn and(self, other: Self) -> Self {
        use ResumeOutcome::{Gap, New, Resumed};
        let resume = match (self.resume, other.resume) {
            (Some(gap @ Gap(_)), _) | (_, Some(gap @ Gap(_))) => Some(gap),
            (None, _) | (_, None) => None,
            (Some(Resumed), _) | (_, Some(Resumed)) => Some(Resumed),
            (Some(New), Some(New)) => Some(New),
        };
        Self {
            resume,
            live: self.live && other.live,
        }
    }
}
