//! The store on Postgres.

mod failure;
mod heads;
mod link;
mod options;
mod read;
mod schema;
mod sequencer;
mod writer;

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{
    select,
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Append, Appended, EventStore, Position, Read, ReadFrom, Retention, StoreError, Wakes,
    error::unavailable, request::Request, seen::Seen,
};
use crate::topic_name::TopicName;
use failure::Failure;
use heads::numbers;
use link::{Link, notification};
pub use options::PostgresOptions;

/// After this long Postgres is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(10);

/// A store on Postgres, for several processes, publishers in any language, and events that are
/// published with a transaction of the application.
///
/// Postgres 15 or later, over a direct connection or a pooler in session mode. TLS is not spoken:
/// `sslmode=require` is refused, and an encrypted way there is for a proxy or a tunnel.
///
/// ```no_run
/// use tower_sse::{Hub, store::PostgresStore};
///
/// # async fn example() -> Result<(), tower_sse::store::StoreError> {
/// let url = "postgres://user:password@127.0.0.1/database";
/// let hub = Hub::with_store(PostgresStore::connect(url).await?);
/// # Ok(())
/// # }
/// ```
///
/// | limit | default | what goes |
/// |---|---|---|
/// | [events a topic](PostgresOptions::max_events) | 10,000 | its oldest |
/// | [bytes a topic](PostgresOptions::max_bytes) | 16 MiB | its oldest |
/// | [age](PostgresOptions::max_age) | none | what is older, at the time of reading |
///
/// Nothing bounds all topics together but the disk. Rows are deleted by the append that evicts them,
/// those past their age when their topic is read or appended to, those of a topic that is
/// [gone](Append::gone_after) within seconds, in small steps. Autovacuum makes their space usable
/// again, unless a transaction is open that is older than they are.
///
/// # Publishing with a transaction
///
/// `publish(topic, data, name)` is a function of the schema, for any client in any language. The name
/// may be left out. It inserts a row and waits for no lock of this crate; the event is there soon
/// after the transaction commits, and never if it rolls back:
///
/// ```sql
/// begin;
/// insert into orders (id, paid) values (42, true);
/// select tower_sse.publish('orders', '{"id":42}', 'paid');
/// commit;
/// ```
///
/// It returns no id: what was committed is put in order by one of the processes that have a store
/// open, at a time. Events of one transaction to one topic keep their order; those of several come as
/// they are found committed, and then stay as they are. Where the process that does it ends, another
/// goes on within seconds; while none has a store open, events wait.
///
/// `append(topic, data, name)` appends at once and returns the id of the event:
///
/// ```console
/// $ psql -Atc "select tower_sse.append('metrics', '{\"cpu\":12}', 'sample')"
/// 9f2c61d0a4-1
/// ```
///
/// In a longer transaction it locks the topic until the end of that, and `publish` is the better one.
/// What is no event is refused with the SQLSTATE `22023`, a record beyond the limit with `54000`.
///
/// | table | what is in it |
/// |---|---|
/// | `store` | the version and the epoch of the store, and its limits: one row |
/// | `births` | how many logs began, by buckets of topics: at most 65,536 rows |
/// | `topics` | the log of each topic: its epoch, its head, what is retained |
/// | `records` | the records of all logs |
/// | `outbox` | what was published, and has no offset yet |
/// | `sequencer` | whether it waits to be told of what is published: one row |
/// | `removed` | logs that are gone, and whose records are still to be deleted |
///
/// A record that is inserted past the functions is not taken for one of the log: the next append and
/// the reading of it are refused as [`Damaged`](super::StoreErrorKind::Damaged), and what is published
/// to the topic is held, until somebody deletes it. Records that are deleted are missed as a gap.
///
/// # What survives
///
/// [`append`](EventStore::append) answers when Postgres has committed:
///
/// | what fails | `synchronous_commit = on` | `off` |
/// |---|---|---|
/// | this process | nothing is lost | nothing |
/// | Postgres is killed, or the machine | nothing | up to 3 times `wal_writer_delay` |
/// | failover to a synchronous standby | nothing | the same |
/// | failover to another, restored backup | what was not there | the same |
///
/// Where Postgres comes back with less than it had, positions of the lost future are those of another
/// life. That is noticed by the processes that saw more: each remembers the last position of the
/// 65,536 topics it used last, and compares it on every append, read and slow round. Where none of
/// them is left, or all else append past it first, nobody can tell.
///
/// # Connections and permissions
///
/// Each store has one connection that appends, up to four that read, one that waits for its turn to
/// put in order what was published, and one for each hub that listens. They are opened again when they
/// end. Appends that wait for each other are written in one transaction. Each is sent once: where the
/// answer is lost or takes longer than the [timeout](PostgresOptions::answer_timeout), the outcome is
/// unknown.
///
/// The first store makes the schema, which needs the right to create one, or an empty one that it may
/// create tables in; where it has gone, as with all data, one that runs makes it again. After that a
/// user needs `usage` on the schema and its sequences, and `select, insert, update, delete` on its
/// tables. Whoever only calls `publish` needs `usage` on the schema, `insert` on `outbox`, and `select`
/// on `store` and `sequencer`.
pub struct PostgresStore {
    link: Link,
    limits: Limits,
    seen: Arc<Seen>,
    queue: mpsc::Sender<Request>,
    sequencer: JoinHandle<()>,
}

