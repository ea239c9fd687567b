//! Responses that a client can come back to.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::RequestView;
use crate::{
    event::GapReason,
    last_event_id::LastEventId,
    recording::{
        Claimed, Found, Leaving, Listener, Owner, Producer, RecordedId, Recordings, Rules,
        StoreFailure,
    },
    store::{EventStore, StoreError},
};

type Key = dyn Fn(&RequestView) -> Option<String> + Send + Sync;

/// Less would be noise on a network, and more is beyond what any clock or answer lasts.
const LEASES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(86_400)];

/// How responses are recorded, so that a client that has lost its connection comes back to the same one.
///
/// Given to [`SseLayer::resumable`](crate::SseLayer::resumable), it records every event stream that
/// passes, whoever made it: a task reads the handler's stream and appends its events to a log of its own
/// in the store, and clients are sent what is in the log. Each event has an id; a request with such an id
/// as its `Last-Event-ID` is sent what follows, and the handler is not run. That works on any process
/// that shares the store, for `GET` and `POST`, as long as the response is produced, and for
/// [some time](Self::kept_for) after that.
///
/// ```
/// use std::time::Duration;
/// use tower_sse::{Leaving, RequestView, Resumable, SseLayer, store::MemoryStore};
///
/// let answers = Resumable::new(MemoryStore::new())
///     .leaving(Leaving::Continue(Duration::from_secs(120)))
///     .without_subject();
/// let layer = SseLayer::new().resumable(&answers);
/// # drop(layer);
/// ```
///
/// A clone records in the same store, with settings of its own. Give clones of one to all layers of a
/// process that share a store.
///
/// # What a client is sent
///
/// The first event is an `sse.open`, so that a client that drops before the first event of the handler
/// comes back, too. Ids of the handler are replaced; its names, data and reconnection time are not. The
/// head of its response is for the first client; the others get that of any event stream. The client that
/// comes back gets:
///
/// | the response | what it gets |
/// |---|---|
/// | goes on | what it has missed, and then the rest |
/// | is whole | what it has missed, and a clean end; `204` when there is nothing left |
/// | was [stopped](Self::stop) or abandoned | what there is, `sse.bye` (`cancelled`), and a clean end |
/// | has failed | what there is, `sse.bye` (`failed`), and an end that breaks off |
/// | has lost its producer | the same, with `lost` |
/// | is unknown, expired, of another subject or another route | `sse.gap` (`unknown`) and a clean end, in the same bytes for all; or [a new one](Self::run_again) |
///
/// After each of the last four its id says so, and it gets `204`, which browsers take for the end.
///
/// # Whose it is
///
/// A response is found under a name of 128 random bits, by the [subject](crate::Grant::subject) that it
/// was opened for, and on the path that it was opened on. A response without a subject is only recorded
/// [if that is said](Self::without_subject). The path is the one that the layer sees: where a router
/// takes a prefix away before the layer, routes that are told apart by the prefix alone are one to it.
///
/// # Producers
///
/// There is one producer for each response, in the process whose handler made it. It gives a sign of life
/// three times in a [lease](Self::lease); those who listen and have not seen one for that long end the
/// record, and from then on the producer can append nothing. Where two do something at once, the store
/// decides.
///
/// The producer goes on while a client listens on any process; after that as
/// [said](Self::leaving). It waits for clients of its own process before the store evicts what they have
/// not read. Others are told of a gap then, as are those who come back to what is no longer retained.
///
/// A response takes about 9 KiB of memory in the process that produces it, beside the last of its events,
/// and a task.
///
/// While a server [drains](crate::Drain), producers go on until its time is over, and then end as failed.
/// In actix-web a producer belongs to the worker that it was started on.
#[derive(Clone)]
#[must_use]
pub struct Resumable {
    recordings: Arc<Recordings>,
    rules: Rules,
    needs_subject: bool,
    runs_again: bool,
    key: Option<Arc<Key>>,
    /// Whether it was said that responses without a subject are not recorded.
    has_warned: Arc<AtomicBool>,
}

