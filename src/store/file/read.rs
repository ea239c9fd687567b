//! Reading: where a position stands in a log, and the records behind it.
//!
//! # Positions of a file that was put back to an older copy
//!
//! Nobody remembers that the log once went further: what it was in between is lost, and its offsets
//! would be given out again, to other records. So the first append to a log after each opening jumps
//! ahead by a random amount, and the record names its predecessor, which proves that nothing is
//! missing between them. Let the log end at `a` in the copy, and the lost records be at `l > a`.
//!
//! - Until the first append, `l` is beyond the head: `Ahead`.
//! - The first append puts its record at `j > a`, naming `a`. A position in `a + 1 .. j` was never
//!   given out in this life of the log, as all of it before the opening is at most `a`: the record
//!   that follows such a position does not name it, and the answer is `UnknownEpoch`.
//! - `l` beyond the new head is `Ahead`. Only an `l` that is a record's offset of both lives would be
//!   taken for one of this. Both begin at random places in 2^32 (or the lost one begins at `a + 1`,
//!   where the copy was taken while the file was open), so for n lost records, and as many new ones,
//!   the chance is about n in 2^31.
//! - `a` itself is where both lives agree: what follows it is the jumped record, and it is valid.
//! - A follower that compares heads sees one offset or the other, never one inside a jump, and
//!   `while_head` compares with `a` before the jump and with `j` after it: a lost head is a conflict.
//! - Once the jumped record is evicted, a position before it, lost or not, is `Evicted`, and
//!   `missed` is not told, since offsets do not count events there (`Log::counted_from`).
//! - `Newest` and the middle count events by the ordinals in the records, which do not jump.
//!
//! The offset of a topic without a log (`LIVES`) jumps in the same way each time a log begins in the
//! bucket, so that one which began in the lost life and ended there leaves no position that is valid.

use std::num::NonZeroUsize;

use redb::{ReadOnlyTable, ReadTransaction};

use super::{
    failure::failed,
    format::{Entry, Log, RECORDS},
};
use crate::store::{
    Epoch, Evicted, Page, Position, Read, ReadFrom, Record, StoreError, error::damaged,
};

/// What is known of a topic without looking at records.
pub(super) struct Place {
    /// Where the topic stands when it has no log.
    pub(super) absent: Position,
    pub(super) log: Option<Log>,
}

impl Place {
    pub(super) fn head(&self) -> Position {
        self.log.as_ref().map_or(self.absent, Log::head)
    }

    pub(super) fn answer(&self, from: ReadFrom) -> Answer {
        let head = self.head();
        let Some(log) = self.log else {
            return Answer::Now(Read::absent(head, from));
        };
        let nothing = Answer::Now(Read::empty(head));
        match from {
            ReadFrom::After(position) => match offset_in(&log, self.absent.epoch(), position) {
                None => Answer::Now(Read::UnknownEpoch(head)),
                Some(offset) if offset > head.offset() => Answer::Now(Read::Ahead(head)),
                Some(offset) if offset == head.offset() => nothing,
                Some(_) => Answer::In(log),
            },
            ReadFrom::Newest(0) => nothing,
            ReadFrom::Oldest | ReadFrom::Newest(_) if log.first == log.head => nothing,
            ReadFrom::Oldest | ReadFrom::Newest(_) => Answer::In(log),
        }
    }
}

/// What a place can tell of a read.
pub(super) enum Answer {
    Now(Read),
    /// That it needs the records of this log.
    In(Log),
}

/// The offset of `position` in the log, if it is one of this log or of the time before it.
fn offset_in(log: &Log, store: Epoch, position: Position) -> Option<u64> {
    if position.epoch() == Epoch::new(log.epoch) {
        return Some(position.offset());
    }
    (position == Position::new(store, log.begun_from)).then_some(0)
}

/// A read of a log that is not answered by its [`Place`], in a snapshot of the same moment.
pub(super) struct Reading {
    pub(super) store: Epoch,
    pub(super) log: Log,
    pub(super) age: Option<u64>,
    pub(super) now: u64,
}

impl Reading {
    pub(super) fn read(
        &self,
        snapshot: &ReadTransaction,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        let log = self.log;
        let records = Records {
            table: snapshot.open_table(RECORDS).map_err(failed)?,
            log,
        };
        let oldest = self.oldest(&records)?;
        let start = match from {
            ReadFrom::Oldest => oldest,
            ReadFrom::Newest(events) => oldest.max(records.newest(events)?),
            ReadFrom::After(position) => {
                let offset = offset_in(&log, self.store, position)
                    .ok_or_else(|| damaged("a position of no log"))?;
                if offset >= log.first && !records.has(offset)? {
                    return Ok(Read::UnknownEpoch(log.head()));
                }
                if offset < oldest {
                    return Ok(Read::Evicted(records.evicted(offset, oldest)?));
                }
                offset
            }
        };
        Ok(Read::Page(records.page(start, max_bytes.get())?))
    }