/// What a topic retains.
#[derive(Clone, Copy, Debug)]
struct Limits {
    events: i64,
    bytes: i64,
    /// In milliseconds.
    age: Option<i64>,
}

impl PostgresStore {
    /// Connects to the Postgres at `url`, as in `postgres://user:password@host:5432/database`, with
    /// the default settings.
    ///
    /// # Errors
    ///
    /// As [`PostgresOptions::connect`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::options().connect(url).await
    }

    /// Returns settings to connect with.
    pub fn options() -> PostgresOptions {
        PostgresOptions::new()
    }

    async fn trim(&self, topic: &TopicName) -> Result<(), StoreError> {
        let trim = self.link.schema.fill("select {s}.trim($1)");
        let trimmed = self.link.query(&trim, &[&topic.as_str()]).await;
        trimmed.map(drop).map_err(Failure::of_read)
    }

    /// Begins another life of a log, or of the store, that is behind what was `seen`.
    async fn renew(&self, topic: &TopicName, seen: Position) -> Result<(), StoreError> {
        tracing::warn!(%topic, %seen, "Postgres has gone back to before this position");
        let renew = self.link.schema.fill("select {s}.renew($1, $2, $3)");
        let (epoch, offset) = numbers(seen);
        let parameters: link::Parameters<'_> = &[&topic.as_str(), &epoch, &offset];
        let renewed = self.link.query(&renew, parameters).await;
        renewed.map(drop).map_err(Failure::of_read)
    }

    /// Listens on a connection of its own, until that ends.
    async fn listen(&self, wakes: &Wakes) -> Result<std::convert::Infallible, Failure> {
        let (client, mut connection) = self.link.open("watch").await?;
        let asking = async {
            let listen = format!("listen \"{}\"", self.link.schema.name);
            let mut ask = listen.as_str();
            loop {
                match timeout(self.link.answer, client.batch_execute(ask)).await {
                    Ok(answer) => answer?,
                    Err(_) => return Err(Failure::Late),
                }
                if ask == listen {
                    wakes.wake_all();
                    ask = "";
                }
                sleep(SILENCE).await;
            }
        };
        let waking = async {
            loop {
                let told = notification(&mut connection).await?;
                match TopicName::new(told.payload()) {
                    Ok(topic) => wakes.wake(&topic),
                    Err(_) => tracing::debug!("a wake-up that names no topic"),
                }
            }
        };
        select! {
            ended = asking => ended,
            ended = waking => ended,
        }
    }
}

impl EventStore for PostgresStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let (request, answer) = Request::new(topic.clone(), append);
        let sent = self.queue.send(request).await;
        sent.map_err(|_| unavailable("the runtime that the store was connected in has ended"))?;
        answer.await
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
            events: u64::try_from(self.limits.events).ok(),
            bytes: u64::try_from(self.limits.bytes).ok(),
        })
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        let Err(failure) = self.listen(&wakes).await;
        failure.of_read()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.sequencer.abort();
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.link.schema.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
