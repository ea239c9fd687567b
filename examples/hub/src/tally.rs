//! What a hub counts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use hashlink::LruCache;
use serde::Serialize;
use tower_sse::{
    GapReason, TopicName,
    store::{EventStore, StoreError},
};

/// So many topics have their position shown, those that were used last.
const MAX_TOPICS: usize = 10_000;

/// Counts of one process.
pub(crate) struct Tally {
    connections: AtomicUsize,
    gaps: Mutex<BTreeMap<&'static str, u64>>,
    topics: Mutex<LruCache<TopicName, ()>>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            connections: AtomicUsize::new(0),
            gaps: Mutex::default(),
            topics: Mutex::new(LruCache::new(MAX_TOPICS)),
        }
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    pub(crate) fn gap(&self, reason: GapReason) {
        *lock(&self.gaps).entry(reason.as_str()).or_default() += 1;
    }

    pub(crate) fn used(&self, topic: &TopicName) {
        lock(&self.topics).insert(topic.clone(), ());
    }

    /// Adds the positions that the store knows.
    pub(crate) async fn stats(&self, store: &impl EventStore) -> Result<Stats, StoreError> {
        let topics: Vec<_> = lock(&self.topics)
            .iter()
            .map(|(topic, ())| topic.clone())
            .collect();
        let heads = store.heads(&topics).await?;
        let text = topics.iter().zip(heads);
        Ok(Stats {
            connections: self.connections.load(Ordering::Relaxed),
            gaps: lock(&self.gaps).clone(),
            positions: text
                .map(|(topic, head)| (topic.to_string(), head.to_string()))
                .collect(),
        })
    }
}

/// The answer to `GET /stats`.
#[derive(Serialize)]
pub(crate) struct Stats {
    connections: usize,
    /// By reason.
    gaps: BTreeMap<&'static str, u64>,
    /// By topic.
    positions: BTreeMap<String, String>,
}

/// An open connection.
pub(crate) struct Connected(Arc<Tally>);

impl Connected {
    pub(crate) fn tally(&self) -> &Tally {
        &self.0
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

// Each change is whole in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
