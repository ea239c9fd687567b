//! Grants that a query carries.

use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Grant;
use crate::{
    event::EventId,
    layer::RequestView,
    millis::{from_unix_millis, millis, unix_millis},
    subscription::NotBefore,
    topic_name::TopicName,
};

/// What is signed begins with this, so that a key that signs other things, too, makes no ticket of them.
const DOMAIN: &[u8] = b"tower-sse ticket 1\0";
const SIGNATURE: usize = 32;

/// The end of the ticket; the subject, the id, the end and the topics of the grant; the ids and the
/// time that it is not before. Times are in milliseconds since 1970.
///
/// A list, so that whoever knows fewer fields refuses the ticket instead of widening the grant.
type Content = (
    u64,
    Option<String>,
    Option<String>,
    Option<u64>,
    Option<Vec<String>>,
    Vec<String>,
    Option<u64>,
);

/// Makes tickets of grants, and grants of tickets.
///
/// A browser's `EventSource` sets no header, and a token in its URL would stand in every log on the
/// way. So a page asks for a ticket, with its token, and opens the stream with the ticket, which is
/// worth little soon after. The application makes it where it knows the grant:
///
/// ```
/// use tower_sse::{Denial, Grant, RequestView, SseLayer, Tickets};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let key = [7; 32]; // 32 random bytes that nobody else knows
/// let tickets = Tickets::new(key)?;
///
/// // In `POST /ticket`, which takes the token:
/// let ticket = tickets.issue(&Grant::new().subject("alice"))?;
///
/// // On the route of the stream:
/// let layer = SseLayer::new().authorize(move |request: RequestView| {
///     let ticket = request.query_param("ticket").unwrap_or_default();
///     let grant = tickets.verify_for(&ticket, &request);
///     async move { Ok(grant?) } // 401 if it is no good
/// });
/// # drop(layer);
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
///
/// A ticket carries the subject, the id, the expiry and the topics of the grant, and what it is
/// [not before](Grant::not_before). Not carried is what was [added to it](Grant::with): the hook adds
/// that again, and a handler must not take its absence for a permission.
///
/// It is signed with HMAC-SHA256, not encrypted: its bearer can read it. It is URL-safe text, and is
/// good for opening streams as often as its bearer likes until it [ends](Self::lifetime), after one
/// minute by default. A stream that it has opened goes on until the *grant* ends.
///
/// # Coming back
///
/// A browser comes back with the URL that it has, so with the old ticket, and is refused, which closes
/// its `EventSource`. The page then takes a new one, and says itself where it was:
///
/// ```js
/// let last = "";
/// async function open() {
///   const ticket = await (await fetch("/ticket", { method: "POST", headers })).text();
///   const source = new EventSource("/stream?" + new URLSearchParams({ ticket, lastEventId: last }));
///   source.onmessage = (event) => { last = event.lastEventId; };
///   source.onerror = () => {
///     if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000);
///   };
/// }
/// ```
///
/// The clocks of those who issue and of those who verify have to agree.
#[derive(Clone)]
#[must_use]
pub struct Tickets {
    /// The first one signs.
    keys: Vec<Hmac<Sha256>>,
    lifetime: Duration,
}

impl Tickets {
    /// The length of the shortest key, in bytes.
    pub const MIN_KEY_LEN: usize = 32;

    /// The length of the longest ticket, in bytes. Servers and proxies limit URLs, many to 8 KiB.
    pub const MAX_LEN: usize = 4096;

    /// Signs and verifies with this key: random bytes, the same on all processes.
    ///
    /// # Errors
    ///
    /// When it is shorter than 32 bytes.
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, InvalidKey> {
        let tickets = Self {
            keys: Vec::new(),
            lifetime: Duration::from_secs(60),
        };
        tickets.also(key)
    }

