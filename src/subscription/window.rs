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

/// How many joins are kept for clients at the same place.
const MAX_JOINS: usize = 2;

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
    joins: Vec<Join>,
}

/// The blocks of the frames from offset `from` to offset `to`, in one piece.
#[derive(Debug)]
struct Join {
    from: u64,
    to: u64,
    blocks: Bytes,
}

/// Where a cursor is to a window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// What follows the cursor is here, from this frame on.
    Inside(usize),
    /// The cursor is at the end, or already beyond it.
    AtEnd,
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
            joins: Vec::new(),
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
        for record in &page.records {
            if record.offset() <= self.tail().offset() {
                continue;
            }
            if record.previous_offset() != self.tail().offset() {
                self.reset(Position::new(self.epoch, record.previous_offset()));
            }
            let frame = Frame::new(self.epoch, record);
            self.bytes += frame.block().len();
            self.frames.push_back(frame);
        }
        self.joins.clear();
        while self.frames.len() > self.max_events.get() || self.bytes > MAX_BYTES {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.base = oldest.offset;
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
        if cursor.epoch() != self.epoch || cursor.offset() < self.base {
            return Place::Elsewhere;
        }
        if cursor.offset() >= self.tail().offset() {
            return Place::AtEnd;
        }
        let next = self
            .frames
            .partition_point(|frame| frame.offset <= cursor.offset());
        // Offsets may jump where a log has lost its end: one in between is of what is lost.
        let before = match next.checked_sub(1) {
            Some(before) => self.frames[before].offset,
            None => self.base,
        };
        match before == cursor.offset() {
            true => Place::Inside(next),
            false => Place::Elsewhere,
        }
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

    /// The blocks of that chunk in one piece, which clients at the same place share.
    pub(super) fn join(&mut self, first: usize) -> (Bytes, Position) {
        let (frames, end) = self.chunk(first);
        let mut blocks = frames.map(Frame::block).filter(|block| !block.is_empty());
        let (one, another) = (blocks.next(), blocks.next());
        if another.is_none() {
            return (one.cloned().unwrap_or_default(), end);
        }
        let (from, to) = (self.frames[first].offset, end.offset());
        if let Some(join) = self
            .joins
            .iter()
            .find(|join| join.from == from && join.to == to)
        {
            return (join.blocks.clone(), end);
        }
        let blocks: Vec<&[u8]> = self.chunk(first).0.map(|frame| &**frame.block()).collect();
        let blocks = Bytes::from(blocks.concat());
        if self.joins.len() == MAX_JOINS {
            self.joins.remove(0);
        }
        self.joins.push(Join {
            from,
            to,
            blocks: blocks.clone(),
        });
        (blocks, end)
    }
}
