//! All logs, as the one writer knows and changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use redb::ReadTransaction;

use super::{
    Limits, Published,
    failure::failed,
    format::{Log, bucket},
    tables::{Tables, jump},
};
use crate::{
    millis::millis,
    store::{Append, Appended, Epoch, Position, StoreError, error::damaged},
    sync::{Arc, Mutex, lock},
    topic_name::TopicName,
};

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
        tables.push(&mut log, append.records(), now)?;
        tables.evict(&mut log, &self.limits, now)?;
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
            tables.evict(&mut evicted, &self.limits, now)?;
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
        tables.sweep(&mut self.gone)
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
