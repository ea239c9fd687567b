//! Where a follower begins, and what it delivers.

use bytes::Bytes;

use crate::{
    event::{EndReason, Gap, GapReason},
    store::Position,
    subscription::{budget::Out, frame::Frame},
    sync::Arc,
};

/// Where a follower begins that has no position to resume from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// At the head: that of when the topic was subscribed to, if it was known, or the one that the
    /// reader finds.
    Live,
    Newest(u32),
    Oldest,
}

/// What a follower resumes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resume {
    Nothing,
    After(Position),
    /// There was an id, but none of ours.
    Unusable,
}

/// One step of a follower.
#[derive(Debug)]
pub(crate) enum Step {
    Open(Position),
    Gap(Gap, Position),
    /// Nothing that a client sees, for what keeps a buffer until it has the next.
    Line,
    /// Blocks of so many events.
    Joined(Bytes, usize),
    /// Records, and the cursor behind them, whose epoch is theirs; and what counts of them until it is
    /// dropped.
    Frames(Vec<Frame>, Position, Option<Arc<Out>>),
    /// The stream ends for this reason, and this is where the client is.
    End(EndReason, Option<Position>),
}

impl Step {
    /// The gap that it tells of.
    pub(in crate::subscription) fn gap(&self) -> Option<GapReason> {
        match self {
            Self::Gap(gap, _) => Some(gap.reason()),
            _ => None,
        }
    }

    /// What counts of it until it is dropped.
    pub(in crate::subscription) fn out(&self) -> Option<Arc<Out>> {
        match self {
            Self::Frames(_, _, out) => out.clone(),
            _ => None,
        }
    }
}
