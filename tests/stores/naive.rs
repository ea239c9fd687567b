//! A store that is as simple as the contract allows, and can be made to break any one of its rules.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{task::yield_now, time::Instant};
use tower_sse::{
    TopicName,
    store::{
        Append, Appended, Epoch, EventStore, Evicted, NewRecord, Page, Position, Read, ReadFrom,
        Record, RecordKind, Retention, StoreError, StoreErrorKind, Wakes,
        contract::{Limits, Subject},
    },
};

use crate::wrong::Mistake;

/// Logs in memory that outlive their stores, as many as there are places.
pub(crate) struct Naive {
    pub(crate) mistake: Mistake,
    places: Mutex<HashMap<String, Arc<Place>>>,
    engine: Arc<Engine>,
}

#[derive(Default)]
struct Engine {
    is_cut: AtomicBool,
    work: AtomicU64,
}

struct Place {
    logs: Mutex<Logs>,
    watchers: Mutex<Vec<(u64, Wakes)>>,
}

/// The logs of a place, as they are copied and put back.
#[derive(Clone)]
pub(crate) struct Logs {
    epoch: Epoch,
    /// How many logs a topic had.
    births: HashMap<TopicName, u64>,
    logs: HashMap<TopicName, Log>,
}

#[derive(Clone)]
struct Log {
    epoch: Epoch,
    begun_from: Position,
    /// Of the record before the oldest.
    first: u64,
    records: Vec<(NewRecord, Instant)>,
    gone_at: Option<Instant>,
}

impl Naive {
    pub(crate) fn new(mistake: Mistake) -> Self {
        Self {
            mistake,
            places: Mutex::default(),
            engine: Arc::default(),
        }
    }

    fn place(&self, place: &str) -> Arc<Place> {
        let mut places = self.places.lock().unwrap();
        let place = places.entry(place.to_owned()).or_insert_with(|| {
            Arc::new(Place {
                logs: Mutex::new(Logs {
                    epoch: random_epoch(),
                    births: HashMap::new(),
                    logs: HashMap::new(),
                }),
                watchers: Mutex::default(),
            })
        });
        Arc::clone(place)
    }
}

fn random_epoch() -> Epoch {
    Epoch::new(fastrand::u64(..1 << 40))
}

impl Subject for Naive {
    type Store = NaiveStore;
    type Copy = Logs;
    const DURABLE: bool = true;
    const SHARED: bool = true;

    async fn open(&self, place: &str, limits: Limits) -> NaiveStore {
        let place = self.place(place);
        let mut logs = place.logs.lock().unwrap();
        for log in logs.logs.values_mut() {
            match self.mistake {
                Mistake::EpochOfEachOpening => log.epoch = random_epoch(),
                Mistake::EndForgottenByOpening => log.gone_at = None,
                _ => {}
            }
        }
        if self.mistake == Mistake::BeginningOfEachOpening {
            logs.epoch = random_epoch();
        }
        drop(logs);
        NaiveStore {
            mistake: self.mistake,
            limits,
            place,
            engine: Arc::clone(&self.engine),
            seen: Mutex::default(),
            has_appended: AtomicBool::new(false),
        }
    }

    async fn copy(&self, place: &str) -> Option<Logs> {
        Some(self.place(place).logs.lock().unwrap().clone())
    }

    async fn restore(&self, place: &str, copy: Logs) {
        *self.place(place).logs.lock().unwrap() = copy;
    }

    async fn work(&self) -> Option<u64> {
        Some(self.engine.work.load(Ordering::SeqCst))
    }

    fn large_log(&self) -> u64 {
        5_000
    }

    async fn cut(&self) -> bool {
        self.engine.is_cut.store(true, Ordering::SeqCst);
        true
    }

    async fn heal(&self) {
        self.engine.is_cut.store(false, Ordering::SeqCst);
    }
}

pub(crate) struct NaiveStore {
    mistake: Mistake,
    limits: Limits,
    place: Arc<Place>,
    engine: Arc<Engine>,
    /// The head of each topic as this store saw it last.
    seen: Mutex<HashMap<TopicName, Position>>,
    has_appended: AtomicBool,
}

