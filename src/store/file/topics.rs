//! All logs, as the one writer knows and changes them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
};

use redb::{ReadTransaction, Table, WriteTransaction};

use super::{
    Limits, Published,
    failure::failed,
    format::{Entry, GONE, LIVES, LOGS, Log, RECORDS, bucket},
};
use crate::{
    store::{
        Append, Appended, Epoch, Position, RecordKind, StoreError, error::damaged, millis::millis,
    },
    sync::{Arc, Mutex, lock},
    topic_name::TopicName,
};

/// How far the first append after an opening jumps ahead at most; see `read.rs`.
const JUMP: u64 = 1 << 32;
/// How many records of logs that are gone are removed along with one commit.
const SWEEP: usize = 4096;

/// What the writer knows of the logs that are committed and of those it is changing.
///
/// A failure ends the writer, so nothing is ever rolled back here.
pub(super) struct Topics {
    store: Epoch,
    limits: Limits,
    /// What is committed.
    published: Arc<Mutex<Published>>,
    /// Logs in the order of their last append.
    order: BTreeMap<u64, TopicName>,
    ends: BTreeSet<(u64, TopicName)>,
    /// Logs whose records are still to be removed.
    gone: VecDeque<u64>,
    counted: u64,
    next_id: u64,
    next_turn: u64,
    /// What is not yet published: changed logs, those that are gone, and changed lives.
    changed: HashMap<TopicName, Option<Log>>,
    changed_lives: HashMap<u16, u64>,
}

/// The tables, open for writing.
pub(super) struct Tables<'a> {
    logs: Table<'a, &'static str, [u64; Log::FIELDS]>,
    lives: Table<'a, u16, u64>,
    gone: Table<'a, u64, ()>,
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
}

impl Topics {
    pub(super) fn new(
        store: Epoch,
        limits: Limits,
        shared: &Arc<Mutex<Published>>,
        gone: VecDeque<u64>,
    ) -> Self {
        let logs = &lock(shared).logs;
        let ids = logs.values().map(|log| log.id).chain(gone.iter().copied());
        let turns = logs.values().map(|log| log.turn);
        Self {
            store,
            limits,
            published: Arc::clone(shared),
            order: logs
                .iter()
                .map(|(name, log)| (log.turn, name.clone()))
                .collect(),
            ends: logs
                .iter()
                .filter_map(|(name, log)| Some((log.gone_at?, name.clone())))
                .collect(),
            counted: logs.values().map(Log::counted).sum(),
            next_id: ids.max().map_or(0, |id| id + 1),
            next_turn: turns.max().map_or(0, |turn| turn + 1),
            gone,
            changed: HashMap::new(),
            changed_lives: HashMap::new(),
        }
    }

    /// Whether there are records of logs that are gone.
    pub(super) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    pub(super) fn append(
        &mut self,
        tables: &mut Tables<'_>,
        topic: &TopicName,
        append: Append,
        now: u64,
    ) -> Result<Appended, StoreError> {
        self.remove_ended(tables, now)?;
        let log = self.log(topic);
        let bucket = bucket(topic.as_str());
        let head = match &log {
            Some(log) => log.head(),
            None => Position::new(self.store, self.life(bucket)),
        };
        if append
            .condition()
            .is_some_and(|condition| condition != head)
        {
            return Ok(Appended::Conflict(head));
        }
        let mut log = match log {
            Some(log) => {
                self.take(topic, &log);
                log
            }
            None if append.records().is_empty() => return Ok(Appended::Stored(head)),
            None => self.begin(tables, bucket, head.offset())?,
        };
        let after = append.end_of_life().map(millis);
        log.gone_at = after.and_then(|after| now.checked_add(after));
        self.push(tables, &mut log, &append, now)?;
        evict(tables, &mut log, &self.limits, now)?;
        log.turn = self.next_turn;
        self.next_turn += 1;
        let head = log.head();
        self.put(topic, log);
        self.remove_least_recent(tables)?;
        Ok(Appended::Stored(head))
    }

    fn begin(
        &mut self,
        tables: &mut Tables<'_>,
        bucket: u16,
        begun_from: u64,
    ) -> Result<Log, StoreError> {
        let life = jump(begun_from)?;
        tables.lives.insert(bucket, life).map_err(failed)?;
        self.changed_lives.insert(bucket, life);
        let id = self.next_id;
        self.next_id += 1;
        Ok(Log {
            id,
            epoch: Epoch::random().get(),
            begun_from,
            first: 0,
            head: 0,
            counted_from: 0,
            evicted: 0,
            events: 0,
            bytes: 0,
            size: 0,
            clock: 0,
            gone_at: None,
            turn: 0,
            jumped: true,
        })
    }

