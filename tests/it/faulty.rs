//! A store whose faults a test switches on and off.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tower_sse::{
    TopicName,
    store::{
        Append, Appended, EventStore, MemoryStore, Page, Position, Read, ReadFrom, Record,
        StoreError, StoreErrorKind, Wakes,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every call fails.
    Fails,
    /// No call returns.
    Hangs,
    /// The record at this offset cannot be read any more, and the store does not notice.
    Hole(u64),
}

/// A memory store that tells nobody of what is appended, and what it is made to do otherwise.
#[derive(Clone)]
pub(crate) struct FaultyStore(Arc<Inner>);

struct Inner {
    memory: MemoryStore,
    fault: Mutex<Fault>,
    calls: AtomicUsize,
}

impl FaultyStore {
    pub(crate) fn new(memory: MemoryStore) -> Self {
        Self(Arc::new(Inner {
            memory,
            fault: Mutex::new(Fault::None),
            calls: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.0.fault.lock().unwrap() = fault;
    }

    /// How often the store was read.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Appends as another process would.
    pub(crate) async fn append_elsewhere(&self, topic: &TopicName, append: Append) -> Position {
        match self.0.memory.append(topic, append).await {
            Ok(Appended::Stored(position)) => position,
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&self) -> Result<(), StoreError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let fault = *self.0.fault.lock().unwrap();
        match fault {
            Fault::Fails => Err(StoreError::new(StoreErrorKind::Unavailable, "switched off")),
            Fault::Hangs => std::future::pending().await,
            Fault::None | Fault::Hole(_) => Ok(()),
        }
    }
}

impl EventStore for FaultyStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let fault = *self.0.fault.lock().unwrap();
        let appended = match fault {
            Fault::Fails => return Err(StoreErrorKind::Unavailable.into()),
            _ => self.0.memory.append(topic, append).await?,
        };
        match fault {
            Fault::Hangs => Err(StoreErrorKind::OutcomeUnknown.into()),
            _ => Ok(appended),
        }
    }

    async fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        self.answer().await?;
        let mut answer = self.0.memory.read(topic, from, max_bytes).await?;
        if let (Read::Page(Page { records, .. }), Fault::Hole(at)) =
            (&mut answer, *self.0.fault.lock().unwrap())
        {
            records.retain(|record: &Record| record.offset() != at);
        }
        Ok(answer)
    }

    async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        self.answer().await?;
        self.0.memory.heads(topics).await
    }

    async fn watch(&self, _wakes: Wakes) -> StoreError {
        std::future::pending().await
    }
}
