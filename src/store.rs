//! The log behind a topic: what a store is, and the stores of this crate.
//!
//! A store keeps one ordered, append-only log per topic. [`EventStore`] is the whole contract; a
//! [`Hub`](crate::Hub) does the rest, and does it the same over every store.
//!
//! # Which one
//!
//! | | `MemoryStore` | `FileStore` | `RedisStore` | `NatsStore` | `PostgresStore` |
//! |---|---|---|---|---|---|
//! | feature | | `file` | `redis` | `nats` | `postgres` |
//! | processes that share it | one | one at a time | any number | any number | any number |
//! | a restart of the process | all is gone, and clients are told | nothing is lost | nothing | nothing | nothing |
//! | its server is killed | | | as `appendfsync` says | nothing that was acknowledged | nothing that was acknowledged |
//! | a power cut | all is gone | nothing that was acknowledged | as `appendfsync` says | as `sync_interval` says | nothing that was acknowledged |
//! | an older copy is put back | | clients that saw more are told | clients that saw more are told | they are, by processes that saw more | they are, by processes that saw more |
//! | publishers in other languages | | | one function | | one function, within their own transactions, too |
//! | retained, a topic | 1,024 events, 1 MiB | 100,000, 64 MiB | 10,000, 16 MiB | 10,000, 16 MiB | 10,000, 16 MiB |
//! | retained, in all | 256 MiB | 1 GiB | the memory of Redis | 1 GiB | the disk |
//! | connections of a process | | | 2 | 1 | 7 |
//! | to set on the server | | | `appendonly yes`, `appendfsync always`, `maxmemory-policy noeviction` | JetStream; `sync_interval: always`, or three replicas | nothing: `synchronous_commit` is on |
//! | appends a second, 1 publisher | 4,000,000 | 3,100 | 2,700 | 7,400 | 1,700 |
//! | 64 publishers of one topic | 3,400,000 | 56,000 | 22,000 | 159,000 | 36,000 |
//! | publish to deliver, p50 | 0.1 ms | 1.0 ms | 1.1 ms | 1.0 ms | 2.2 ms |
//! | events a second to one who catches up | 13,000,000 | 3,300,000 | 350,000 | 170,000 | 290,000 |
//!
//! Limits are defaults. The figures are of events of 150 bytes, on one machine of two cores with its
//! servers and a virtual disk, all in one run, and say what the stores are to each other: Redis with
//! `appendfsync always`, NATS and Postgres as they come. What is delivered goes from one hub to another.
//!
//! To change from one to another changes the line that makes the store; ids of one are told as unknown
//! by the other. The page of each store says what survives what, and which settings it takes.

#[cfg(feature = "contract")]
pub mod contract;
mod erased;
mod error;
#[cfg(feature = "file")]
mod file;
mod listeners;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod position;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "file", feature = "nats", feature = "postgres"))]
mod request;
#[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
mod seen;
mod wakes;

use std::{num::NonZeroUsize, sync::Arc};

use crate::topic_name::TopicName;

pub(crate) use erased::{BoxFuture, DynStore};
pub use error::{StoreError, StoreErrorKind};
#[cfg(feature = "file")]
pub use file::{FileOptions, FileStore};
pub use memory::MemoryStore;
#[cfg(feature = "nats")]
pub use nats::{NatsOptions, NatsStore};
pub use position::{Epoch, InvalidPosition, Position};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
pub use record::{
    Append, Appended, Evicted, NewRecord, Page, Read, ReadFrom, Record, RecordKind, Retention,
};
#[cfg(feature = "redis")]
pub use redis::{RedisOptions, RedisStore};
pub use wakes::Wakes;