    fn push(
        &mut self,
        tables: &mut Tables<'_>,
        log: &mut Log,
        append: &Append,
        now: u64,
    ) -> Result<(), StoreError> {
        let at = log.clock.max(now);
        for record in append.records() {
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
            tables
                .records
                .insert(key, bytes.as_slice())
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Makes room at an opening, where the limits may have become smaller.
    pub(super) fn evict_all(
        &mut self,
        tables: &mut Tables<'_>,
        now: u64,
    ) -> Result<(), StoreError> {
        self.remove_ended(tables, now)?;
        for topic in self.order.values().cloned().collect::<Vec<_>>() {
            let Some(log) = self.log(&topic) else {
                continue;
            };
            let mut evicted = log;
            evict(tables, &mut evicted, &self.limits, now)?;
            if evicted != log {
                self.take(&topic, &log);
                self.put(&topic, evicted);
            }
        }
        self.remove_least_recent(tables)
    }

    /// Removes topics until all together hold their limit.
    fn remove_least_recent(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        while self.counted > self.limits.total_bytes
            && self.order.len() > 1
            && let Some((_, topic)) = self.order.first_key_value()
        {
            let topic = topic.clone();
            self.remove(tables, &topic)?;
        }
        Ok(())
    }

    fn remove_ended(&mut self, tables: &mut Tables<'_>, now: u64) -> Result<(), StoreError> {
        while let Some((at, topic)) = self.ends.first().cloned()
            && at <= now
        {
            self.remove(tables, &topic)?;
        }
        Ok(())
    }

    fn remove(&mut self, tables: &mut Tables<'_>, topic: &TopicName) -> Result<(), StoreError> {
        let Some(log) = self.log(topic) else {
            return Err(damaged("a topic without its log"));
        };
        self.take(topic, &log);
        self.changed.insert(topic.clone(), None);
        tables.gone.insert(log.id, ()).map_err(failed)?;
        self.gone.push_back(log.id);
        Ok(())
    }

    /// Removes some of the records of logs that are gone.
    pub(super) fn sweep(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        let mut left = SWEEP;
        while let Some(&id) = self.gone.front() {
            let all = (id, 0)..=(id, u64::MAX);
            let mut records = tables
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
            tables.gone.remove(id).map_err(failed)?;
            self.gone.pop_front();
        }
        Ok(())
    }

    /// Writes what has changed of the logs.
    pub(super) fn save(&self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        for (topic, log) in &self.changed {
            match log {
                Some(log) => drop(
                    tables
                        .logs
                        .insert(topic.as_str(), log.to_row())
                        .map_err(failed)?,
                ),
                None => drop(tables.logs.remove(topic.as_str()).map_err(failed)?),
            }
        }
        Ok(())
    }

    /// Publishes what was committed, and returns the topics that have changed.
    pub(super) fn publish(&mut self, snapshot: ReadTransaction) -> Vec<TopicName> {
        let published = &mut *lock(&self.published);
        published.snapshot = Arc::new(snapshot);
        published.lives.extend(self.changed_lives.drain());
        let mut topics = Vec::with_capacity(self.changed.len());
        for (topic, log) in self.changed.drain() {
            match log {
                Some(log) => drop(published.logs.insert(topic.clone(), log)),
                None => drop(published.logs.remove(&topic)),
            }
            topics.push(topic);
        }
        topics
    }

    fn log(&self, topic: &TopicName) -> Option<Log> {
        match self.changed.get(topic) {
            Some(changed) => *changed,
            None => lock(&self.published).logs.get(topic).copied(),
        }
    }

    fn life(&self, bucket: u16) -> u64 {
        match self.changed_lives.get(&bucket) {
            Some(life) => *life,
            None => lock(&self.published).life(bucket),
        }
    }

    /// Takes the log out of all orders; `put` is the other half.
    fn take(&mut self, topic: &TopicName, log: &Log) {
        self.order.remove(&log.turn);
        if let Some(at) = log.gone_at {
            self.ends.remove(&(at, topic.clone()));
        }
        self.counted -= log.counted();
    }

    fn put(&mut self, topic: &TopicName, log: Log) {
        self.order.insert(log.turn, topic.clone());
        if let Some(at) = log.gone_at {
            self.ends.insert((at, topic.clone()));
        }
        self.counted += log.counted();
        self.changed.insert(topic.clone(), Some(log));
    }
}

/// Removes the oldest records until the limits hold.
fn evict(
    tables: &mut Tables<'_>,
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
    let mut cursor = tables.records.lower_bound_mut(from).map_err(failed)?;
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

fn jump(offset: u64) -> Result<u64, StoreError> {
    let ahead = 1 + fastrand::u64(..JUMP);
    offset
        .checked_add(ahead)
        .ok_or_else(|| damaged("the last offset"))
}