impl NaiveStore {
    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    /// The name that the log of a topic is kept under.
    fn key(&self, topic: &TopicName) -> TopicName {
        let name = topic.as_str();
        match self.mistake {
            Mistake::TopicsWithoutCase => TopicName::new(name.to_lowercase()).unwrap(),
            Mistake::TopicsEscapedAlike => TopicName::new(name.replace('/', ".")).unwrap(),
            Mistake::TopicsCutShort => TopicName::new(&name[..name.len().min(100)]).unwrap(),
            _ => topic.clone(),
        }
    }

    /// Works on the logs as they are now: what is past its time is gone.
    fn with<T>(&self, topic: &TopicName, work: impl FnOnce(&mut Logs, &TopicName) -> T) -> T {
        let key = self.key(topic);
        let mut logs = self.place.logs.lock().unwrap();
        let now = Instant::now();
        if !self.is(Mistake::EndIgnored)
            && let Some(log) = logs.logs.get(&key)
            && log.gone_at.is_some_and(|at| at <= now)
        {
            let log = logs.logs.remove(&key).unwrap();
            if self.is(Mistake::EpochOfTheTopic) {
                *logs.births.get_mut(&key).unwrap() -= 1;
            }
            if self.is(Mistake::BeginningForEver) {
                *logs.births.get_mut(&key).unwrap() = log.begun_from.offset();
            }
        }
        if let Some(log) = logs.logs.get_mut(&key) {
            let seen = self.seen.lock().unwrap().get(&key).copied();
            if seen.is_some_and(|seen| {
                seen.epoch() == log.epoch && seen.offset() > log.head().offset()
            }) && !self.is(Mistake::LostFutureForgotten)
            {
                log.epoch = random_epoch();
            }
            if !self.is(Mistake::AgeOnAppendOnly) {
                self.hide_old(log, now);
            }
        }
        let answer = work(&mut logs, &key);
        let head = self.head_of(&logs, &key);
        if !self.is(Mistake::ReaderForgetful) || self.has_appended.load(Ordering::SeqCst) {
            self.seen.lock().unwrap().insert(key, head);
        }
        answer
    }

    fn head_of(&self, logs: &Logs, key: &TopicName) -> Position {
        if self.is(Mistake::HeadUnknownBeforeAppend) && !self.has_appended.load(Ordering::SeqCst) {
            return logs.beginning(key);
        }
        match logs.logs.get(key) {
            Some(log) if self.is(Mistake::HeadGoesWithEvents) && log.records.is_empty() => {
                Position::new(log.epoch, 0)
            }
            Some(log) => log.head(),
            None if self.is(Mistake::BeginningOfEachRead) => {
                Position::new(random_epoch(), fastrand::u64(..100))
            }
            None => logs.beginning(key),
        }
    }

    fn hide_old(&self, log: &mut Log, now: Instant) {
        let Some(age) = self.limits.age else { return };
        let old = |(_, at): &(NewRecord, Instant)| now.saturating_duration_since(*at) >= age;
        let count = log.records.iter().take_while(|entry| old(entry)).count();
        if !self.is(Mistake::AgeIgnored) {
            log.pop(count);
        }
    }

    fn evict(&self, log: &mut Log) {
        let counts = |record: &NewRecord| {
            record.kind() == RecordKind::Event || self.is(Mistake::KindsCounted)
        };
        let max_events = match self.mistake {
            Mistake::OneEventTooMany => self.limits.events.get() + 1,
            Mistake::OneEventTooFew => self.limits.events.get().max(2) - 1,
            _ => self.limits.events.get(),
        };
        loop {
            let counted = log.records.iter().filter(|(record, _)| counts(record));
            let (events, bytes) = counted.fold((0, 0), |(events, bytes), (record, _)| {
                (events + 1, bytes + record.size())
            });
            let bytes_hold = bytes <= self.limits.bytes.get() || self.is(Mistake::BytesIgnored);
            if events <= max_events && bytes_hold {
                return;
            }
            log.pop(1);
        }
    }

