//! What stands in the file.

use redb::TableDefinition;

use super::wide;
use crate::{
    event::EventName,
    store::{Epoch, NewRecord, Position, RecordKind, StoreError, error::damaged},
};

/// The number of this format. A file of another one is refused.
pub(super) const FORMAT: u64 = 1;
pub(super) const FORMAT_KEY: &str = "format";
/// The epoch of the positions of topics that have no log.
pub(super) const EPOCH_KEY: &str = "epoch";

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("tower-sse");
pub(super) const LOGS: TableDefinition<'_, &str, [u64; Log::FIELDS]> = TableDefinition::new("logs");
/// For each bucket of names, the offset that a topic without a log has.
pub(super) const LIVES: TableDefinition<'_, u16, u64> = TableDefinition::new("lives");
/// The logs that are gone, but for their records.
pub(super) const GONE: TableDefinition<'_, u64, ()> = TableDefinition::new("gone");
/// By the number of the log and the offset.
pub(super) const RECORDS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("records");

/// What is counted for a record besides its texts, and for a topic.
const RECORD: u64 = 64;
const TOPIC: u64 = 1024;

/// What is known of a log without its records.
///
/// Its records are at offsets in `first + 1 ..= head`, not at all of them; each names its
/// predecessor, that of the oldest is `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Log {
    /// Never given to another log of the file.
    pub(super) id: u64,
    pub(super) epoch: u64,
    /// The offset of the position at which its topic stood without a log.
    pub(super) begun_from: u64,
    pub(super) first: u64,
    pub(super) head: u64,
    /// From this offset on, all that was evicted are events at contiguous offsets.
    pub(super) counted_from: u64,
    /// How many events were evicted.
    pub(super) evicted: u64,
    /// How many events are retained, and the bytes of their texts.
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// What all records count for.
    pub(super) size: u64,
    /// When the newest record was appended, in milliseconds of Unix time.
    pub(super) clock: u64,
    pub(super) gone_at: Option<u64>,
    /// Grows with every append to any log.
    pub(super) turn: u64,
    /// Whether it was begun, or has jumped ahead, since the file was opened. Not stored.
    pub(super) jumped: bool,
}

impl Log {
    pub(super) const FIELDS: usize = 13;

    pub(super) const fn head(&self) -> Position {
        self.at(self.head)
    }

    pub(super) const fn at(&self, offset: u64) -> Position {
        Position::new(Epoch::new(self.epoch), offset)
    }

    /// How many events there ever were.
    pub(super) const fn all_events(&self) -> u64 {
        self.evicted + self.events
    }

    /// What the log counts for where all topics are limited together.
    pub(super) const fn counted(&self) -> u64 {
        self.size + TOPIC
    }

    pub(super) fn is_gone(&self, now: u64) -> bool {
        self.gone_at.is_some_and(|at| at <= now)
    }

    pub(super) const fn to_row(self) -> [u64; Self::FIELDS] {
        [
            self.id,
            self.epoch,
            self.begun_from,
            self.first,
            self.head,
            self.counted_from,
            self.evicted,
            self.events,
            self.bytes,
            self.size,
            self.clock,
            match self.gone_at {
                Some(at) => at,
                None => u64::MAX,
            },
            self.turn,
        ]
    }

    pub(super) fn from_row(row: [u64; Self::FIELDS]) -> Result<Self, StoreError> {
        let [
            id,
            epoch,
            begun_from,
            first,
            head,
            counted_from,
            evicted,
            events,
            bytes,
            size,
            clock,
            gone_at,
            turn,
        ] = row;
        if first > head || bytes > size || evicted.checked_add(events).is_none() {
            return Err(damaged("a log that cannot be"));
        }
        Ok(Self {
            id,
            epoch,
            begun_from,
            first,
            head,
            counted_from,
            evicted,
            events,
            bytes,
            size,
            clock,
            gone_at: (gone_at != u64::MAX).then_some(gone_at),
            turn,
            jumped: false,
        })
    }
}

/// The bucket of a topic's name; topics of one bucket share the offset that they have without a log.
pub(super) fn bucket(name: &str) -> u16 {
    let [_, _, high, low] = crc32fast::hash(name.as_bytes()).to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// A record as it stands in the file.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) kind: RecordKind,
    /// The offset of the record before it.
    pub(super) previous: u64,
    /// When it was appended, in milliseconds of Unix time.
    pub(super) at: u64,
    /// How many events there ever were in the log up to here, itself included.
    pub(super) ordinal: u64,
    pub(super) name: Option<&'a str>,
    pub(super) data: &'a str,
}

