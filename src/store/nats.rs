//! The store on NATS JetStream.

mod failure;
mod heads;
mod lanes;
mod link;
mod message;
mod options;
mod read;

use std::{fmt, num::NonZeroUsize, sync::Arc};

use super::{
    Append, Appended, Epoch, EventStore, Position, Read, ReadFrom, Retention, StoreError,
    StoreErrorKind, Wakes, error::unavailable, seen::Seen,
};
use crate::topic_name::TopicName;
use failure::Failure;
use lanes::Lanes;
use link::Link;
use message::{Links, Message, encode};
pub use options::NatsOptions;

/// A store on NATS JetStream, for several processes.
///
/// nats-server 2.9 or later, with JetStream, alone or as a cluster.
///
/// ```no_run
/// use tower_sse::{Hub, store::NatsStore};
///
/// # async fn example() -> Result<(), tower_sse::store::StoreError> {
/// let hub = Hub::with_store(NatsStore::connect("nats://127.0.0.1:4222").await?);
/// # Ok(())
/// # }
/// ```
///
/// | limit | default | what goes |
/// |---|---|---|
/// | [events a topic](NatsOptions::max_events) | 10,000 | its oldest |
/// | [bytes a topic](NatsOptions::max_bytes) | 16 MiB | its oldest |
/// | [age](NatsOptions::max_age) | none | what is older, at the time of reading |
/// | [bytes in all](NatsOptions::max_total_bytes) | 1 GiB | the oldest of all topics |
///
/// The first three bound what is read, to the event, and are of this store: give all processes the
/// same. Space is the stream's: it is a ring of as many bytes as it may have, and nothing is taken out
/// of its middle. A topic to which nobody appended while the stream went round once is gone, and its
/// clients are told so. The limits of a stream that is there already are left as they are; others may be set
/// with `nats stream edit`, also by age and by number of messages, but not per subject. A record is at
/// most as large as a message may be, which is 1 MiB unless the server has another `max_payload`.
///
/// # What is in the stream
///
/// A topic is a subject: `<stream>.<topic>`, with a `,` for each `.` of the topic. A message is an
/// append, or several that waited at the same time. One event without a name is the payload as it is;
/// anything else is packed. The header `Tower-Sse` ties it to the log:
///
/// ```text
/// <format> <epoch> <from> <birth> <previous> <events before> <bytes before> <end of life>
/// ```
///
/// Messages are published with the sequence of the last message of their subject as the expected one.
/// So the server vouches for what they say, a condition holds when the records are stored, and of
/// processes that race each append is stored once or refused.
///
/// What is published past this store, as with `nats pub`, has no such header. Reading the topic, and
/// appending to it, is then refused as [`Damaged`](StoreErrorKind::Damaged), until somebody deletes the
/// message (`nats stream rmm`) or purges the subject. A message of this store that is deleted is missed
/// as a gap. Where all of a topic are, another life begins; with nats-server 2.9 also where the last one
/// is.
///
/// # What survives
///
/// [`append`](EventStore::append) answers when the server has acknowledged, which is when it has written
/// the message:
///
/// | what fails | one server | `replicas(3)` |
/// |---|---|---|
/// | this process | nothing is lost | nothing |
/// | the server is killed | nothing | nothing |
/// | its machine | up to two minutes, or the server's `sync_interval` | nothing, while the other two go on |
///
/// From 2.10 on a server with `sync_interval: always` in its `jetstream` block loses nothing.
///
/// Where a server comes back with less than it had, positions of the lost future are those of another
/// life. That is noticed by the processes that saw more: each remembers the last position of the
/// 65,536 topics it used last, and compares it on every append, read and slow round. Where none of them
/// is left, or all else append past it first, nobody can tell. A stream that is deleted and made again
/// is always another. A client that has the beginning of a topic that had no log yet is not told where
/// somebody purges the subject after the log began.
///
/// Ages and ends of life are by the clocks of the servers and of the processes that read, which have to
/// agree.
///
/// # Connections
///
/// One, which connects again by itself. A hub has one consumer for all topics, of headers only; a client
/// that is far behind has one of its own while it catches up. An append is sent once: where the answer is
/// lost or takes longer than the [timeout](NatsOptions::answer_timeout), the outcome is unknown. For
/// `tls://` nothing has to be turned on.
pub struct NatsStore {
    core: Arc<Core>,
    lanes: Lanes,
}

/// What a topic retains.
#[derive(Clone, Copy, Debug)]
struct Limits {
    events: u64,
    bytes: u64,
    /// In milliseconds.
    age: Option<u64>,
}

