//! The log of one topic in memory.

use std::{collections::VecDeque, time::SystemTime};

use tokio::time::Instant;

use super::{Epoch, Evicted, Limits, Page, Position, Read, ReadFrom};
use crate::{
    store::{NewRecord, Record, RecordKind},
    topic_name::TopicName,
};

/// Records at contiguous offsets; those of `entries` are `first + 1 ..= head`.
pub(super) struct Log {
    epoch: Epoch,
    /// The offset before that of the oldest entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Of the entries that are events: their number, and the bytes of their texts.
    events: usize,
    bytes: usize,
    /// Of all entries: the bytes of their texts.
    text_bytes: usize,
    /// Whether there was ever a record that is not an event, so that offsets do not count events.
    other_kinds: bool,
    name_len: usize,
    /// What the store has counted for this log.
    counted: usize,
}

struct Entry {
    record: NewRecord,
    at: Instant,
    time: SystemTime,
}

impl Log {
    pub(super) fn new(topic: &TopicName, epoch: Epoch) -> Self {
        Self {
            epoch,
            first: 0,
            entries: VecDeque::new(),
            events: 0,
            bytes: 0,
            text_bytes: 0,
            other_kinds: false,
            name_len: topic.as_str().len(),
            counted: 0,
        }
    }

    pub(super) fn head(&self) -> Position {
        self.at(self.entries.len())
    }

    /// What the store has counted for this log.
    pub(super) fn counted(&self) -> usize {
        self.counted
    }

    /// Counts anew, roughly, how many bytes of memory the log takes.
    pub(super) fn count(&mut self) -> usize {
        const TOPIC: usize = 256;
        let entries = self.entries.len() * size_of::<Entry>();
        self.counted = TOPIC + 2 * self.name_len + self.text_bytes + entries;
        self.counted
    }

    pub(super) fn append(&mut self, records: Vec<NewRecord>, at: Instant) {
        // The clock may have been set back.
        let now = SystemTime::now();
        let time = self.entries.back().map_or(now, |last| last.time.max(now));
        for record in records {
            self.text_bytes += record.size();
            if record.kind() == RecordKind::Event {
                self.events += 1;
                self.bytes += record.size();
            } else {
                self.other_kinds = true;
            }
            self.entries.push_back(Entry { record, at, time });
        }
    }

    /// Drops the oldest entries until the limits hold.
    pub(super) fn evict(&mut self, limits: &Limits, now: Instant) {
        while self.events > limits.events || self.bytes > limits.bytes {
            self.pop();
        }
        self.hide_old(limits, now);
        if self.entries.capacity() > 4 * self.entries.len().max(16) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    pub(super) fn hide_old(&mut self, limits: &Limits, now: Instant) {
        let Some(age) = limits.age else { return };
        while let Some(oldest) = self.entries.front()
            && now.saturating_duration_since(oldest.at) >= age
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(Entry { record, .. }) = self.entries.pop_front() else {
            return;
        };
        self.first += 1;
        self.text_bytes -= record.size();
        if record.kind() == RecordKind::Event {
            self.events -= 1;
            self.bytes -= record.size();
        }
    }

    pub(super) fn read(&self, from: ReadFrom, max_bytes: usize) -> Read {
        let index = match from {
            ReadFrom::Oldest => 0,
            ReadFrom::Newest(events) => self.newest(events),
            ReadFrom::After(position) => {
                let head = self.head();
                if position.epoch() != self.epoch {
                    return Read::UnknownEpoch(head);
                }
                if position.offset() > head.offset() {
                    return Read::Ahead(head);
                }
                match position.offset().checked_sub(self.first) {
                    Some(index) => index_of(index),
                    None => return Read::Evicted(self.evicted(position)),
                }
            }
        };
        let mut records = Vec::new();
        let mut bytes = 0;
        for (entry, offset) in self
            .entries
            .range(index..)
            .zip(self.at(index).offset() + 1..)
        {
            bytes += entry.record.size();
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push(Record::new(offset, entry.record.clone()).time(entry.time));
        }
        Read::Page(Page {
            start: self.at(index),
            records,
            head: self.head(),
        })
    }

    /// The index of the first of the newest `events` events.
    fn newest(&self, events: u64) -> usize {
        let events = usize::try_from(events).unwrap_or(usize::MAX);
        if self.events == self.entries.len() {
            return self.entries.len().saturating_sub(events);
        }
        let is_event = |entry: &Entry| entry.record.kind() == RecordKind::Event;
        let newest = self.entries.iter().enumerate().rev();
        let mut from_newest = newest
            .filter(|(_, entry)| is_event(entry))
            .map(|(index, _)| index);
        match events.checked_sub(1) {
            Some(before) => from_newest.nth(before).unwrap_or(0),
            None => self.entries.len(),
        }
    }

    fn evicted(&self, position: Position) -> Evicted {
        let missed = self.first - position.offset();
        Evicted {
            oldest: self.at(0),
            middle: self.at(self.entries.len() / 2),
            missed: (!self.other_kinds).then_some(missed),
        }
    }

    /// The position before the entry at `index`.
    fn at(&self, index: usize) -> Position {
        Position::new(self.epoch, self.first + index as u64)
    }
}

/// An index into the entries, whose number fits in memory.
fn index_of(offset: u64) -> usize {
    usize::try_from(offset).expect("not more than the number of entries")
}
