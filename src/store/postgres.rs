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
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Append, Appended, EventStore, Position, Read, ReadFrom, StoreError, StoreErrorKind, Wakes,
    seen::Seen,
};
use crate::topic_name::TopicName;
use failure::{Failure, unavailable};
use link::{Link, notification};
pub use options::PostgresOptions;
use writer::Request;

/// After this long Postgres is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(10);

/// DOCS
pub struct PostgresStore {
    link: Link,
    limits: Limits,
    seen: Arc<Seen>,
    queue: mpsc::Sender<Request>,
    _writer: JoinHandle<()>,
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
        let epoch = seen.epoch().get().cast_signed();
        let offset = i64::try_from(seen.offset()).unwrap_or(i64::MAX);
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

/// Whether somebody saw more of a life than there is, so that an older copy was put back.
fn is_behind(now: Position, seen: Position) -> bool {
    now.epoch() == seen.epoch() && now.offset() < seen.offset()
}

impl EventStore for PostgresStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            topic: topic.clone(),
            append,
            answer,
        };
        let sent = self.queue.send(request).await;
        sent.map_err(|_| unavailable("the runtime that the store was connected in has ended"))?;
        let lost = |lost| Err(StoreError::new(StoreErrorKind::OutcomeUnknown, lost));
        answered.await.unwrap_or_else(lost)
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
