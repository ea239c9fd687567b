//! A store behind a pointer, so that a service picks its store at run time.

use std::{num::NonZeroUsize, pin::Pin};

use super::{Append, Appended, EventStore, Position, Read, ReadFrom, Retention, StoreError, Wakes};
use crate::topic_name::TopicName;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`EventStore`] with boxed futures.
pub(crate) trait DynStore: Send + Sync + 'static {
    fn append<'a>(
        &'a self,
        topic: &'a TopicName,
        append: Append,
    ) -> BoxFuture<'a, Result<Appended, StoreError>>;

    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> BoxFuture<'a, Result<Read, StoreError>>;

    fn heads<'a>(
        &'a self,
        topics: &'a [TopicName],
    ) -> BoxFuture<'a, Result<Vec<Position>, StoreError>>;

    fn head_now(&self, topic: &TopicName) -> Option<Position>;

    fn retention(&self) -> Option<Retention>;

    fn watch(&self, wakes: Wakes) -> BoxFuture<'_, StoreError>;
}

impl<S: EventStore> DynStore for S {
    fn append<'a>(
        &'a self,
        topic: &'a TopicName,
        append: Append,
    ) -> BoxFuture<'a, Result<Appended, StoreError>> {
        Box::pin(EventStore::append(self, topic, append))
    }

    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> BoxFuture<'a, Result<Read, StoreError>> {
        Box::pin(EventStore::read(self, topic, from, max_bytes))
    }

    fn heads<'a>(
        &'a self,
        topics: &'a [TopicName],
    ) -> BoxFuture<'a, Result<Vec<Position>, StoreError>> {
        Box::pin(EventStore::heads(self, topics))
    }

    fn head_now(&self, topic: &TopicName) -> Option<Position> {
        EventStore::head_now(self, topic)
    }

    fn retention(&self) -> Option<Retention> {
        EventStore::retention(self)
    }

    fn watch(&self, wakes: Wakes) -> BoxFuture<'_, StoreError> {
        Box::pin(EventStore::watch(self, wakes))
    }
}
