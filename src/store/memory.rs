//! The store in memory.

mod log;

use std::{
    collections::BTreeSet,
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
    time::Duration,
};

use hashlink::LinkedHashMap;
use tokio::time::Instant;

use super::{
    Append, Appended, Epoch, EventStore, Evicted, Page, Position, Read, ReadFrom, Retention,
    StoreError, StoreErrorKind, Wakes, listeners::Listeners,
};
use crate::{
    sync::{Arc, Mutex, lock},
    topic_name::TopicName,
};
use log::Log;

/// Topics whose names share a bucket share what becomes of their positions while they have no log.
const BUCKETS: usize = 1024;

/// A store that keeps its logs in the memory of the process.
///
/// Nothing survives the process: after a restart every position reads as unknown, which clients are
/// told. What [`append`](EventStore::append) has answered is visible to every later read.
///
/// | limit | default | what goes |
/// |---|---|---|
/// | [events a topic](Self::max_events) | 1,024 | its oldest |
/// | [bytes a topic](Self::max_bytes) | 1 MiB | its oldest |
/// | [age](Self::max_age) | none | what is older, at the time of reading |
/// | [bytes in all](Self::max_total_bytes) | 256 MiB | the topic that was appended to least recently, whole |
///
/// Space is given back at once, but that of a topic whose events are past their age only when
/// something is appended anywhere.
///
/// To share one store between hubs, put it into an [`Arc`].
pub struct MemoryStore {
    limits: Limits,
    /// Mints the epochs: other ones in each process, and without a state for each topic.
    seed: RandomState,
    topics: Mutex<Topics>,
    listeners: Listeners,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    events: usize,
    bytes: usize,
    age: Option<Duration>,
    total_bytes: usize,
}

/// Locked before the log of any topic.
struct Topics {
    /// In the order of the last append.
    logs: LinkedHashMap<TopicName, Slot>,
    ends: BTreeSet<(Instant, TopicName)>,
    /// How often a topic of the bucket went. A topic that comes back has another epoch.
    lives: Box<[u64]>,
    bytes: usize,
}

struct Slot {
    /// Apart, so that reading a page holds up only its own topic.
    log: Arc<Mutex<Log>>,
    gone_at: Option<Instant>,
}