impl Resumable {
    /// Records in `store`: with a lease of 10 s, kept for 10 minutes, going on for a minute where nobody
    /// listens, and going on without a record where the store fails.
    pub fn new(store: impl EventStore) -> Self {
        Self {
            recordings: Recordings::new(Arc::new(store)),
            rules: Rules {
                lease: Duration::from_secs(10),
                kept_for: Duration::from_secs(600),
                leaving: Leaving::Continue(Duration::from_secs(60)),
                failing: StoreFailure::default(),
                ids: true,
            },
            needs_subject: true,
            runs_again: false,
            key: None,
            has_warned: Arc::default(),
        }
    }

    /// Sets what becomes of a response when nobody listens to it.
    pub fn leaving(mut self, leaving: Leaving) -> Self {
        self.rules.leaving = leaving;
        self
    }

    /// Sets after how long without a sign of life a producer counts as lost: at least 100 ms, at most a
    /// day.
    ///
    /// It has to be the same in all processes. A store that does not answer for longer than this cannot
    /// [record](Self::store_failure) what is produced meanwhile.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.rules.lease = lease.clamp(LEASES[0], LEASES[1]);
        self
    }

    /// Sets for how long a response is there after its end.
    pub fn kept_for(mut self, time: Duration) -> Self {
        self.rules.kept_for = time;
        self
    }

    /// Sets what becomes of a response that cannot be recorded any more.
    pub fn store_failure(mut self, failure: StoreFailure) -> Self {
        self.rules.failing = failure;
        self
    }

    /// Records responses without a [subject](crate::Grant::subject), too: whoever has an id of one may
    /// read it on its path. Without this, they pass as if there was no record.
    pub fn without_subject(mut self) -> Self {
        self.needs_subject = false;
        self
    }

    /// Adds neither ids nor an `sse.open` or a last `sse.bye`, for clients that read nothing else than
    /// what they know.
    ///
    /// Such a client cannot come back by an id; with an [idempotency key](Self::idempotency_key) it is
    /// sent all from the beginning. It would take a clean end for that of a whole response, so one that
    /// was stopped or abandoned breaks off, as one that has failed does.
    pub fn without_ids(mut self) -> Self {
        self.rules.ids = false;
        self
    }

    /// Runs the handler for a client whose response is unknown: it is told of the gap, and what follows
    /// is another response.
    pub fn run_again(mut self) -> Self {
        self.runs_again = true;
        self
    }

    /// Finds the same response for requests that have the same key, subject and path: the first one runs
    /// the handler, and all are sent the response from its beginning.
    ///
    /// The handler runs in a task of its own then, so a client that is lost before the head finds the
    /// response when it asks again. Where the handler answers with something else than an event stream,
    /// only the first one gets that, and the key is free again. `None` is without a key. Keys of a
    /// response that has no subject are as good a protection as they are hard to guess.
    ///
    /// ```
    /// use tower_sse::{Resumable, store::MemoryStore};
    ///
    /// let answers = Resumable::new(MemoryStore::new()).idempotency_key(|request| {
    ///     let key = str::from_utf8(request.header("idempotency-key")?).ok()?;
    ///     Some(key.to_owned())
    /// });
    /// # drop(answers);
    /// ```
    pub fn idempotency_key(
        mut self,
        key: impl Fn(&RequestView) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.key = Some(Arc::new(key));
        self
    }

    /// Stops a response, whichever process produces it: the handler's stream is dropped, and clients are
    /// told. `id` is that of any of its events.
    ///
    /// Returns whether there is such a response of this subject that is not over. A producer in another
    /// process stops with its next event, or within a third of its lease.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn stop(&self, id: &str, subject: Option<&str>) -> Result<bool, StoreError> {
        let Some(RecordedId::At(name, at)) = RecordedId::parse(id) else {
            return Ok(false);
        };
        let owner = Owner::of(subject, name);
        self.recordings.stop(&owner, name, at, self.rules).await
    }

    /// Finds what there is for a request, or how what its handler sends is to be recorded.
    pub(super) async fn find(
        &self,
        subject: Option<&str>,
        request: &RequestView,
    ) -> Result<Coming, StoreError> {
        if subject.is_none() && self.needs_subject {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!("responses without a subject are not recorded");
            }
            return Ok(Coming::Unrecorded);
        }
        let owner = Owner::new(subject, request.path());
        let mut is_again = false;
        if let LastEventId::Id(id) = request.last_event_id() {
            match RecordedId::parse(&id) {
                None => {}
                Some(RecordedId::Ended) => return Ok(Coming::Over),
                Some(RecordedId::Unrecorded) if self.runs_again => is_again = true,
                Some(RecordedId::Unrecorded) => return Ok(Coming::Unknown),
                Some(RecordedId::At(name, at)) => {
                    match self.recordings.find(&owner, name, at, self.rules).await? {
                        Found::Rest(listener) => return Ok(Coming::Known(listener)),
                        Found::Over => return Ok(Coming::Over),
                        Found::Unknown if self.runs_again => is_again = true,
                        Found::Unknown => return Ok(Coming::Unknown),
                    }
                }
            }
        }
        let recording = |owner| {
            Coming::New(Recording {
                resumable: self.clone(),
                owner,
                is_again,
            })
        };
        let Some(key) = self.key.as_ref().and_then(|key| key(request)) else {
            return Ok(recording(owner));
        };
        Ok(
            match self.recordings.claim(&owner, &key, self.rules).await {
                Ok(Claimed::New(producer, listener)) => {
                    Coming::Claimed(producer, told(*listener, is_again).into())
                }
                Ok(Claimed::Known(listener)) => Coming::Known(told(*listener, is_again).into()),
                Err(error) if self.rules.failing == StoreFailure::GoOn => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "a response could not be looked for by its key");
                    recording(owner)
                }
                Err(error) => return Err(error),
            },
        )
    }
}

