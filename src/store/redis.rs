//! The store on Redis Streams.

mod failure;
mod heads;
mod keys;
mod library;
mod link;
mod options;
mod read;
mod view;

use std::{fmt, num::NonZeroUsize, time::Duration};

use futures_util::StreamExt;
use redis::{Cmd, cmd};
use tokio::time::timeout;

use super::{
    Append, Appended, EventStore, Position, Read, ReadFrom, RecordKind, Retention, StoreError,
    StoreErrorKind, Wakes, error::unavailable, seen::Seen,
};
use crate::millis::millis;
use crate::topic_name::TopicName;
use failure::{Cause, Failure};
use keys::Keys;
use link::{Link, Request};
pub use options::RedisOptions;

/// After this long without a message, Redis is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(10);

/// A store on Redis Streams, for several processes, and publishers in any language.
///
/// Redis 7 or later, alone or found through [sentinels](RedisOptions::sentinels). A cluster is refused.
///
/// ```no_run
/// use tower_sse::{Hub, store::RedisStore};
///
/// # async fn example() -> Result<(), tower_sse::store::StoreError> {
/// let hub = Hub::with_store(RedisStore::connect("redis://127.0.0.1:6379").await?);
/// # Ok(())
/// # }
/// ```
///
/// For `rediss://` the application turns on one of the TLS features of the crate `redis`.
///
/// | limit | default | what goes |
/// |---|---|---|
/// | [events a topic](RedisOptions::max_events) | 10,000 | its oldest |
/// | [bytes a topic](RedisOptions::max_bytes) | 16 MiB | its oldest |
/// | [age](RedisOptions::max_age) | none | what is older, at the time of reading |
///
/// Nothing bounds all topics together but the memory of Redis. A topic whose events are all gone stays
/// as a few hundred bytes until its [end of life](Append::gone_after). Redis gives the space of
/// evicted entries back by nodes of about 4 KiB or 100 entries, and that of events past their age when
/// their topic is read or appended to.
///
/// # Publishing from elsewhere
///
/// Appending is a [function](https://redis.io/docs/latest/develop/programmability/functions-intro/)
/// that Redis runs. It is loaded when a store connects, and stays. Every language that speaks to Redis
/// publishes with it, and gets the id of the event:
///
/// ```console
/// $ redis-cli FCALL tower_sse_append 1 tower-sse metrics '{"cpu":12}' sample
/// "9f2c61d0a4-1"
/// ```
///
/// The arguments are the number of keys, the prefix, the topic, the data, and the name of the event
/// where it has one. A refusal begins with `INVALID`, `TOOLARGE` or `DAMAGED`, and nothing was stored.
/// `tower_sse_append_all` stores several records or none:
///
/// ```text
/// FCALL tower_sse_append_all 1 <prefix> <topic> <while head> <gone after> "" "" "" ""
///     [<kind> <name> <data>]..
/// ```
///
/// `while head` is an id or empty, `gone after` in milliseconds or empty, `kind` is `event`, `lease` or
/// `end`, and `name` may be empty. The answer is `stored` or `conflict`, and the id of the last record
/// of the topic.
///
/// | key | type | what is in it |
/// |---|---|---|
/// | `<prefix>:<topic>` | stream | the records: at `<offset>-0` the `time`, `kind`, `name` and `data`, and `previous`, the offset before it, where that is not one less |
/// | `<prefix>:<topic>#` | hash | the log: its epoch, its head, what is retained |
/// | `<prefix>#` | hash | the epoch of the store, and its limits |
/// | `<prefix>#births` | hash | how many logs began, by buckets of topics: at most 65,536 numbers |
///
/// The channel `<prefix>#` carries the names of topics that were appended to.
///
/// An entry that is added with `XADD` is not taken for one of the log. The next append is refused as
/// [`Damaged`](StoreErrorKind::Damaged), and so is reading it, until somebody deletes it (`XDEL`, then
/// `XSETID` to the last offset, as `42-0`) or the topic (`DEL` of both keys). Entries that are deleted
/// or trimmed away are missed as a gap; where a log is removed, another life begins.
///
/// # What survives
///
/// [`append`](EventStore::append) answers when Redis has, and Redis decides what that is worth:
///
/// | what fails | `appendfsync always` | `everysec` | no append-only file |
/// |---|---|---|---|
/// | this process | nothing is lost | nothing | nothing |
/// | Redis is killed | nothing | as a rule nothing, up to 2 s behind a slow disk | all since the last snapshot |
/// | the machine | nothing | 1 to 2 s | all since the last snapshot |
/// | failover to a replica | what had not reached it | the same | the same |
///
/// So `appendonly yes`; and `maxmemory-policy noeviction`, since any other lets Redis drop whole
/// topics. A Redis that is full refuses appends as [`Unavailable`](StoreErrorKind::Unavailable), and
/// goes on to answer readers.
///
/// Where Redis comes back with less than it had, clients that have seen more are told. The first append
/// to a log after a start of Redis, or a failover, jumps ahead by a random offset below 2^32, so that
/// the positions of the lost future are none of this log; with n events lost, the chance that one is
/// taken for valid is about n in 2^31. Keys that are put back while Redis runs are noticed by the
/// processes that saw more: each remembers the last position of the 65,536 topics it used last, and
/// compares it on every append, read and slow round.
///
/// # Connections and permissions
///
/// One for all commands, and one for each hub that listens. They connect again by themselves. An
/// append is sent once: where the answer is lost or takes longer than the
/// [timeout](RedisOptions::answer_timeout), the outcome is unknown.
///
/// A user of Redis needs `~tower-sse* &tower-sse# +ping +info +time +fcall +function|load +subscribe
/// +publish +del +hget +hmget +hset +hdel +hincrby +xlen +xadd +xrange +xrevrange +xtrim +pexpireat
/// +persist`.
pub struct RedisStore {
    link: Link,
    keys: Keys,
    limits: Limits,
    answer: Duration,
    /// With the bytes of an average event, to ask for about as many as are wanted.
    seen: Seen<Option<u64>>,
}