    /// The offset before the oldest record that is not past its age.
    fn oldest(&self, records: &Records) -> Result<u64, StoreError> {
        let log = &records.log;
        let Some(age) = self.age else {
            return Ok(log.first);
        };
        let is_old = |at: u64| self.now.saturating_sub(at) >= age;
        if is_old(log.clock) {
            return Ok(log.head);
        }
        if !records.after(log.first, |_, entry| Ok(is_old(entry.at)))? {
            return Ok(log.first);
        }
        records.behind(|entry| is_old(entry.at))
    }
}

/// The records of one log. All offsets that are passed around are of records, or `log.first`.
struct Records {
    table: ReadOnlyTable<(u64, u64), &'static [u8]>,
    log: Log,
}

impl Records {
    /// Looks at the first record behind `offset`, which is before the head.
    fn after<T>(
        &self,
        offset: u64,
        look: impl FnOnce(u64, Entry<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let id = self.log.id;
        let range = (id, offset.saturating_add(1))..=(id, self.log.head);
        let next = self.table.range(range).map_err(failed)?.next();
        let (key, value) = next
            .ok_or_else(|| damaged("a record is missing"))?
            .map_err(failed)?;
        let (_, offset) = key.value();
        look(offset, Entry::from_bytes(id, offset, value.value())?)
    }

    /// Whether `offset` is that of a record, or the one before the oldest.
    fn has(&self, offset: u64) -> Result<bool, StoreError> {
        self.after(offset, |_, next| Ok(next.previous == offset))
    }

    /// The offset of the last record for which `is_before` holds, as it does for all before that.
    fn behind(&self, is_before: impl Fn(&Entry<'_>) -> bool) -> Result<u64, StoreError> {
        // It holds up to `low`, and does not hold behind `high`.
        let (mut low, mut high) = (self.log.first, self.log.head);
        while low < high {
            let middle = low + (high - low) / 2;
            (low, high) = self.after(middle, |offset, entry| match is_before(&entry) {
                true => Ok((offset, high)),
                false if (low..=middle).contains(&entry.previous) => Ok((low, entry.previous)),
                false => Err(damaged("a record does not name the one before it")),
            })?;
        }
        Ok(low)
    }

    fn newest(&self, events: u64) -> Result<u64, StoreError> {
        if events > self.log.events {
            return Ok(self.log.first);
        }
        let before = self.log.all_events() - events;
        self.behind(|entry| entry.ordinal <= before)
    }

    /// How many events there ever were up to `offset`.
    fn events_to(&self, offset: u64) -> Result<u64, StoreError> {
        if offset == self.log.head {
            return Ok(self.log.all_events());
        }
        self.after(offset, |_, next| Ok(next.events_before()))
    }

    fn evicted(&self, offset: u64, oldest: u64) -> Result<Evicted, StoreError> {
        let log = &self.log;
        let events = self.events_to(oldest)?;
        let half = events + (log.all_events().saturating_sub(events)) / 2;
        let middle = self.behind(|entry| entry.ordinal <= half)?;
        let missed = if offset >= log.first {
            Some(events.saturating_sub(self.events_to(offset)?))
        } else if offset >= log.counted_from {
            Some((log.first - offset) + events.saturating_sub(log.evicted))
        } else {
            None
        };
        Ok(Evicted {
            oldest: log.at(oldest),
            middle: log.at(middle.max(oldest)),
            missed,
        })
    }

    fn page(&self, start: u64, max_bytes: usize) -> Result<Page, StoreError> {
        let log = &self.log;
        let mut records = Vec::new();
        let (mut bytes, mut previous) = (0, start);
        let range = (log.id, start.saturating_add(1))..=(log.id, log.head);
        for row in self.table.range(range).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            let (_, offset) = key.value();
            let entry = Entry::from_bytes(log.id, offset, value.value())?;
            if entry.previous != previous {
                return Err(damaged("a record is missing"));
            }
            bytes += entry.data.len() + entry.name.map_or(0, str::len);
            if bytes > max_bytes && !records.is_empty() {
                return Ok(self.page_of(start, records));
            }
            let at = entry.at;
            let record = Record::new(offset, entry.to_record()?).millis(at);
            records.push(record.previous(previous));
            previous = offset;
        }
        match previous == log.head {
            true => Ok(self.page_of(start, records)),
            false => Err(damaged("the newest record is missing")),
        }
    }

    fn page_of(&self, start: u64, records: Vec<Record>) -> Page {
        Page {
            start: self.log.at(start),
            records,
            head: self.log.head(),
        }
    }
}
