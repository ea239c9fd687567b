//! Responses that are recorded as they are sent, so that their clients can come back to them.
//!
//! # Why a client misses nothing
//!
//! A response that is recorded is a log of its own. Its *producer* is a task that polls the handler's
//! stream and appends what that yields; all clients, the one that asked first too, are *listeners*, which
//! follow the log as a subscription follows a topic. So what a client was sent is in the record, at the
//! place that its id says, and what it is sent next is what follows that place in the log, on any process
//! and from whichever client's point of view. Where the record cannot go on, what is sent from then on
//! has an id that says so.

mod found;
mod id;
#[cfg(all(test, shuttle))]
mod interleavings;
mod listener;
mod log;
mod note;
mod producer;
mod production;

use std::{collections::HashMap, fmt, time::Duration};

use crate::{
    store::{DynStore, NewRecord, RecordKind},
    subscription::Feeds,
    sync::{Arc, Mutex, Weak, lock},
    topic_name::TopicName,
};
pub(crate) use found::{Claimed, Found};
pub(crate) use id::{ENDED, Name, Owner, RecordedId};
pub(crate) use listener::{Listener, unknown};
pub(crate) use producer::Producer;
use production::Production;

/// How responses are recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long a producer may be silent until it counts as lost.
    pub(crate) lease: Duration,
    /// For how long a record is there after its end.
    pub(crate) kept_for: Duration,
    pub(crate) leaving: Leaving,
    pub(crate) failing: StoreFailure,
    /// Whether events get ids, and a client its place before the first.
    pub(crate) ids: bool,
}

/// What becomes of a recorded response that nobody listens to.
///
/// A server notices that a client has gone when the connection is closed. That of actix-web does so only
/// when it cannot write, which is two heartbeats later, unless it is told
/// `HttpServer::h1_allow_half_closed(false)`. On another process than that of the producer, a client
/// counts for up to three leases more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leaving {
    /// It is cancelled at once: the handler's stream is dropped.
    ///
    /// A client whose connection the server has ended, for its age or since the server stops, is
    /// expected back, and has 30 s.
    Cancel,
    /// It goes on for so long, and is then cancelled. Whoever comes back to it meanwhile, on whichever
    /// process, finds it as it would have been.
    Continue(Duration),
}

/// What becomes of a response that cannot be recorded any more, since its store fails for longer than a
/// [lease](crate::Resumable::lease), or has lost the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFailure {
    /// It goes on for the clients that this process has, without a record, and says so: they are sent an
    /// `sse.open` with the data `{"resumable":false}`. Who loses the connection after that is told of
    /// a gap, as one is whose response is unknown; who has all of it gets `204`.
    #[default]
    GoOn,
    /// It fails, as it does where the handler's stream fails.
    Fail,
}

/// Says of a response that a layer further in records it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded;

/// The recorded responses of one store, and those that this process produces.
pub(crate) struct Recordings {
    feeds: Arc<Feeds>,
    productions: Mutex<HashMap<TopicName, Weak<Production>>>,
}

impl Rules {
    /// How often a producer gives a sign of life: so that one may be late, and another one lost.
    fn alive_every(&self) -> Duration {
        self.lease / 3
    }

    /// For how long a log is there after these: behind its end as long as it is kept, and before that
    /// longer than its producer may be silent and an append may take.
    fn gone_after(&self, records: &[NewRecord]) -> Duration {
        let is_end = |record: &NewRecord| record.kind() == RecordKind::End;
        match records.iter().any(is_end) {
            true => self.kept_for,
            false => self.kept_for.max(self.lease.saturating_mul(3)),
        }
    }
}

impl Recordings {
    pub(crate) fn new(store: Arc<dyn DynStore>) -> Arc<Self> {
        Arc::new(Self {
            feeds: Feeds::new(store),
            productions: Mutex::default(),
        })
    }

    /// The production of a response in this process.
    fn production(&self, topic: &TopicName) -> Option<Arc<Production>> {
        lock(&self.productions).get(topic).and_then(Weak::upgrade)
    }

    /// Notes that a response is produced in this process.
    fn enter(self: &Arc<Self>, topic: &TopicName, production: &Arc<Production>) -> Entered {
        let production = Arc::downgrade(production);
        lock(&self.productions).insert(topic.clone(), Weak::clone(&production));
        Entered {
            recordings: Arc::clone(self),
            topic: topic.clone(),
            production,
        }
    }
}

/// A response is produced in this process, until this is dropped.
struct Entered {
    recordings: Arc<Recordings>,
    topic: TopicName,
    production: Weak<Production>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut productions = lock(&self.recordings.productions);
        // There may be another one of this name by now.
        if productions
            .get(&self.topic)
            .is_some_and(|one| Weak::ptr_eq(one, &self.production))
        {
            productions.remove(&self.topic);
        }
    }
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recordings")
            .field("produced", &lock(&self.productions).len())
            .finish_non_exhaustive()
    }
}