/// What there is for a request.
pub(super) enum Coming {
    /// Its handler runs, and what that sends is recorded.
    New(Recording),
    /// The same, in a task of its own.
    Claimed(Box<Producer>, Box<Listener>),
    /// Its handler runs.
    Unrecorded,
    Known(Box<Listener>),
    /// It has had all that there is.
    Over,
    Unknown,
}

/// How what a handler sends is to be recorded.
#[derive(Debug)]
pub(super) struct Recording {
    resumable: Resumable,
    owner: Owner,
    is_again: bool,
}

impl Recording {
    /// Begins the record. `None` where the system has no random bytes for its name.
    pub(super) fn begin(self) -> Option<(Producer, Listener)> {
        let Resumable {
            recordings, rules, ..
        } = &self.resumable;
        match recordings.begin(&self.owner, *rules) {
            Ok((producer, listener)) => Some((producer, told(listener, self.is_again))),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a response cannot be recorded");
                None
            }
        }
    }
}

/// A client that came for another response is told so.
fn told(mut listener: Listener, is_again: bool) -> Listener {
    if is_again {
        listener.tell_gap(GapReason::Unknown);
    }
    listener
}

impl<S: EventStore> From<S> for Resumable {
    fn from(store: S) -> Self {
        Self::new(store)
    }
}

impl From<&Self> for Resumable {
    fn from(resumable: &Self) -> Self {
        resumable.clone()
    }
}

impl fmt::Debug for Resumable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumable")
            .field("rules", &self.rules)
            .field("needs_subject", &self.needs_subject)
            .field("runs_again", &self.runs_again)
            .field("idempotency_key", &self.key.is_some())
            .finish_non_exhaustive()
    }
}
