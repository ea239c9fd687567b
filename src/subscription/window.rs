//! The newest stretch of a topic's log, shared by all who follow it in this process.

use std::{
    collections::{VecDeque, vec_deque},
    num::NonZeroUsize,
};

use bytes::Bytes;

use super::frame::Frame;
use crate::store::{Epoch, Page, Position};

/// What a topic keeps at most for its live clients; who is further behind reads from the store.
pub(super) const MAX_EVENTS: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
const MAX_BYTES: usize = 256 * 1024;

/// How much a client gets in one piece at most, unless one event is larger.
pub(super) const MAX_CHUNK: usize = 64 * 1024;

/// For how many places at once joins are kept.
const MAX_JOINS: usize = 4;

/// A contiguous run of records: exactly those of the log that are after `base` and not after the
/// last frame. That is the whole invariant, and [`Window::push`] and [`Window::reset`] keep it.
#[derive(Debug)]
pub(super) struct Window {
    epoch: Epoch,
    base: u64,
    /// Another position for the place at `base`: that of the topic before it had a log.
    before_log: Option<Position>,
    frames: VecDeque<Frame>,
    bytes: usize,
    max_events: NonZeroUsize,
    /// A cursor before this offset had the next frame here, and was passed.
    passed: u64,
    /// From this offset on, offsets count events.
    counted_from: u64,
    /// What was joined since the last push, so that there is one for a place.
    joins: VecDeque<Join>,
}

/// The blocks from the frame at offset `from` to `end`, in one piece.
#[derive(Debug)]
struct Join {
    from: u64,
    end: Position,
    blocks: Bytes,
    events: usize,
}

/// Where a cursor is to a window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// What follows the cursor is here, from this frame on.
    Inside(usize),
    /// The cursor is at the end, or already beyond it.
    AtEnd,
    /// What follows the cursor was here, and is no longer.
    Passed,
    /// What follows the cursor is not here, or is of another life of the log; or the cursor is at no
    /// record of the log.
    Elsewhere,
}

impl Window {
    pub(super) fn new(head: Position, max_events: NonZeroUsize) -> Self {
        Self {
            epoch: head.epoch(),
            base: head.offset(),
            before_log: None,
            frames: VecDeque::new(),
            bytes: 0,
            max_events,
            passed: 0,
            counted_from: head.offset(),
            joins: VecDeque::new(),
        }
    }

    /// The position behind the last frame.
    pub(super) fn tail(&self) -> Position {
        let offset = self.frames.back().map_or(self.base, |frame| frame.offset);
        Position::new(self.epoch, offset)
    }

    /// Begins anew, empty, at `head`.
    pub(super) fn reset(&mut self, head: Position) {
        *self = Self::new(head, self.max_events);
    }

    /// Appends what follows the tail, and drops the oldest frames beyond the limits.
    ///
    /// Records that are here already are passed over. Where the page leaves a hole, the window begins
    /// anew behind it: a reader that is before the hole asks the store, and the store's answer shows
    /// the hole.
    pub(super) fn push(&mut self, page: &Page) {
        if page.start.epoch() != self.epoch {
            let tail = self.tail();
            self.reset(page.start);
            // The store took the tail for the beginning of the log, and those who wait there with it.
            self.before_log = Some(tail);
        }
        let before = self.tail().offset();
        for record in &page.records {
            let tail = self.tail().offset();
            if record.offset() <= tail {
                continue;
            }
            if record.previous_offset() != tail {
                self.reset(Position::new(self.epoch, record.previous_offset()));
            }
            let frame = Frame::new(self.epoch, record);
            if !frame.is_event() || record.offset() != self.tail().offset() + 1 {
                self.counted_from = record.offset();
            }
            self.bytes += frame.block().len();
            self.frames.push_back(frame);
        }
        self.joins.clear();
        while self.frames.len() > self.max_events.get() || self.bytes > MAX_BYTES {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.base = oldest.offset;
            // What comes and goes in one push is here for nobody.
            if oldest.offset <= before {
                self.passed = oldest.offset;
            }
            self.before_log = None;
            self.bytes -= oldest.block().len();
        }
    }