// Checksum, predecessor, time, ordinal, tag, length of the name.
const HEAD: usize = 4 + 8 + 8 + 8 + 1 + 4;
const EVENT: u8 = 0;
const NAMED_EVENT: u8 = 1;
const LEASE: u8 = 2;
const END: u8 = 3;

impl Entry<'_> {
    /// The bytes of the texts.
    pub(super) fn text(&self) -> u64 {
        wide(self.data.len() + self.name.map_or(0, str::len))
    }

    pub(super) fn is_event(&self) -> bool {
        self.kind == RecordKind::Event
    }

    /// What the record counts for where all topics are limited together.
    pub(super) fn counted(&self) -> u64 {
        RECORD + self.text()
    }

    /// How many events there ever were before it.
    pub(super) fn events_before(&self) -> u64 {
        self.ordinal.saturating_sub(u64::from(self.is_event()))
    }

    pub(super) fn to_bytes(self, log: u64, offset: u64) -> Vec<u8> {
        let name = self.name.unwrap_or_default();
        let tag = match (self.kind, self.name) {
            (RecordKind::Event, None) => EVENT,
            (RecordKind::Event, Some(_)) => NAMED_EVENT,
            (RecordKind::Lease, _) => LEASE,
            (RecordKind::End, _) => END,
        };
        let name_len = u32::try_from(name.len()).expect("a record is smaller than the engine's");
        let mut bytes = Vec::with_capacity(HEAD + name.len() + self.data.len());
        bytes.extend([0; 4]);
        for number in [self.previous, self.at, self.ordinal] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.push(tag);
        bytes.extend(name_len.to_be_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(self.data.as_bytes());
        let sum = checksum(log, offset, &bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    pub(super) fn to_record(self) -> Result<NewRecord, StoreError> {
        if self.kind != RecordKind::Event {
            return Ok(NewRecord::of_kind(self.kind, self.data));
        }
        let name = self
            .name
            .map(EventName::stored)
            .transpose()
            .map_err(damaged)?;
        Ok(NewRecord::event(name, self.data))
    }
}

impl<'a> Entry<'a> {
    pub(super) fn of(record: &'a NewRecord, previous: u64, at: u64, ordinal: u64) -> Self {
        Self {
            kind: record.kind(),
            previous,
            at,
            ordinal,
            name: record.name().map(EventName::as_str),
            data: record.data(),
        }
    }

    pub(super) fn from_bytes(log: u64, offset: u64, bytes: &'a [u8]) -> Result<Self, StoreError> {
        let parse = || {
            let (sum, rest) = bytes.split_first_chunk()?;
            if u32::from_be_bytes(*sum) != checksum(log, offset, rest) {
                return None;
            }
            let (previous, rest) = rest.split_first_chunk()?;
            let (at, rest) = rest.split_first_chunk()?;
            let (ordinal, rest) = rest.split_first_chunk()?;
            let (&tag, rest) = rest.split_first()?;
            let (name_len, rest) = rest.split_first_chunk()?;
            let name_len = usize::try_from(u32::from_be_bytes(*name_len)).ok()?;
            let (name, data) = rest.split_at_checked(name_len)?;
            let name = std::str::from_utf8(name).ok()?;
            let (kind, name) = match tag {
                EVENT => (RecordKind::Event, None),
                NAMED_EVENT => (RecordKind::Event, Some(name)),
                LEASE => (RecordKind::Lease, None),
                END => (RecordKind::End, None),
                _ => return None,
            };
            Some(Self {
                kind,
                previous: u64::from_be_bytes(*previous),
                at: u64::from_be_bytes(*at),
                ordinal: u64::from_be_bytes(*ordinal),
                name,
                data: std::str::from_utf8(data).ok()?,
            })
        };
        parse().ok_or_else(|| damaged("a record that was not written like this"))
    }
}

/// Over the place, too, so that a record at another one does not pass.
fn checksum(log: u64, offset: u64, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&log.to_be_bytes());
    hasher.update(&offset.to_be_bytes());
    hasher.update(rest);
    hasher.finalize()
}
