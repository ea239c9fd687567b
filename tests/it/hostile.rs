//! A store that does everything that the contract allows, at the worst moment.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tower_sse::{
    TopicName,
    store::{
        Append, Appended, EventStore, MemoryStore, Page, Position, Read, ReadFrom, StoreError,
        StoreErrorKind, Wakes,
    },
};

/// Wraps a memory store. Answers late and out of turn, in pages of three records, with errors before
/// and after it has stored; loses and doubles wake-ups. Another process may append to the same log.
#[derive(Clone)]
pub(crate) struct HostileStore(Arc<Inner>);

struct Inner {
    memory: Arc<MemoryStore>,
    random: Mutex<fastrand::Rng>,
    /// Every record that was ever stored, in the order of the log, evicted or not.
    history: Mutex<Vec<(Position, String)>>,
    /// How often one of a hundred calls fails, is late, or is woken wrongly.
    percent: u32,
    certain: AtomicBool,
}

impl HostileStore {
    pub(crate) fn new(memory: MemoryStore, seed: u64, percent: u32) -> Self {
        Self(Arc::new(Inner {
            memory: Arc::new(memory),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            history: Mutex::default(),
            percent,
            certain: AtomicBool::new(false),
        }))
    }

    /// Loses no answer to an append from now on.
    pub(crate) fn with_certain_outcomes(self) -> Self {
        self.0.certain.store(true, Ordering::Relaxed);
        self
    }

    pub(crate) fn history(&self) -> Vec<(Position, String)> {
        self.0.history.lock().unwrap().clone()
    }

    /// The position before the oldest record that is retained.
    pub(crate) async fn oldest(&self, topic: &TopicName) -> Position {
        match self
            .0
            .memory
            .read(topic, ReadFrom::Oldest, NonZeroUsize::MIN)
            .await
        {
            Ok(Read::Page(page)) => page.start,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn head(&self, topic: &TopicName) -> Position {
        self.0
            .memory
            .heads(std::slice::from_ref(topic))
            .await
            .unwrap()[0]
    }

    fn happens(&self) -> bool {
        let percent = self.0.percent;
        percent > 0 && self.0.random.lock().unwrap().u32(0..100) < percent
    }

    async fn late(&self) {
        while self.happens() {
            tokio::task::yield_now().await;
        }
    }

    fn unavailable(&self) -> Result<(), StoreError> {
        match self.happens() {
            true => Err(StoreErrorKind::Unavailable.into()),
            false => Ok(()),
        }
    }

    /// Appends as another process would, at once.
    pub(crate) fn append_now(
        &self,
        topic: &TopicName,
        append: Append,
    ) -> Result<Appended, StoreError> {
        let texts: Vec<String> = append
            .records()
            .iter()
            .map(|record| record.data().to_string())
            .collect();
        // One critical section, so that the history has the order of the log.
        let mut history = self.0.history.lock().unwrap();
        let appended =
            futures_util::FutureExt::now_or_never(self.0.memory.append(topic, append)).unwrap()?;
        if let Appended::Stored(last) = appended {
            let first = last.offset() + 1 - texts.len() as u64;
            let positions = (first..).map(|offset| Position::new(last.epoch(), offset));
            history.extend(positions.zip(texts));
        }
        Ok(appended)
    }
}

impl EventStore for HostileStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        self.late().await;
        self.unavailable()?;
        let appended = self.append_now(topic, append)?;
        self.late().await;
        match self.happens() && !self.0.certain.load(Ordering::Relaxed) {
            true => Err(StoreErrorKind::OutcomeUnknown.into()),
            false => Ok(appended),
        }
    }

    async fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        self.late().await;
        self.unavailable()?;
        let answer = self.0.memory.read(topic, from, max_bytes).await?;
        self.late().await;
        Ok(match answer {
            Read::Page(Page {
                start,
                mut records,
                head,
            }) if self.0.percent > 0 => {
                records.truncate(3);
                Read::Page(Page {
                    start,
                    records,
                    head,
                })
            }
            other => other,
        })
    }

    async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        self.late().await;
        self.unavailable()?;
        self.0.memory.heads(topics).await
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        let this = self.clone();
        let twisted = Wakes::new(move |topic| {
            if this.happens() {
                return;
            }
            for _ in 0..if this.happens() { 2 } else { 1 } {
                match topic {
                    Some(topic) => wakes.wake(topic),
                    None => wakes.wake_all(),
                }
            }
        });
        let memory = Arc::clone(&self.0.memory);
        tokio::select! {
            error = memory.watch(twisted) => error,
            () = async {
                while !self.happens() || !self.happens() || !self.happens() {
                    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
                }
            } => StoreErrorKind::Unavailable.into(),
        }
    }
}