    pub(super) fn place(&self, cursor: Position) -> Place {
        if Some(cursor) == self.before_log {
            return match self.frames.is_empty() {
                true => Place::AtEnd,
                false => Place::Inside(0),
            };
        }
        if cursor.epoch() != self.epoch {
            return Place::Elsewhere;
        }
        if cursor.offset() < self.base {
            return match cursor.offset() < self.passed {
                true => Place::Passed,
                false => Place::Elsewhere,
            };
        }
        if cursor.offset() >= self.tail().offset() {
            return Place::AtEnd;
        }
        match self.behind(cursor.offset()) {
            Some(next) => Place::Inside(next),
            None => Place::Elsewhere,
        }
    }

    /// The frame behind the one at `offset`, which is before the tail. `None` where there is none at
    /// `offset`: where a log has lost its end offsets jump, and those in between are of what is lost.
    fn behind(&self, offset: u64) -> Option<usize> {
        let is_behind = |next: &usize| {
            let before = next.checked_sub(1).map(|at| self.frames[at].offset);
            before.unwrap_or(self.base) == offset
        };
        // Where it is if no offset is left out, as is usual.
        let left = usize::try_from(self.tail().offset() - offset).unwrap_or(usize::MAX);
        let usual = self.frames.len().saturating_sub(left);
        Some(usual).filter(is_behind).or_else(|| {
            let next = self.frames.partition_point(|frame| frame.offset <= offset);
            Some(next).filter(is_behind)
        })
    }

    /// The position before the newest event, or the tail if there is none here, and how many events
    /// are between `cursor` and it, where that is known.
    pub(super) fn newest(&self, cursor: Position) -> (Position, Option<u64>) {
        let newest = match self.frames.iter().rposition(Frame::is_event) {
            Some(0) => self.base,
            Some(newest) => self.frames[newest - 1].offset,
            None => self.tail().offset(),
        };
        let is_counted = cursor.epoch() == self.epoch && cursor.offset() >= self.counted_from;
        let missed = newest.checked_sub(cursor.offset());
        let missed = missed.filter(|_| is_counted);
        (Position::new(self.epoch, newest), missed)
    }

    /// The frames from `first` on that go out in one piece, and the cursor behind them.
    pub(super) fn chunk(&self, first: usize) -> (vec_deque::Iter<'_, Frame>, Position) {
        let mut bytes = 0;
        let fitting = self.frames.range(first..).take_while(|frame| {
            bytes += frame.block().len();
            bytes <= MAX_CHUNK
        });
        // One frame at least, however large.
        let len = fitting.count().max(1);
        let frames = self.frames.range(first..first + len);
        let end = self
            .frames
            .get(first + len - 1)
            .map_or(self.base, |frame| frame.offset);
        (frames, Position::new(self.epoch, end))
    }

    /// The blocks of that chunk in one piece, which clients at the same place share, and how many of
    /// them there are.
    pub(super) fn join(&mut self, first: usize) -> (Bytes, usize, Position) {
        if first + 1 == self.frames.len() {
            let frame = &self.frames[first];
            let events = usize::from(frame.is_event());
            return (frame.block().clone(), events, self.tail());
        }
        let from = self.frames[first].offset;
        if let Some(join) = self.joins.iter().find(|join| join.from == from) {
            return (join.blocks.clone(), join.events, join.end);
        }
        let (frames, end) = self.chunk(first);
        let events = frames.clone().filter(|frame| frame.is_event()).count();
        let blocks: Vec<&[u8]> = frames.map(|frame| &**frame.block()).collect();
        let blocks = Bytes::from(blocks.concat());
        if self.joins.len() == MAX_JOINS {
            self.joins.pop_front();
        }
        self.joins.push_back(Join {
            from,
            end,
            blocks: blocks.clone(),
            events,
        });
        (blocks, events, end)
    }

    /// Gives back what nobody will ask for again, once all have come to the end.
    pub(super) fn drop_joins(&mut self) {
        self.joins = VecDeque::new();
    }
}
