//! What a log is made of.

use std::time::{Duration, SystemTime};

use bytestring::ByteString;

use super::Position;
use crate::event::EventName;
#[cfg(any(
    feature = "file",
    feature = "nats",
    feature = "postgres",
    feature = "redis"
))]
use crate::millis::from_unix_millis;

/// What a record is to the readers of a log.
///
/// Only events are sent to clients and counted by retention; the others are read like any other
/// record and keep their place among the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// An event.
    Event,
    /// A sign of life of the one producer of a log.
    Lease,
    /// The end of a log; the data says how it ended.
    End,
}

/// A record that is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    kind: RecordKind,
    name: Option<EventName>,
    data: ByteString,
}

impl NewRecord {
    /// Makes a record of an event.
    #[must_use]
    pub fn event(name: Option<EventName>, data: impl Into<ByteString>) -> Self {
        Self {
            kind: RecordKind::Event,
            name,
            data: data.into(),
        }
    }

    /// Makes a record of another kind.
    #[must_use]
    pub fn of_kind(kind: RecordKind, data: impl Into<ByteString>) -> Self {
        Self {
            kind,
            name: None,
            data: data.into(),
        }
    }

    /// What the record is to readers.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        self.kind
    }

    /// The name of the event, where it has one.
    #[must_use]
    pub const fn name(&self) -> Option<&EventName> {
        self.name.as_ref()
    }

    /// The data of the event.
    #[must_use]
    pub const fn data(&self) -> &ByteString {
        &self.data
    }

    /// How many bytes the record counts for where bytes are limited: those of its texts.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.name.as_ref().map_or(0, |name| name.as_str().len())
    }
}

/// A record that stands in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    offset: u64,
    previous: u64,
    appended_at: Option<SystemTime>,
    record: NewRecord,
}

impl Record {
    /// Makes the record at `offset`, whose predecessor is at `offset - 1`.
    #[must_use]
    pub const fn new(offset: u64, record: NewRecord) -> Self {
        Self {
            offset,
            previous: offset.saturating_sub(1),
            appended_at: None,
            record,
        }
    }

    /// Names the predecessor, for stores whose offsets are not contiguous within a topic.
    ///
    /// A reader takes a record for the next one only where this is the offset it stands at.
    #[must_use]
    pub const fn previous(mut self, offset: u64) -> Self {
        self.previous = offset;
        self
    }

    /// Sets when the record was appended, for stores that keep that. Within a log it never goes
    /// backwards.
    #[must_use]
    pub const fn time(mut self, time: SystemTime) -> Self {
        self.appended_at = Some(time);
        self
    }

    /// Sets the time in milliseconds since 1970.
    #[cfg(any(
        feature = "file",
        feature = "nats",
        feature = "postgres",
        feature = "redis"
    ))]
    pub(super) fn millis(mut self, millis: u64) -> Self {
        self.appended_at = from_unix_millis(millis);
        self
    }

    /// The offset of the record, which is greater than that of every record before it.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The offset of the record before it, retained or not.
    #[must_use]
    pub const fn previous_offset(&self) -> u64 {
        self.previous
    }

    /// When it was appended, by the clock of the store, where that keeps it; in milliseconds or finer.
    #[must_use]
    pub const fn appended_at(&self) -> Option<SystemTime> {
        self.appended_at
    }

    /// What was appended.
    #[must_use]
    pub const fn content(&self) -> &NewRecord {
        &self.record
    }

    /// Takes out what was appended.
    #[must_use]
    pub fn into_content(self) -> NewRecord {
        self.record
    }

    /// How many bytes the record counts for where bytes are limited.
    #[must_use]
    pub fn size(&self) -> usize {
        self.record.size()
    }
}

/// What is to be appended to the log of a topic: one record or several, stored together or not at
/// all, in this order and with nothing in between.
#[derive(Clone, Debug)]
#[must_use]
pub struct Append {
    records: Vec<NewRecord>,
    while_head: Option<Position>,
    gone_after: Option<Duration>,
}

