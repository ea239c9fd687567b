//! The contract of a store, as a suite that any store can be put through.

use std::{num::NonZeroUsize, time::Duration};

use super::EventStore;

/// What a store is to retain in a case of the suite.
///
/// A store whose limits are for all topics together takes them as such: cases about limits have one
/// topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many events a topic retains at most.
    pub events: NonZeroUsize,
    /// How many bytes of names and data a topic retains at most.
    pub bytes: NonZeroUsize,
    /// The age from which an event is no longer read.
    pub age: Option<Duration>,
}

/// A kind of store, with all that the suite has to know of it.
pub trait Subject: Send + Sync {
    /// The store.
    type Store: EventStore;
    /// A copy of the logs of one place.
    type Copy: Send;

    /// Whether logs outlive the store that was opened over them.
    const DURABLE: bool;

    /// Whether several stores can be open over the same logs at a time, as in several processes.
    const SHARED: bool;

    /// Opens a store over the logs that are kept in `place`; there are none in a place that was not
    /// opened before.
    ///
    /// A place is a short name of `a-z`, `0-9` and `-`. Where stores are [`SHARED`](Self::SHARED), the
    /// suite opens several over one place, otherwise it [closes](Self::close) one before it opens the
    /// next.
    fn open(&self, place: &str, limits: Limits) -> impl Future<Output = Self::Store> + Send;

    /// Closes a store, so that its place can be opened again.
    fn close(&self, store: Self::Store) -> impl Future<Output = ()> + Send {
        async { drop(store) }
    }

    /// Copies the logs of a place, as a backup does. `None` where that cannot be.
    ///
    /// Where stores are not [`SHARED`](Self::SHARED), none is open over the place.
    fn copy(&self, place: &str) -> impl Future<Output = Option<Self::Copy>> + Send {
        let _ = place;
        async { None }
    }

    /// Puts the logs of a place back to what they were.
    ///
    /// Where stores are [`SHARED`](Self::SHARED), some are open over the place.
    fn restore(&self, place: &str, copy: Self::Copy) -> impl Future<Output = ()> + Send {
        let _ = (place, copy);
        async {}
    }

    /// How much work reads have made the engine do so far, in any unit that grows with it, such as
    /// bytes read. `None` where nobody counts.
    fn work(&self) -> impl Future<Output = Option<u64>> + Send {
        async { None }
    }
}
