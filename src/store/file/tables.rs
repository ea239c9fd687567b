//! The tables, open for writing, and how records come into them and go.

use std::{collections::VecDeque, ops::Bound};

use redb::{Table, WriteTransaction};

use super::{
    Limits,
    failure::failed,
    format::{Entry, GONE, LIVES, LOGS, Log, RECORDS},
};
use crate::store::{NewRecord, RecordKind, StoreError, error::damaged};

/// How far the first append after an opening jumps ahead at most; see `read.rs`.
const JUMP: u64 = 1 << 32;
/// How many records of logs that are gone are removed along with one commit.
const SWEEP: usize = 4096;

pub(super) struct Tables<'a> {
    pub(super) logs: Table<'a, &'static str, [u64; Log::FIELDS]>,
    pub(super) lives: Table<'a, u16, u64>,
    pub(super) gone: Table<'a, u64, ()>,
    records: Table<'a, (u64, u64), &'static [u8]>,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            logs: transaction.open_table(LOGS).map_err(failed)?,
            lives: transaction.open_table(LIVES).map_err(failed)?,
            gone: transaction.open_table(GONE).map_err(failed)?,
            records: transaction.open_table(RECORDS).map_err(failed)?,
        })
    }

    /// Writes records behind the newest of a log.
    pub(super) fn push(
        &mut self,
        log: &mut Log,
        records: &[NewRecord],
        now: u64,
    ) -> Result<(), StoreError> {
        let at = log.clock.max(now);
        for record in records {
            let previous = log.head;
            log.head = match log.jumped {
                true => previous
                    .checked_add(1)
                    .ok_or_else(|| damaged("the last offset"))?,
                false => jump(previous)?,
            };
            log.jumped = true;
            log.clock = at;
            let is_event = record.kind() == RecordKind::Event;
            log.events += u64::from(is_event);
            let entry = Entry::of(record, previous, at, log.all_events());
            log.size += entry.counted();
            if is_event {
                log.bytes += entry.text();
            }
            let bytes = entry.to_bytes(log.id, log.head);
            let key = (log.id, log.head);
            self.records.insert(key, bytes.as_slice()).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes the oldest records of a log until the limits hold.
    pub(super) fn evict(
        &mut self,
        log: &mut Log,
        limits: &Limits,
        now: u64,
    ) -> Result<(), StoreError> {
        let over = |log: &Log| log.events > limits.events || log.bytes > limits.bytes;
        let may_be_old = limits.age.is_some() && log.first != log.head;
        if !over(log) && !may_be_old {
            return Ok(());
        }
        let from = Bound::Included((log.id, 0));
        let mut cursor = self.records.lower_bound_mut(from).map_err(failed)?;
        while log.first != log.head {
            let Some((key, value)) = cursor.peek_next().map_err(failed)? else {
                return Err(damaged("a record is missing"));
            };
            let (id, offset) = key.value();
            if id != log.id {
                return Err(damaged("a record is missing"));
            }
            let entry = Entry::from_bytes(id, offset, value.value())?;
            let is_old = limits
                .age
                .is_some_and(|age| now.saturating_sub(entry.at) >= age);
            if !over(log) && !is_old {
                break;
            }
            let mut left = *log;
            let counts = left.forget(&entry, offset);
            counts.ok_or_else(|| damaged("a log that holds more than was counted"))?;
            *log = left;
            drop((key, value));
            cursor.remove_next().map_err(failed)?;
        }
        cursor.close().map_err(failed)
    }

    /// Removes some of the records of the logs that are `gone`.
    pub(super) fn sweep(&mut self, gone: &mut VecDeque<u64>) -> Result<(), StoreError> {
        let mut left = SWEEP;
        while let Some(&id) = gone.front() {
            let all = (id, 0)..=(id, u64::MAX);
            let mut records = self
                .records
                .extract_from_if(all, |_, _| true)
                .map_err(failed)?;
            loop {
                if left == 0 {
                    return Ok(());
                }
                match records.next() {
                    Some(removed) => drop(removed.map_err(failed)?),
                    None => break,
                }
                left -= 1;
            }
            drop(records);
            self.gone.remove(id).map_err(failed)?;
            gone.pop_front();
        }
        Ok(())
    }
}

impl Log {
    /// Counts without the oldest record.
    fn forget(&mut self, oldest: &Entry<'_>, offset: u64) -> Option<()> {
        if oldest.is_event() {
            self.events = self.events.checked_sub(1)?;
            self.bytes = self.bytes.checked_sub(oldest.text())?;
            self.evicted += 1;
        }
        if !oldest.is_event() || self.first.checked_add(1) != Some(offset) {
            self.counted_from = offset;
        }
        self.size = self.size.checked_sub(oldest.counted())?;
        self.first = offset;
        Some(())
    }
}

/// An offset that is ahead by chance.
pub(super) fn jump(offset: u64) -> Result<u64, StoreError> {
    let ahead = 1 + fastrand::u64(..JUMP);
    offset
        .checked_add(ahead)
        .ok_or_else(|| damaged("the last offset"))
}
