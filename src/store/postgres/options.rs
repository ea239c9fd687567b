//! Settings, and the first connection.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_postgres::Config;

use super::{
    Limits, PostgresStore, failure::Failure, heads::number, link::Link, schema::Schema, sequencer,
    writer::Writer,
};
use crate::millis::millis;
use crate::store::{StoreError, error::unavailable, seen::Seen};

/// How many appends wait before whoever comes next waits for a place.
const QUEUE: usize = 1024;

/// The oldest version that the store is tried with.
const OLDEST: i32 = 150_000;

/// The settings of a [`PostgresStore`].
///
/// Those of retention are kept in Postgres, so that they bind publishers in other languages, too. They
/// are the same for all who share a schema: whoever connects last has set them.
#[derive(Clone, Debug)]
#[must_use]
pub struct PostgresOptions {
    limits: Limits,
    schema: String,
    answer: Duration,
}

impl PostgresOptions {
    pub(super) fn new() -> Self {
        Self {
            limits: Limits {
                events: 10_000,
                bytes: 16 * 1024 * 1024,
                age: None,
            },
            schema: "tower_sse".into(),
            answer: Duration::from_secs(5),
        }
    }

    /// Sets how many events a topic retains at most.
    pub fn max_events(mut self, events: NonZeroUsize) -> Self {
        self.limits.events = number(events.get());
        self
    }

    /// Sets how many bytes of names and data a topic retains at most. A larger record is refused.
    pub fn max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.limits.bytes = number(bytes.get());
        self
    }

    /// Sets the age from which an event is no longer read.
    pub fn max_age(mut self, age: Duration) -> Self {
        const MOST: i64 = 1 << 53;
        let millis = i64::try_from(millis(age));
        self.limits.age = millis.ok().filter(|&millis| millis < MOST);
        self
    }

    /// Sets the schema: 1 to 48 of `a-z 0-9 _`, not beginning with a digit or `pg_`.
    ///
    /// Stores of different schemas have nothing to do with each other.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Sets how long to wait for an answer before it is taken for lost.
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer = timeout;
        self
    }

    /// Connects to the Postgres at `url`, and makes the schema where there is none.
    ///
    /// What the store does on its own runs on the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// When Postgres does not answer or refuses, is older than version 15, or has a schema of a newer
    /// version of this crate, and when the address or the name of the schema is none.
    pub async fn connect(self, url: &str) -> Result<PostgresStore, StoreError> {
        let Some(schema) = Schema::new(self.schema) else {
            return Err(unavailable("the schema has a name that is not allowed"));
        };
        // The client crate's error might quote the address, which may have a password in it.
        let config: Config = url
            .parse()
            .map_err(|_| unavailable("not an address as postgres://user@host:port/database"))?;
        let link = Link::new(config, schema, self.answer).map_err(Failure::of_read)?;
        prepare(&link, self.limits)
            .await
            .map_err(Failure::of_read)?;
        let seen = Arc::new(Seen::new());
        let writer = Writer {
            link: link.clone(),
            seen: Arc::clone(&seen),
            connected: None,
        };
        let (queue, requests) = mpsc::channel(QUEUE);
        // It ends when its queue is closed, which the store does when it is dropped.
        tokio::spawn(writer.run(requests));
        Ok(PostgresStore {
            queue,
            sequencer: tokio::spawn(sequencer::run(link.clone(), self.limits)),
            limits: self.limits,
            link,
            seen,
        })
    }
}

async fn prepare(link: &Link, limits: Limits) -> Result<(), Failure> {
    let mut session = link.session("connect").await?;
    let asked = session.client.query_one("show server_version_num", &[]);
    let version: String = asked.await?.try_get(0)?;
    if version.parse().is_ok_and(|version: i32| version < OLDEST) {
        let why = format!("Postgres is of version {version}, and 15 or later is needed");
        return Err(Failure::NotSent(why.into()));
    }
    link.schema.migrate(&mut session.client, limits).await
}