/// What a topic retains.
#[derive(Clone, Copy, Debug)]
struct Limits {
    events: u64,
    bytes: u64,
    /// In milliseconds.
    age: Option<u64>,
}

impl Limits {
    fn arguments(self) -> [String; 3] {
        let age = self.age.map(|age| age.to_string()).unwrap_or_default();
        [self.events.to_string(), self.bytes.to_string(), age]
    }
}

impl RedisStore {
    /// Connects to the Redis at `url`, as in `redis://user:password@host:6379/0`, with the default
    /// settings.
    ///
    /// # Errors
    ///
    /// When Redis does not answer or refuses, is older than version 7, or a node of a cluster, and
    /// when `url` is no address.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::options().connect(url).await
    }

    /// Returns settings to connect with.
    pub fn options() -> RedisOptions {
        RedisOptions::new()
    }

    fn function(&self, name: &str) -> Cmd {
        let mut call = cmd("FCALL");
        call.arg(name).arg(1).arg(&self.keys.prefix);
        call
    }

    async fn call(&self, call: Cmd) -> Result<(), StoreError> {
        let done: Result<String, Failure> = library::call(&self.link, &call).await;
        done.map(drop).map_err(Failure::of_read)
    }

    /// Makes these the settings of the store.
    async fn set_limits(&self) -> Result<(), StoreError> {
        self.open("replace").await
    }

    /// Makes the settings of the store where it has none.
    async fn restore_limits(&self) -> Result<(), StoreError> {
        self.open("").await
    }

    async fn open(&self, how: &str) -> Result<(), StoreError> {
        let mut call = self.function("tower_sse_open");
        call.arg(how).arg(&self.limits.arguments());
        self.call(call).await
    }

    async fn trim(&self, topic: &TopicName) -> Result<(), StoreError> {
        let mut call = self.function("tower_sse_trim");
        call.arg(topic.as_str());
        self.call(call).await
    }

    /// Begins another life of a log, or of the store, that is behind what was `seen`.
    async fn renew(&self, topic: &TopicName, seen: Position) -> Result<(), StoreError> {
        tracing::warn!(%topic, %seen, "Redis has gone back to before this position");
        let mut call = self.function("tower_sse_renew");
        call.arg(topic.as_str()).arg(seen.to_string());
        self.call(call).await
    }

    fn append_call(&self, topic: &TopicName, append: &Append) -> Cmd {
        let text = |position: Option<Position>| position.map(|p| p.to_string()).unwrap_or_default();
        let mut call = self.function("tower_sse_append_all");
        call.arg(topic.as_str())
            .arg(text(append.condition()))
            .arg(
                append
                    .end_of_life()
                    .and_then(end_of_life)
                    .unwrap_or_default(),
            )
            .arg(text(self.seen.head(topic)))
            .arg(&self.limits.arguments());
        for record in append.records() {
            call.arg(match record.kind() {
                RecordKind::Event => "event",
                RecordKind::Lease => "lease",
                RecordKind::End => "end",
            })
            .arg(record.name().map_or("", |name| name.as_str()))
            .arg(record.data().as_bytes().as_ref());
        }
        call
    }

    async fn listen(&self, wakes: &Wakes) -> Result<(), redis::RedisError> {
        let channel = self.keys.channel();
        let (mut asking, mut messages) = self.link.listen(&channel).await?.split();
        wakes.wake_all();
        loop {
            match timeout(SILENCE, messages.next()).await {
                Ok(Some(message)) => {
                    let name = std::str::from_utf8(message.get_payload_bytes());
                    match TopicName::new(name.unwrap_or_default()) {
                        Ok(topic) => wakes.wake(&topic),
                        Err(_) => tracing::debug!(channel, "a wake-up that names no topic"),
                    }
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    let answer = timeout(self.answer, asking.ping::<redis::Value>()).await;
                    answer.unwrap_or_else(|_| Err(Failure::timeout()))?;
                }
            }
        }
    }
}

/// In milliseconds. Beyond a time that Redis can name, it is none.
fn end_of_life(after: Duration) -> Option<String> {
    const MOST: u64 = 10_u64.pow(14);
    let millis = Some(millis(after)).filter(|&millis| millis < MOST);
    millis.map(|millis| millis.to_string())
}

impl EventStore for RedisStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let call = self.append_call(topic, &append);
        let answer: Result<(String, String), Failure> = library::call(&self.link, &call).await;
        let (what, head) = answer.map_err(Failure::of_append)?;
        let Ok(head) = head.parse() else {
            let why = format!("{head:?} is no position");
            return Err(StoreError::new(StoreErrorKind::OutcomeUnknown, why));
        };
        self.seen.note(topic, head);
        Ok(match what.as_str() {
            "stored" => Appended::Stored(head),
            _ => Appended::Conflict(head),
        })
    }

    async fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        read::read(self, topic, from, max_bytes).await
    }

    async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        heads::heads(self, topics).await
    }

    fn retention(&self) -> Option<Retention> {
        Some(Retention {
            events: Some(self.limits.events),
            bytes: Some(self.limits.bytes),
        })
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        match self.listen(&wakes).await {
            Ok(()) => StoreErrorKind::Unavailable.into(),
            Err(error) => unavailable(Cause(error)),
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.keys.prefix)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