impl Append {
    /// Makes an append of `records`.
    pub fn new(records: impl IntoIterator<Item = NewRecord>) -> Self {
        Self {
            records: records.into_iter().collect(),
            while_head: None,
            gone_after: None,
        }
    }

    /// Appends only while the head of the log is still `position`; otherwise the answer is
    /// [`Appended::Conflict`] and nothing is stored.
    pub const fn while_head(mut self, position: Position) -> Self {
        self.while_head = Some(position);
        self
    }

    /// Gives the topic an end of life: this long after the append it is gone, and reads as unknown.
    ///
    /// A later append takes the end of life back or sets another.
    pub const fn gone_after(mut self, after: Duration) -> Self {
        self.gone_after = Some(after);
        self
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> &[NewRecord] {
        &self.records
    }

    /// The condition, if there is one.
    #[must_use]
    pub const fn condition(&self) -> Option<Position> {
        self.while_head
    }

    /// When the topic is gone, if it has an end of life.
    #[must_use]
    pub const fn end_of_life(&self) -> Option<Duration> {
        self.gone_after
    }

    /// Takes the records out.
    #[must_use]
    pub fn into_records(self) -> Vec<NewRecord> {
        self.records
    }
}

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// Stored, as durably as the store promises; the position is that of the last record.
    Stored(Position),
    /// Nothing was stored, since the head was not the one that was asked for but this.
    Conflict(Position),
}

/// How much a log retains at most; `None` is without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many events.
    pub events: Option<u64>,
    /// How many bytes of names and data.
    pub bytes: Option<u64>,
}

/// Where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// With the record after this position.
    After(Position),
    /// With the oldest record that is retained.
    Oldest,
    /// So that this many of the newest events are read, or as many as are retained.
    Newest(u64),
}

/// The answer to a read.
///
/// A position equal to the head is never a gap: the answer to reading after it is an empty page,
/// however much was evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The records from the place that was asked for, without a hole.
    Page(Page),
    /// Records after the position are no longer retained, or the store cannot prove that none is
    /// missing.
    Evicted(Evicted),
    /// The position is from another life of the log; this is the head of the present one.
    UnknownEpoch(Position),
    /// The position is beyond the head, which is this.
    Ahead(Position),
}

impl Read {
    /// The answer for a reader at the head.
    pub(super) const fn empty(head: Position) -> Self {
        Self::Page(Page {
            start: head,
            records: Vec::new(),
            head,
        })
    }

    /// The answer for a topic that has no log, and has this head.
    pub(super) fn absent(head: Position, from: ReadFrom) -> Self {
        match from {
            // An earlier one is from before a log of the bucket, perhaps of this topic, came and went.
            ReadFrom::After(position)
                if position.epoch() != head.epoch() || position.offset() < head.offset() =>
            {
                Self::UnknownEpoch(head)
            }
            ReadFrom::After(position) if position != head => Self::Ahead(head),
            _ => Self::empty(head),
        }
    }
}

/// A stretch of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The position directly before the first record: the one that was asked for, unless that is of
    /// the time before the topic had a log. Then it is the beginning of that log.
    pub start: Position,
    /// The records in order; empty only where `start` is the head.
    pub records: Vec<Record>,
    /// The head of the log when it was read.
    pub head: Position,
}

impl Page {
    /// The position behind the last record.
    #[must_use]
    pub fn end(&self) -> Position {
        match self.records.last() {
            Some(last) => Position::new(self.start.epoch(), last.offset()),
            None => self.start,
        }
    }
}

/// Where a log goes on for a reader whose next record is no longer retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// The position directly before the oldest record that is retained; the head, if none is.
    pub oldest: Position,
    /// A position about in the middle of what is retained, where a reader that is too slow goes on:
    /// at the edge the next read would race eviction again.
    pub middle: Position,
    /// How many events were evicted between the position that was asked for and `oldest`, where the
    /// store knows.
    pub missed: Option<u64>,
}