/// An ordered, append-only log per topic.
///
/// Implementations write plain `async fn`s. All methods are called concurrently, from many tasks and
/// for many topics; dropping a future of [`append`](Self::append) early leaves the outcome unknown,
/// all others can be dropped freely.
///
/// # The rules
///
/// - Within one life of a log, its [`Epoch`], offsets only grow, and a position is never given to
///   another record. A log that is begun again, or that went backwards (a restored copy, a promoted
///   replica), gets a new epoch before its next append.
/// - Offsets are contiguous, or each record [names its predecessor](Record::previous).
/// - A topic that has no log reads as an empty one; its head is a position that stays valid as the
///   beginning of the first log to come, and of no other. Reading it stores nothing.
/// - Retention by count, bytes and age takes away the oldest records only, and bounds what may be
///   read, not just what is kept. Only events count.
/// - A record says [when it was appended](Record::appended_at), where the store keeps that. Within a
///   log these times do not go backwards.
/// - A gap is never an error, and an error is never a gap.
pub trait EventStore: Send + Sync + 'static {
    /// Appends to the log of `topic`.
    ///
    /// The answer means that the records are as durable as the store promises, and visible to every
    /// read that starts later.
    ///
    /// # Errors
    ///
    /// Of any kind; only [`StoreErrorKind::OutcomeUnknown`] leaves it open whether the records are
    /// stored.
    fn append(
        &self,
        topic: &TopicName,
        append: Append,
    ) -> impl Future<Output = Result<Appended, StoreError>> + Send;

    /// Reads from the log of `topic`.
    ///
    /// A page has at most `max_bytes` of [records](Record::size), but always one record where there
    /// is one. The work does not grow with the number of records before the place that was asked for.
    ///
    /// # Errors
    ///
    /// When the store does not answer, or what it holds is damaged.
    fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> impl Future<Output = Result<Read, StoreError>> + Send;

    /// Returns the heads of the logs of `topics`, in their order.
    ///
    /// It is called every few seconds with all topics that somebody follows, in case a wake-up was
    /// lost, so a remote store answers with one round trip.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    fn heads(
        &self,
        topics: &[TopicName],
    ) -> impl Future<Output = Result<Vec<Position>, StoreError>> + Send;

    /// Returns the head of the log of `topic` where the store knows it without waiting.
    ///
    /// With it, a subscription is live from the moment it is made; without, from its first event.
    fn head_now(&self, topic: &TopicName) -> Option<Position> {
        let _ = topic;
        None
    }

    /// How much the log of each topic retains, where that is limited and known.
    ///
    /// A response that is [recorded](crate::Resumable) waits for the clients that it has before what
    /// they have not read is evicted. Where this is `None`, 1,024 events and 1 MiB are assumed.
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Tells `wakes` of every topic that somebody appends to, until that fails.
    ///
    /// Wake-ups are hints: they may be lost, doubled and late. One such future runs per hub, and is
    /// started again with growing pauses when it ends. A store calls [`Wakes::wake_all`] as soon as
    /// it listens, since what was appended before went unheard. The default listens to nothing, so
    /// that appends of other processes are only found by the slow round over [`heads`](Self::heads).
    fn watch(&self, wakes: Wakes) -> impl Future<Output = StoreError> + Send {
        let _ = wakes;
        std::future::pending()
    }
}

impl<S: EventStore> EventStore for Arc<S> {
    fn append(
        &self,
        topic: &TopicName,
        append: Append,
    ) -> impl Future<Output = Result<Appended, StoreError>> + Send {
        S::append(self, topic, append)
    }

    fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> impl Future<Output = Result<Read, StoreError>> + Send {
        S::read(self, topic, from, max_bytes)
    }

    fn heads(
        &self,
        topics: &[TopicName],
    ) -> impl Future<Output = Result<Vec<Position>, StoreError>> + Send {
        S::heads(self, topics)
    }

    fn head_now(&self, topic: &TopicName) -> Option<Position> {
        S::head_now(self, topic)
    }

    fn retention(&self) -> Option<Retention> {
        S::retention(self)
    }

    fn watch(&self, wakes: Wakes) -> impl Future<Output = StoreError> + Send {
        S::watch(self, wakes)
    }
}