    fn append_now(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let size = |record: &NewRecord| record.size() > self.limits.bytes.get();
        let too_large = append.records().iter().position(size);
        let mut append = append;
        if let Some(at) = too_large
            && !self.is(Mistake::LargeRecordsTaken)
        {
            let kind = match self.mistake {
                Mistake::LargeIsUnavailable => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::TooLarge,
            };
            if !self.is(Mistake::BatchPartlyRefused) || at == 0 {
                return Err(kind.into());
            }
            let _ = self.append_now(topic, Append::new(append.records()[..at].to_vec()))?;
            return Err(kind.into());
        }
        let appended = self.with(topic, |logs, key| {
            let head = self.head_of(logs, key);
            if let Some(condition) = append.condition()
                && condition != head
                && !self.is(Mistake::ConditionIgnored)
                && !self.is(Mistake::ConditionLooked)
            {
                if self.is(Mistake::ConflictStores) {
                    append = Append::new(append.records().to_vec());
                } else if self.is(Mistake::ConflictEchoes) {
                    return Appended::Conflict(condition);
                } else {
                    return Appended::Conflict(head);
                }
            }
            if append.records().is_empty()
                && !logs.logs.contains_key(key)
                && !self.is(Mistake::NothingMakesALog)
            {
                return Appended::Stored(head);
            }
            let begun_from = logs.beginning(key);
            let births = logs.births.entry(key.clone()).or_default();
            let log = logs.logs.entry(key.clone()).or_insert_with(|| {
                *births += 1;
                Log {
                    epoch: match self.mistake {
                        Mistake::EpochOfTheTopic => Epoch::new(7),
                        _ => random_epoch(),
                    },
                    begun_from,
                    first: 0,
                    records: Vec::new(),
                    gone_at: None,
                }
            });
            let now = Instant::now();
            let count = append.records().len();
            let keeps_end = append.end_of_life().is_none() && self.is(Mistake::EndNotTakenBack);
            let sets_no_end = count == 0 && self.is(Mistake::EndOnlyWithEvents);
            if !keeps_end && !sets_no_end {
                log.gone_at = append.end_of_life().map(|after| now + after);
            }
            let records = append.into_records().into_iter();
            log.records
                .extend(records.map(|record| (self.changed(record), now)));
            self.hide_old(log, now);
            let head = log.head();
            self.evict(log);
            match self.mistake {
                Mistake::FirstPositionReturned if count > 0 => Appended::Stored(Position::new(
                    head.epoch(),
                    head.offset() + 1 - count as u64,
                )),
                _ => Appended::Stored(head),
            }
        });
        self.has_appended.store(true, Ordering::SeqCst);
        Ok(appended)
    }

    fn changed(&self, record: NewRecord) -> NewRecord {
        let (kind, name, data) = (record.kind(), record.name().cloned(), record.data().clone());
        match self.mistake {
            Mistake::NamesLost => NewRecord::event(None, data),
            Mistake::LineBreaksChanged if kind == RecordKind::Event => {
                NewRecord::event(name, data.replace("\r\n", "\n"))
            }
            Mistake::TextTrimmed if kind == RecordKind::Event => {
                NewRecord::event(name, data.trim())
            }
            Mistake::KindsForgotten => NewRecord::event(name, data),
            _ => record,
        }
    }

    fn wake(&self, topic: &TopicName) {
        let watchers = self.place.watchers.lock().unwrap();
        let watchers: Vec<_> = watchers.iter().map(|(_, wakes)| wakes.clone()).collect();
        let count = match self.mistake {
            Mistake::NobodyWoken => 0,
            Mistake::OneWatcherWoken => 1,
            _ => watchers.len(),
        };
        watchers
            .iter()
            .take(count)
            .for_each(|wakes| wakes.wake(topic));
    }

    fn read_now(&self, topic: &TopicName, from: ReadFrom, max_bytes: usize) -> Read {
        self.with(topic, |logs, key| {
            let head = self.head_of(logs, key);
            let Some(log) = logs.logs.get(key) else {
                return self.read_empty(head, from);
            };
            if self.is(Mistake::HeadUnknownBeforeAppend)
                && !self.has_appended.load(Ordering::SeqCst)
            {
                return self.read_empty(head, from);
            }
            let seek = match self.mistake {
                Mistake::LogScanned => log.records.len() as u64,
                _ => 10,
            };
            self.engine.work.fetch_add(seek, Ordering::SeqCst);
            let index = match self.index(log, from) {
                Ok(index) => index,
                Err(answer) => return answer,
            };
            self.page(log, index, max_bytes)
        })
    }

