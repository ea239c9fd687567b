//! The store on Redis Streams.

mod failure;
mod keys;
mod library;
mod link;
mod options;
mod read;
mod seen;
mod view;

use std::{fmt, num::NonZeroUsize, time::Duration};

use futures_util::StreamExt;
use redis::{Cmd, cmd, pipe};
use tokio::time::timeout;

use super::{
    Append, Appended, EventStore, Position, Read, ReadFrom, RecordKind, StoreError, StoreErrorKind,
    Wakes,
};
use crate::topic_name::TopicName;
use failure::{Fact, Failure, damaged};
use keys::Keys;
use link::{Link, Request};
pub use options::RedisOptions;
use seen::Seen;

/// How many topics are asked for in one request, which Redis answers as a whole.
const HEADS: usize = 4096;
/// After this long without a message, Redis is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(10);

/// A store on Redis Streams.
pub struct RedisStore {
    link: Link,
    keys: Keys,
    limits: Limits,
    answer: Duration,
    seen: Seen,
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

    /// Makes the settings of the store.
    async fn open(&self, replace: bool) -> Result<(), StoreError> {
        let mut call = self.function("tower_sse_open");
        call.arg(if replace { "replace" } else { "" })
            .arg(&self.limits.arguments());
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
            .arg(append.end_of_life().map(end_of_life).unwrap_or_default())
            .arg(text(self.seen.get(topic)))
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

    /// Returns `None` where the store has no settings yet, or no more.
    async fn heads_of(&self, topics: &[TopicName]) -> Result<Option<Vec<Position>>, StoreError> {
        let mut request = pipe();
        request
            .cmd("HGET")
            .arg(self.keys.store())
            .arg("epoch")
            .cmd("HMGET")
            .arg(self.keys.births());
        // Before the logs: a count that is too old is unknown later, one that is too new would hide
        // a log that came and went in between.
        for topic in topics {
            request.arg(Keys::bucket(topic));
        }
        for topic in topics {
            request
                .cmd("HMGET")
                .arg(self.keys.log(topic))
                .arg("epoch")
                .arg("head");
        }
        let reply: Result<Vec<Vec<Option<String>>>, Failure> =
            self.link.send(Request::Pipeline(&request)).await;
        let reply = reply.map_err(Failure::of_read)?;
        let [store, births, logs @ ..] = reply.as_slice() else {
            return Err(damaged("the heads are too few"));
        };
        let Some(Some(store)) = store.first() else {
            return Ok(None);
        };
        let heads = births.iter().zip(logs).map(|(births, log)| {
            let (epoch, offset) = match log.as_slice() {
                [Some(epoch), head] => (epoch, head),
                _ => (store, births),
            };
            position(epoch, offset.as_deref().unwrap_or("0"))
        });
        heads.collect::<Result<_, _>>().map(Some)
    }

    async fn heads_or_open(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        for _ in 0..2 {
            if let Some(heads) = self.heads_of(topics).await? {
                return Ok(heads);
            }
            self.open(false).await?;
        }
        Err(StoreErrorKind::Unavailable.into())
    }

    async fn listen(&self, wakes: &Wakes) -> Result<(), redis::RedisError> {
        let channel = self.keys.channel();
        let (mut asking, mut messages) = self.link.listen(&channel).await?.split();
        wakes.wake_all();
        loop {
            match timeout(SILENCE, messages.next()).await {
                Ok(Some(message)) => match TopicName::new(message.get_payload::<String>()?) {
                    Ok(topic) => wakes.wake(&topic),
                    Err(_) => tracing::debug!(channel, "a wake-up that names no topic"),
                },
                Ok(None) => return Ok(()),
                Err(_) => {
                    let answer = timeout(self.answer, asking.ping::<redis::Value>()).await;
                    answer.unwrap_or_else(|_| Err(Failure::timeout()))?;
                }
            }
        }
    }
}

fn position(epoch: &str, offset: &str) -> Result<Position, StoreError> {
    let text = format!("{epoch}-{offset}");
    text.parse()
        .map_err(|_| damaged(format!("{text:?} is no position")))
}

/// In milliseconds. Beyond a time that Redis can name, it is none.
fn end_of_life(after: Duration) -> String {
    const MOST: u128 = 10_u128.pow(14);
    let millis = after.as_micros().div_ceil(1000);
    match millis < MOST {
        true => millis.to_string(),
        false => String::new(),
    }
}

impl EventStore for RedisStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let call = self.append_call(topic, &append);
        let answer: Result<(String, String), Failure> = library::call(&self.link, &call).await;
        let (what, head) = answer.map_err(Failure::of_append)?;
        let Ok(head) = head.parse() else {
            let what = Fact(format!("{head:?} is no position"));
            return Err(StoreError::new(StoreErrorKind::OutcomeUnknown, what));
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
        let mut heads = Vec::with_capacity(topics.len());
        for topics in topics.chunks(HEADS) {
            let seen: Vec<_> = topics.iter().map(|topic| self.seen.get(topic)).collect();
            let mut found = self.heads_or_open(topics).await?;
            let mut is_behind = false;
            for ((topic, seen), &head) in topics.iter().zip(seen).zip(&found) {
                if let Some(seen) = seen
                    && seen.epoch() == head.epoch()
                    && seen.offset() > head.offset()
                {
                    self.renew(topic, seen).await?;
                    is_behind = true;
                }
            }
            if is_behind {
                found = self.heads_or_open(topics).await?;
            }
            for (topic, &head) in topics.iter().zip(&found) {
                self.seen.note(topic, head);
            }
            heads.append(&mut found);
        }
        Ok(heads)
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        match self.listen(&wakes).await {
            Ok(()) => StoreErrorKind::Unavailable.into(),
            Err(error) => StoreError::new(StoreErrorKind::Unavailable, error),
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
