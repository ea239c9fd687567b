//! Settings, and the first connection.

use std::{num::NonZeroUsize, time::Duration};

use redis::{FromRedisValue, cmd};

use super::{
    Keys, Limits, Link, RedisStore, Request, Seen,
    failure::{Cause, Failure},
    library,
};
use crate::millis::millis;
use crate::store::{StoreError, error::unavailable};

/// The settings of a [`RedisStore`].
///
/// Those of retention are kept in Redis, so that they bind publishers in other languages, too. They
/// are the same for all who share a prefix: whoever connects last has set them.
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisOptions {
    limits: Limits,
    prefix: String,
    answer: Duration,
    /// May have passwords in them.
    sentinels: Sentinels,
}

#[derive(Clone, Default)]
struct Sentinels(Vec<String>);

impl std::fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.len())
    }
}

impl RedisOptions {
    pub(super) fn new() -> Self {
        Self {
            limits: Limits {
                events: 10_000,
                bytes: 16 * 1024 * 1024,
                age: None,
            },
            prefix: "tower-sse".into(),
            answer: Duration::from_secs(5),
            sentinels: Sentinels::default(),
        }
    }

    /// Sets how many events a topic retains at most.
    pub fn max_events(mut self, events: NonZeroUsize) -> Self {
        self.limits.events = count(events);
        self
    }

    /// Sets how many bytes of names and data a topic retains at most. A larger record is refused.
    pub fn max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.limits.bytes = count(bytes);
        self
    }

    /// Sets the age from which an event is no longer read.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.limits.age = Some(millis(age)).filter(|&age| age < MOST);
        self
    }

    /// Sets what the keys begin with: anything without a `#`.
    ///
    /// Stores of different prefixes have nothing to do with each other, unless one prefix is the
    /// other with a `:` behind it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long to wait for an answer before it is taken for lost.
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer = timeout;
        self
    }

    /// Sets the addresses of the sentinels to ask where Redis is.
    ///
    /// The host of the address to [connect](Self::connect) to is then the name of the service, as in
    /// `redis://:password@mymaster`.
    pub fn sentinels(mut self, urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.sentinels = Sentinels(urls.into_iter().map(Into::into).collect());
        self
    }

    /// Connects to the Redis at `url`.
    ///
    /// # Errors
    ///
    /// When Redis does not answer or refuses, is older than version 7, or a node of a cluster, and
    /// when an address or the prefix is none.
    pub async fn connect(self, url: &str) -> Result<RedisStore, StoreError> {
        if self.prefix.is_empty() || self.prefix.contains('#') {
            return Err(unavailable("the prefix is empty or has a # in it"));
        }
        let link = Link::new(url, &self.sentinels.0, self.answer)
            .map_err(|error| unavailable(Cause(error)))?;
        check_server(&link).await?;
        library::load(&link).await.map_err(Failure::of_read)?;
        let store = RedisStore {
            link,
            keys: Keys {
                prefix: self.prefix,
            },
            limits: self.limits,
            answer: self.answer,
            seen: Seen::new(),
        };
        store.set_limits().await?;
        Ok(store)
    }
}

/// What Lua can count exactly.
const MOST: u64 = 1 << 53;

fn count(limit: NonZeroUsize) -> u64 {
    u64::try_from(limit.get()).map_or(MOST, |limit| limit.min(MOST))
}

async fn check_server(link: &Link) -> Result<(), StoreError> {
    let server: String = ask(link, "server").await?;
    let version = field(&server, "redis_version").unwrap_or("0");
    let major = version.split('.').next().unwrap_or_default();
    if major.parse().is_ok_and(|major: u64| major < 7) {
        let why = format!("Redis is of version {version}, and 7 or later is needed");
        return Err(unavailable(why));
    }
    let cluster: String = ask(link, "cluster").await?;
    if field(&cluster, "cluster_enabled") == Some("1") {
        let why = "Redis is a node of a cluster, and its keys would be spread over several";
        return Err(unavailable(why));
    }
    Ok(())
}

async fn ask<T: FromRedisValue>(link: &Link, section: &str) -> Result<T, StoreError> {
    let mut info = cmd("INFO");
    info.arg(section);
    let answer = link.send(Request::Cmd(&info)).await;
    answer.map_err(Failure::of_read)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