    fn read_empty(&self, head: Position, from: ReadFrom) -> Read {
        match from {
            ReadFrom::After(position)
                if self.is(Mistake::EpochUnread) && position.offset() == 0 => {}
            ReadFrom::After(position) if position.epoch() != head.epoch() => {
                return Read::UnknownEpoch(head);
            }
            ReadFrom::After(position) if position.offset() > head.offset() => {
                return Read::Ahead(head);
            }
            ReadFrom::After(position) if position != head => return Read::UnknownEpoch(head),
            _ => {}
        }
        Read::Page(Page {
            start: head,
            records: Vec::new(),
            head,
        })
    }

    /// The index of the first record to read.
    fn index(&self, log: &Log, from: ReadFrom) -> Result<usize, Read> {
        let head = log.head();
        let len = log.records.len();
        let position = match from {
            ReadFrom::Oldest => return Ok(0),
            ReadFrom::Newest(events) => return Ok(self.newest(log, events)),
            ReadFrom::After(position) => position,
        };
        let offset = if position == log.begun_from && !self.is(Mistake::BeginningForgotten) {
            0
        } else if position.epoch() != log.epoch && !self.is(Mistake::EpochUnread) {
            return Err(Read::UnknownEpoch(head));
        } else {
            position.offset()
        };
        if offset > head.offset() {
            return match self.mistake {
                Mistake::AheadIsEmpty => Ok(len),
                Mistake::AheadIsUnknown => Err(Read::UnknownEpoch(head)),
                _ => Err(Read::Ahead(head)),
            };
        }
        let missed = log.first.saturating_sub(offset);
        if missed > 0 || (self.is(Mistake::HeadIsAGap) && offset == head.offset() && log.first > 0)
        {
            return match self.mistake {
                Mistake::EvictedFromOldest => Ok(0),
                Mistake::EvictedFromNow => Ok(len),
                _ => Err(Read::Evicted(Evicted {
                    oldest: log.at(0),
                    middle: match self.mistake {
                        Mistake::MiddleBeforeOldest => Position::new(log.epoch, 0),
                        _ => log.at(len / 2),
                    },
                    missed: match self.mistake {
                        Mistake::MissedMiscounted => Some(missed + 1),
                        _ => Some(missed),
                    },
                })),
            };
        }
        let index = usize::try_from(offset - log.first).unwrap();
        Ok(match self.mistake {
            Mistake::PositionIncluded => index.saturating_sub(1),
            Mistake::NextSkipped => len.min(index + 1),
            _ => index,
        })
    }

    fn newest(&self, log: &Log, events: u64) -> usize {
        let counts = |record: &NewRecord| {
            record.kind() == RecordKind::Event || self.is(Mistake::NewestCountsAll)
        };
        let mut left = events;
        let mut index = log.records.len();
        while left > 0 && index > 0 {
            index -= 1;
            left -= u64::from(counts(&log.records[index].0));
        }
        index
    }

    fn timed(&self, record: Record) -> Record {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap();
        match self.mistake {
            Mistake::TimesBackwards => {
                let before = Duration::from_millis(record.offset());
                record.time(now - before)
            }
            Mistake::TimesInSeconds => record.time(UNIX_EPOCH + since / 1000),
            _ => record,
        }
    }

    fn page(&self, log: &Log, index: usize, max_bytes: usize) -> Read {
        let mut records = Vec::new();
        let mut bytes = 0;
        for (record, offset) in log.records[index..]
            .iter()
            .zip(log.at(index).offset() + 1..)
        {
            let record = &record.0;
            bytes += record.size();
            let may_be_larger = !records.is_empty() || self.is(Mistake::LargeRecordsUnread);
            if bytes > max_bytes && may_be_larger && !self.is(Mistake::PagesUnbounded) {
                break;
            }
            if record.kind() != RecordKind::Event && self.is(Mistake::KindsHidden) {
                continue;
            }
            records.push(self.timed(Record::new(offset, record.clone())));
        }
        self.engine
            .work
            .fetch_add(records.len() as u64, Ordering::SeqCst);
        let start = match self.mistake {
            Mistake::PositionIncluded => {
                let first = records
                    .first()
                    .map_or(log.head().offset(), Record::previous_offset);
                Position::new(log.epoch, first)
            }
            _ => log.at(index),
        };
        Read::Page(Page {
            start,
            records,
            head: log.head(),
        })
    }

    fn check_engine(&self) -> Result<(), StoreError> {
        match self.engine.is_cut.load(Ordering::SeqCst) {
            true => Err(StoreErrorKind::Unavailable.into()),
            false => Ok(()),
        }
    }
}