    /// Verifies with this key, too.
    ///
    /// To change the key, add the new one to all processes with this, then let it be the first one and
    /// add the old one, and drop that after the lifetime of a ticket.
    ///
    /// # Errors
    ///
    /// When it is shorter than 32 bytes.
    pub fn also(mut self, key: impl AsRef<[u8]>) -> Result<Self, InvalidKey> {
        let key = key.as_ref();
        if key.len() < Self::MIN_KEY_LEN {
            return Err(InvalidKey);
        }
        let key = Hmac::new_from_slice(key).map_err(|_| InvalidKey)?;
        self.keys.push(key);
        Ok(self)
    }

    /// Sets how long a ticket can be used, 60 s by default; never beyond the end of its grant.
    ///
    /// It ends with a whole millisecond.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Makes a ticket that is good for all paths.
    ///
    /// # Errors
    ///
    /// When the grant has ended, when it has a [rule](Grant::topics_where) for topics, which cannot be
    /// carried, and when the ticket would be longer than 4,096 bytes.
    pub fn issue(&self, grant: &Grant) -> Result<String, IssueError> {
        self.sign(grant, None, SystemTime::now())
    }

    /// Makes a ticket that is good for requests of one path only, as the hook sees it.
    ///
    /// In axum a hook within `Router::nest` sees a path without the prefix.
    ///
    /// # Errors
    ///
    /// Those of [`issue`](Self::issue).
    pub fn issue_for(&self, grant: &Grant, path: &str) -> Result<String, IssueError> {
        self.sign(grant, Some(path), SystemTime::now())
    }

    /// Makes the grant of a ticket that a request has shown, for all paths or for that of the request.
    ///
    /// What counts is when the request came. So a hook that is [asked
    /// again](crate::SseLayer::authorize_again) about an open stream finds its ticket as good as it was.
    ///
    /// # Errors
    ///
    /// When it is no ticket, none of ours, for another path, or had ended.
    pub fn verify_for(&self, ticket: &str, request: &RequestView) -> Result<Grant, InvalidTicket> {
        let paths = [None, Some(request.path())];
        self.read(ticket, &paths, request.came_at())
    }

    /// Makes the grant of a ticket for all paths, at this moment.
    ///
    /// # Errors
    ///
    /// When it is no ticket, none of ours, for one path, or has ended.
    pub fn verify(&self, ticket: &str) -> Result<Grant, InvalidTicket> {
        self.read(ticket, &[None], SystemTime::now())
    }

    fn sign(
        &self,
        grant: &Grant,
        path: Option<&str>,
        now: SystemTime,
    ) -> Result<String, IssueError> {
        if grant.expiry().is_some_and(|end| end <= now) {
            return Err(IssueError::Expired);
        }
        let topics = grant.named_topics().map_err(|_| IssueError::TopicRule)?;
        let own_end = now.checked_add(self.lifetime).map_or(u64::MAX, unix_millis);
        let end = grant.expiry().map(unix_millis);
        let (ids, times) = limits(grant);
        let content: Content = (
            end.map_or(own_end, |end| end.min(own_end)),
            grant.subject_name().map(str::to_owned),
            grant.id_text().map(str::to_owned),
            end,
            topics.map(|names| names.iter().map(TopicName::to_string).collect()),
            ids,
            times.into_iter().max(),
        );
        let content = serde_json::to_vec(&content).expect("numbers and texts can be written");

        let signature = signed(&self.keys[0], path, &content).finalize();
        let mut bytes = signature.into_bytes().to_vec();
        bytes.extend_from_slice(&content);
        let ticket = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match ticket.len() <= Self::MAX_LEN {
            true => Ok(ticket),
            false => Err(IssueError::TooLong),
        }
    }

