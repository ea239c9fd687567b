//! Settings, and the first connection.

use std::{fmt, num::NonZeroUsize, time::Duration};

use async_nats::{ConnectErrorKind, ConnectOptions, ServerAddr};

use super::{
    Core, Limits, NatsStore, Seen,
    failure::Failure,
    link::{Link, is_stream_name},
};
use crate::millis::millis;
use crate::store::{StoreError, error::unavailable};

/// The settings of a [`NatsStore`].
///
/// Those of what a topic retains bound what this store reads, so they are the same in all processes.
/// Those of the stream hold from when it is made.
#[derive(Clone)]
#[must_use]
pub struct NatsOptions {
    limits: Limits,
    total_bytes: u64,
    stream: String,
    replicas: usize,
    answer: Duration,
    credentials: Option<String>,
}

impl NatsOptions {
    pub(super) fn new() -> Self {
        Self {
            limits: Limits {
                events: 10_000,
                bytes: 16 * 1024 * 1024,
                age: None,
            },
            total_bytes: 1024 * 1024 * 1024,
            stream: "tower-sse".into(),
            replicas: 1,
            answer: Duration::from_secs(5),
            credentials: None,
        }
    }

    /// Sets how many events of a topic are read at most.
    pub fn max_events(mut self, events: NonZeroUsize) -> Self {
        self.limits.events = count(events);
        self
    }

    /// Sets how many bytes of names and data of a topic are read at most. A larger record is refused.
    pub fn max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.limits.bytes = count(bytes);
        self
    }

    /// Sets the age from which an event is no longer read.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.limits.age = Some(millis(age));
        self
    }

    /// Sets how large the stream gets, as NATS counts it, before its oldest messages go. NATS refuses to
    /// make a stream that is larger than what it has left.
    pub fn max_total_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.total_bytes = count(bytes);
        self
    }

    /// Sets the name of the stream, of `A-Z a-z 0-9 - _`, which its subjects begin with.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = name.into();
        self
    }

    /// Sets how many servers of a cluster keep the stream.
    pub fn replicas(mut self, replicas: NonZeroUsize) -> Self {
        self.replicas = replicas.get();
        self
    }

    /// Sets how long to wait for an answer before it is taken for lost.
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer = timeout;
        self
    }

    /// Sets the credentials to connect with: the text of a `.creds` file.
    pub fn credentials(mut self, credentials: impl Into<String>) -> Self {
        self.credentials = Some(credentials.into());
        self
    }

    /// Connects to the NATS at `url`, or at one of several addresses with commas between them, and
    /// makes the stream where there is none. A user without a password is a token.
    ///
    /// # Errors
    ///
    /// When NATS does not answer or refuses, or has no JetStream, and when an address or the name of
    /// the stream is none.
    pub async fn connect(self, url: &str) -> Result<NatsStore, StoreError> {
        if !is_stream_name(&self.stream) {
            return Err(unavailable(
                "the name of the stream has to be of `A-Z a-z 0-9 - _`",
            ));
        }
        let mut options = ConnectOptions::new()
            .connection_timeout(self.answer)
            .request_timeout(Some(self.answer))
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(|attempt| {
                let doublings = u32::try_from(attempt).unwrap_or(u32::MAX).min(6);
                Duration::from_millis(15 << doublings)
            });
        if let Some(credentials) = &self.credentials {
            options = options.credentials(credentials).map_err(unavailable)?;
        }
        let addresses: Vec<ServerAddr> = url
            .split(',')
            .map(|address| address.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| no_address())?;
        // The client crate leaves them where they are.
        let named = addresses.iter().find_map(|address| {
            let name = decoded(address.username()?);
            Some((name, address.password().map(decoded)))
        });
        options = match named {
            Some((user, Some(password))) => options.user_and_password(user, password),
            Some((token, None)) => options.token(token),
            None => options,
        };
        let connecting = Box::pin(options.connect(&addresses[..]));
        let client = connecting.await.map_err(|error| match error.kind() {
            ConnectErrorKind::ServerParse => no_address(),
            _ => unavailable(error),
        })?;
        let max_bytes = i64::try_from(self.total_bytes).unwrap_or(i64::MAX);
        let link = Link::new(client, self.stream, self.replicas, max_bytes, self.answer);
        link.shape().await.map_err(Failure::of_read)?;
        Ok(NatsStore::over(Core {
            link,
            limits: self.limits,
            seen: Seen::new(),
        }))
    }
}

/// What the client crate says of an address that is none may quote a password in it.
fn no_address() -> StoreError {
    unavailable("not an address as nats://host:port")
}

/// A part of an address, with its `%xx` read.
fn decoded(part: &str) -> String {
    let form = part
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    let mut pairs = form_urlencoded::parse(form.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(part, _)| part.into())
}

fn count(limit: NonZeroUsize) -> u64 {
    u64::try_from(limit.get()).unwrap_or(u64::MAX)
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("stream", &self.stream)
            .field("limits", &self.limits)
            .field("total_bytes", &self.total_bytes)
            .field("replicas", &self.replicas)
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}