struct Core {
    link: Link,
    limits: Limits,
    seen: Seen<Option<heads::AtRest>>,
}

/// The newest that is known of a topic.
enum Tail {
    /// It has no log.
    Absent {
        head: Position,
        /// The last message of the subject, that of a log that is gone; 0 where there is none.
        sequence: u64,
    },
    Log(Message),
}

/// How often to look again where others change what was looked at.
const ATTEMPTS: usize = 32;

impl NatsStore {
    /// Connects to the NATS at `url`, as in `nats://user:password@host:4222`, with the default settings.
    ///
    /// # Errors
    ///
    /// When NATS does not answer or refuses, or has no JetStream, and when `url` is no address.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::options().connect(url).await
    }

    /// Returns settings to connect with.
    pub fn options() -> NatsOptions {
        NatsOptions::new()
    }

    fn over(core: Core) -> Self {
        let core = Arc::new(core);
        Self {
            lanes: Lanes::new(Arc::clone(&core)),
            core,
        }
    }
}

impl Core {
    /// Asks for the last message of a topic, and begins another life where the log went backwards.
    ///
    /// A topic that has none has a position of the stream for a head: the sequence of the last message
    /// of its log that is gone, or else the one before the oldest of the stream. A log begins only while
    /// that is so, and remembers it. It grows whenever a message of the topic may have gone from behind
    /// it, so a position that is not below it was taken when the topic had no log, and none came and went
    /// since. (The stream would have to go round once between the two requests to prove that wrong.)
    async fn tail(&self, topic: &TopicName) -> Result<Tail, Failure> {
        for _ in 0..ATTEMPTS {
            let Some(last) = self.link.last(topic).await? else {
                // nats-server 2.9 forgets the others of a subject whose last message was deleted.
                let left = self.link.next(topic, 1).await?;
                let shape = self.link.shape().await?;
                if left.is_some() && self.link.last(topic).await?.is_some() {
                    // The log has just begun.
                    continue;
                }
                let from = match left {
                    None => shape.before_first(),
                    Some(_) => shape.last,
                };
                let head = Position::new(shape.epoch, from);
                return Ok(Tail::Absent { head, sequence: 0 });
            };
            if last.ends_at().is_some_and(|end| end <= message::now()) {
                let epoch = self.link.shape().await?.epoch;
                return Ok(Tail::Absent {
                    head: Position::new(epoch, last.sequence),
                    sequence: last.sequence,
                });
            }
            let seen = self.seen.head(topic);
            if !seen.is_some_and(|seen| last.head().is_behind(seen)) {
                self.seen.note(topic, last.head());
                return Ok(Tail::Log(last));
            }
            match self.renew(topic, &last).await {
                Ok(()) | Err(Failure::Outrun) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(unavailable("the topic changes all the time").into())
    }

    /// Begins another life of a log, with the records that are left.
    async fn renew(&self, topic: &TopicName, last: &Message) -> Result<(), Failure> {
        tracing::warn!(%topic, head = %last.head(), "NATS has gone back to before what was seen");
        let (events, bytes) = last.totals();
        let left = last.ends_at().map(|end| end.saturating_sub(message::now()));
        let links = Links {
            epoch: Epoch::random(),
            from: last.links.from,
            birth: last.birth(),
            previous: last.head_offset(),
            events,
            bytes,
            ends: left,
        };
        let (headers, payload) = encode(&links, &[]);
        let sent = self.link.publish(topic, last.sequence, headers, payload);
        sent.await.map(drop)
    }
}

impl EventStore for NatsStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        lanes::check(&append, self.core.limits)?;
        self.lanes.append(topic, append).await
    }

    async fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        // The futures of the client crate are large.
        let reading = read::read(&self.core, topic, from, max_bytes.get());
        Box::pin(reading).await.map_err(Failure::of_read)
    }

    async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        let asking = heads::heads(&self.core, topics);
        Box::pin(asking).await.map_err(Failure::of_read)
    }

    fn retention(&self) -> Option<Retention> {
        Some(Retention {
            events: Some(self.core.limits.events),
            bytes: Some(self.core.limits.bytes),
        })
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        let tell = |topic: Option<&TopicName>| match topic {
            Some(topic) => wakes.wake(topic),
            None => wakes.wake_all(),
        };
        match Box::pin(self.core.link.listen(tell)).await {
            Ok(()) => StoreErrorKind::Unavailable.into(),
            Err(error) => error,
        }
    }
}

impl fmt::Debug for NatsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsStore")
            .field("stream", &self.core.link.stream)
            .field("limits", &self.core.limits)
            .finish_non_exhaustive()
    }
}