impl MemoryStore {
    /// Makes an empty store with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            limits: Limits {
                events: 1024,
                bytes: 1024 * 1024,
                age: None,
                total_bytes: 256 * 1024 * 1024,
            },
            seed: RandomState::new(),
            topics: Mutex::new(Topics {
                logs: LinkedHashMap::new(),
                ends: BTreeSet::new(),
                lives: vec![0; BUCKETS].into(),
                bytes: 0,
            }),
            listeners: Listeners::default(),
        }
    }

    /// Sets how many events a topic retains at most.
    #[must_use]
    pub fn max_events(mut self, events: NonZeroUsize) -> Self {
        self.limits.events = events.get();
        self
    }

    /// Sets how many bytes of names and data a topic retains at most. A larger record is refused.
    #[must_use]
    pub fn max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.limits.bytes = bytes.get();
        self
    }

    /// Sets the age from which an event is no longer read.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.limits.age = Some(age);
        self
    }

    /// Sets how many bytes all topics together take at most, with an allowance for what it takes to
    /// keep a record and a topic. The topic that was appended to last always stays.
    #[must_use]
    pub fn max_total_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.limits.total_bytes = bytes.get();
        self
    }

    /// The beginning of the log that `topic` would have if it were begun now.
    fn beginning(&self, topics: &Topics, topic: &TopicName) -> Position {
        let life = topics.lives[self.bucket(topic)];
        // 40 bits keep the ids short.
        let epoch = Epoch::new(self.seed.hash_one((topic, life)) >> 24);
        Position::new(epoch, 0)
    }

    fn bucket(&self, topic: &TopicName) -> usize {
        let buckets = BUCKETS as u64;
        usize::try_from(self.seed.hash_one(topic) % buckets)
            .expect("less than the number of buckets")
    }

    /// Returns the log of `topic`, if it has one that is not past its end of life.
    fn log(&self, topics: &mut Topics, topic: &TopicName, now: Instant) -> Option<Arc<Mutex<Log>>> {
        let slot = topics.logs.get(topic)?;
        if slot.gone_at.is_some_and(|at| at <= now) {
            self.remove(topics, topic);
            return None;
        }
        Some(Arc::clone(&slot.log))
    }

    fn remove(&self, topics: &mut Topics, topic: &TopicName) {
        let Some(slot) = topics.logs.remove(topic) else {
            return;
        };
        if let Some(at) = slot.gone_at {
            topics.ends.remove(&(at, topic.clone()));
        }
        topics.bytes -= lock(&slot.log).counted();
        topics.lives[self.bucket(topic)] += 1;
    }

    fn store(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let now = Instant::now();
        let too_large = |record: &super::NewRecord| record.size() > self.limits.bytes;
        if append.records().iter().any(too_large) {
            return Err(StoreErrorKind::TooLarge.into());
        }
        let topics = &mut *lock(&self.topics);
        self.remove_gone(topics, now);
        let log = self.log(topics, topic, now);
        let head = match &log {
            Some(log) => lock(log).head(),
            None => self.beginning(topics, topic),
        };
        if append
            .condition()
            .is_some_and(|condition| condition != head)
        {
            return Ok(Appended::Conflict(head));
        }
        if log.is_none() && append.records().is_empty() {
            return Ok(Appended::Stored(head));
        }
        let log = log.unwrap_or_else(|| Arc::new(Mutex::new(Log::new(topic, head.epoch()))));
        let gone_at = append
            .end_of_life()
            .and_then(|after| now.checked_add(after));
        let head = {
            let mut log = lock(&log);
            log.append(append.into_records(), now);
            log.evict(&self.limits, now);
            topics.bytes = topics.bytes - log.counted() + log.count();
            log.head()
        };
        // Inserting moves the topic to the end of the order, too.
        let replaced = topics.logs.insert(topic.clone(), Slot { log, gone_at });
        if let Some(at) = replaced.and_then(|slot| slot.gone_at) {
            topics.ends.remove(&(at, topic.clone()));
        }
        if let Some(at) = gone_at {
            topics.ends.insert((at, topic.clone()));
        }
        while topics.bytes > self.limits.total_bytes && topics.logs.len() > 1 {
            let Some(least_recent) = topics.logs.front().map(|(topic, _)| topic.clone()) else {
                break;
            };
            self.remove(topics, &least_recent);
        }
        Ok(Appended::Stored(head))
    }

    fn remove_gone(&self, topics: &mut Topics, now: Instant) {
        while let Some((at, topic)) = topics.ends.first().cloned()
            && at <= now
        {
            self.remove(topics, &topic);
        }
    }

    fn head(&self, topic: &TopicName) -> Position {
        let topics = &mut *lock(&self.topics);
        match self.log(topics, topic, Instant::now()) {
            Some(log) => lock(&log).head(),
            None => self.beginning(topics, topic),
        }
    }

    fn read_now(&self, topic: &TopicName, from: ReadFrom, max_bytes: NonZeroUsize) -> Read {
        let now = Instant::now();
        let log = {
            let topics = &mut *lock(&self.topics);
            match self.log(topics, topic, now) {
                Some(log) => log,
                None => return Read::absent(self.beginning(topics, topic), from),
            }
        };
        let mut log = lock(&log);
        log.hide_old(&self.limits, now);
        log.read(from, max_bytes.get())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl EventStore for MemoryStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let appended = self.store(topic, append)?;
        if matches!(appended, Appended::Stored(_)) {
            self.listeners.wake(topic);
        }
        Ok(appended)
    }

    async fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        Ok(self.read_now(topic, from, max_bytes))
    }

    async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        Ok(topics.iter().map(|topic| self.head(topic)).collect())
    }

    fn head_now(&self, topic: &TopicName) -> Option<Position> {
        Some(self.head(topic))
    }

    fn retention(&self) -> Option<Retention> {
        Some(Retention {
            events: u64::try_from(self.limits.events).ok(),
            bytes: u64::try_from(self.limits.bytes).ok(),
        })
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        self.listeners.watch(wakes).await
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