    // Nothing of what a client sends is looked at before its signature holds.
    fn read(
        &self,
        ticket: &str,
        paths: &[Option<&str>],
        now: SystemTime,
    ) -> Result<Grant, InvalidTicket> {
        if ticket.len() > Self::MAX_LEN {
            return Err(InvalidTicket::Malformed);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(ticket);
        let bytes = bytes.map_err(|_| InvalidTicket::Malformed)?;
        let Some((signature, content)) = bytes.split_at_checked(SIGNATURE) else {
            return Err(InvalidTicket::Malformed);
        };
        let holds = |key, path| signed(key, path, content).verify_slice(signature).is_ok();
        let mut keys = self.keys.iter();
        if !keys.any(|key| paths.iter().any(|path| holds(key, *path))) {
            return Err(InvalidTicket::Forged);
        }
        let content = serde_json::from_slice(content).map_err(|_| InvalidTicket::Malformed)?;
        granted(content, now)
    }
}

fn granted(content: Content, now: SystemTime) -> Result<Grant, InvalidTicket> {
    let moment = |millis| from_unix_millis(millis).ok_or(InvalidTicket::Malformed);
    let (own_end, subject, id, end, topics, after, since) = content;
    if moment(own_end)? <= now {
        return Err(InvalidTicket::Expired);
    }
    let mut grant = Grant::new();
    if let Some(subject) = subject {
        grant = grant.subject(subject);
    }
    if let Some(id) = id {
        grant = grant.id(id);
    }
    if let Some(end) = end {
        grant = grant.expires_at(moment(end)?);
    }
    if let Some(topics) = topics {
        let names: Result<Vec<_>, _> = topics.iter().map(TopicName::new).collect();
        grant = grant.topics(names.map_err(|_| InvalidTicket::Malformed)?);
    }
    for id in after {
        let id = EventId::new(&id).map_err(|_| InvalidTicket::Malformed)?;
        grant = grant.not_before(NotBefore::Id(id));
    }
    if let Some(since) = since {
        grant = grant.not_before(NotBefore::Time(moment(since)?));
    }
    Ok(grant)
}

/// The ids and the times that a grant is not before; times rounded up, so that none is widened.
fn limits(grant: &Grant) -> (Vec<String>, Vec<u64>) {
    let (mut ids, mut times) = (Vec::new(), Vec::new());
    for limit in grant.limits() {
        match limit {
            NotBefore::Id(id) => ids.push(id.to_string()),
            NotBefore::Time(time) => {
                times.push(millis(time.duration_since(UNIX_EPOCH).unwrap_or_default()));
            }
        }
    }
    (ids, times)
}

fn signed(key: &Hmac<Sha256>, path: Option<&str>, content: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(DOMAIN);
    match path {
        None => mac.update(&[0]),
        Some(path) => {
            let len = u64::try_from(path.len()).unwrap_or(u64::MAX);
            mac.update(&[1]);
            mac.update(&len.to_be_bytes());
            mac.update(path.as_bytes());
        }
    }
    mac.update(content);
    mac
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("keys", &self.keys.len())
            .field("lifetime", &self.lifetime)
            .finish()
    }
}

/// The error of a key that is shorter than 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a key of {} bytes or more is needed",
            Tickets::MIN_KEY_LEN
        )
    }
}

impl Error for InvalidKey {}

/// Why a ticket was not issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssueError {
    /// The grant has ended.
    Expired,
    /// The grant decides about topics by a [rule](Grant::topics_where). Without it the ticket would be
    /// for more than the grant is.
    TopicRule,
    /// The ticket would be longer than 4,096 bytes.
    TooLong,
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the grant has ended",
            Self::TopicRule => "no ticket can carry a rule for topics",
            Self::TooLong => "the grant is too large for a ticket",
        })
    }
}

impl Error for IssueError {}

/// Why a ticket is no good.
///
/// With `?` in a hook it is a refusal with `401`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTicket {
    /// It is no ticket, or one of another version.
    Malformed,
    /// No key of ours has signed it as it is, or not for this path.
    Forged,
    /// It has ended.
    Expired,
}

impl fmt::Display for InvalidTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "this is no ticket",
            Self::Forged => "the ticket was not issued here, or not for this path",
            Self::Expired => "the ticket has ended",
        })
    }
}

impl Error for InvalidTicket {}

#[cfg(test)]
mod tests;
