//! Where a follower begins, and what it delivers.

use bytes::Bytes;

use crate::{
    event::{ByeReason, Gap},
    store::Position,
    subscription::frame::Frame,
};

/// Where a follower begins that has no position to resume from.
#[derive(Clone, Copy, Debug)]
pub(in crate::subscription) enum Begin {
    /// At the head: that of when the topic was subscribed to, if it was known, or the one that the
    /// reader finds.
    Live,
    Newest(u32),
    Oldest,
}

/// What a follower resumes from.
#[derive(Clone, Copy, Debug)]
pub(in crate::subscription) enum Resume {
    Nothing,
    After(Position),
    /// There was an id, but none of ours.
    Unusable,
}

/// One step of a follower.
#[derive(Debug)]
pub(in crate::subscription) enum Step {
    Open(Position),
    Gap(Gap, Position),
    /// Blocks of events.
    Joined(Bytes),
    /// Records, and the cursor behind them, whose epoch is theirs.
    Frames(Vec<Frame>, Position),
    /// The stream ends, and this is where the client is.
    End(ByeReason, Option<Position>),
}