impl Logs {
    fn beginning(&self, topic: &TopicName) -> Position {
        let births = self.births.get(topic).copied().unwrap_or(0);
        Position::new(self.epoch, births)
    }
}

impl Log {
    fn at(&self, index: usize) -> Position {
        Position::new(self.epoch, self.first + index as u64)
    }

    fn head(&self) -> Position {
        self.at(self.records.len())
    }

    fn pop(&mut self, count: usize) {
        self.records.drain(..count);
        self.first += count as u64;
    }
}

impl EventStore for NaiveStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        yield_now().await;
        if self.is(Mistake::OutageAcknowledged) && self.check_engine().is_err() {
            return Ok(Appended::Stored(Position::new(random_epoch(), 1)));
        }
        self.check_engine()?;
        let appended = match self.mistake {
            Mistake::BatchTornApart
                if append.condition().is_none() && !append.records().is_empty() =>
            {
                let mut appended = None;
                for record in append.into_records() {
                    appended = Some(self.append_now(topic, Append::new([record]))?);
                    yield_now().await;
                }
                appended.unwrap()
            }
            Mistake::ConditionLooked => {
                let head = self.with(topic, |logs, key| self.head_of(logs, key));
                if append
                    .condition()
                    .is_some_and(|condition| condition != head)
                {
                    return Ok(Appended::Conflict(head));
                }
                yield_now().await;
                self.append_now(topic, append)?
            }
            Mistake::StoredLater
                if append.condition().is_none() && !append.records().is_empty() =>
            {
                let head = self.with(topic, |logs, key| self.head_of(logs, key));
                let count = append.records().len() as u64;
                let place = Arc::clone(&self.place);
                let later = Self {
                    place,
                    mistake: Mistake::None,
                    engine: Arc::clone(&self.engine),
                    limits: self.limits,
                    seen: Mutex::default(),
                    has_appended: AtomicBool::new(true),
                };
                let topic = topic.clone();
                tokio::spawn(async move {
                    for _ in 0..5 {
                        yield_now().await;
                    }
                    let _ = later.append_now(&topic, append);
                });
                Appended::Stored(Position::new(head.epoch(), head.offset() + count))
            }
            _ => self.append_now(topic, append)?,
        };
        if matches!(appended, Appended::Stored(_)) {
            self.wake(topic);
        }
        yield_now().await;
        Ok(appended)
    }

    async fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        yield_now().await;
        if self.is(Mistake::OutageIsUnknown) && self.check_engine().is_err() {
            return Ok(Read::UnknownEpoch(Position::new(random_epoch(), 0)));
        }
        self.check_engine()?;
        Ok(self.read_now(topic, from, max_bytes.get()))
    }

    async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        self.check_engine()?;
        let mut topics = topics.to_vec();
        match self.mistake {
            Mistake::HeadsSorted => topics.sort(),
            Mistake::HeadsOnceATopic => {
                topics.sort();
                topics.dedup();
            }
            _ => {}
        }
        let head = |topic| self.with(topic, |logs, key| self.head_of(logs, key));
        Ok(topics.iter().map(head).collect())
    }

    fn retention(&self) -> Option<Retention> {
        let said = |limit: NonZeroUsize| u64::try_from(limit.get()).ok();
        let (events, bytes) = (said(self.limits.events), said(self.limits.bytes));
        Some(match self.mistake {
            Mistake::EventsSaidForBytes => Retention {
                events: bytes,
                bytes: events,
            },
            Mistake::NoLimitSaid => Retention {
                events: None,
                bytes: None,
            },
            _ => Retention { events, bytes },
        })
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        let watching = Watching::new(&self.place, wakes.clone());
        if !self.is(Mistake::BeginningUntold) {
            wakes.wake_all();
        }
        if self.is(Mistake::WatchEnds) {
            drop(watching);
            return StoreErrorKind::Unavailable.into();
        }
        std::future::pending().await
    }
}

struct Watching<'a>(&'a Place, u64);

impl<'a> Watching<'a> {
    fn new(place: &'a Place, wakes: Wakes) -> Self {
        let key = fastrand::u64(..);
        place.watchers.lock().unwrap().push((key, wakes));
        Self(place, key)
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0
            .watchers
            .lock()
            .unwrap()
            .retain(|(key, _)| *key != self.1);
    }
}
