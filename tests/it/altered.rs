//! A memory store that is read in another way.

use std::{num::NonZeroUsize, sync::Arc};

use tower_sse::{
    TopicName,
    store::{
        Append, Appended, EventStore, MemoryStore, Position, Read, ReadFrom, StoreError, Wakes,
    },
};

/// What becomes of reads.
pub(crate) trait Reads: Send + Sync + 'static {
    fn read(&self, asked: Asked<'_>) -> impl Future<Output = Result<Read, StoreError>> + Send;

    /// Where a log is said to end.
    fn head(&self, head: Position) -> Position {
        head
    }
}

/// What was asked for.
pub(crate) struct Asked<'a> {
    memory: &'a MemoryStore,
    topic: &'a TopicName,
    pub(crate) from: ReadFrom,
    pub(crate) max_bytes: NonZeroUsize,
}

impl Asked<'_> {
    pub(crate) async fn answer(self) -> Result<Read, StoreError> {
        let Self {
            memory,
            topic,
            from,
            max_bytes,
        } = self;
        memory.read(topic, from, max_bytes).await
    }
}

/// The store. A clone is the same one.
pub(crate) struct Altered<R> {
    memory: Arc<MemoryStore>,
    pub(crate) reads: Arc<R>,
}

impl<R: Reads> Altered<R> {
    pub(crate) fn new(memory: MemoryStore, reads: R) -> Self {
        Self {
            memory: Arc::new(memory),
            reads: Arc::new(reads),
        }
    }
}

impl<R> Clone for Altered<R> {
    fn clone(&self) -> Self {
        Self {
            memory: Arc::clone(&self.memory),
            reads: Arc::clone(&self.reads),
        }
    }
}

impl<R: Reads> EventStore for Altered<R> {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        self.memory.append(topic, append).await
    }

    async fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        let asked = Asked {
            memory: &self.memory,
            topic,
            from,
            max_bytes,
        };
        self.reads.read(asked).await
    }

    async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        let heads = self.memory.heads(topics).await?;
        Ok(heads
            .into_iter()
            .map(|head| self.reads.head(head))
            .collect())
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        self.memory.watch(wakes).await
    }
}
