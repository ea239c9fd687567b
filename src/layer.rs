//! The policy of a route.

mod accept;
mod answer;
mod authorize;
mod body;
mod closed;
mod drain;
mod entry;
mod life;
mod limit;
mod request;
mod resumable;
mod revoke;
mod route;
mod service;
mod watch;

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

pub(crate) use answer::Answer;
use authorize::DynAuthorize;
pub use authorize::{Authorize, Denial, Grant, Secret, TokenFinder, TopicDenied};
#[cfg(feature = "tickets")]
pub use authorize::{InvalidKey, InvalidTicket, IssueError, Tickets};
pub use body::LayerBody;
pub use closed::Closed;
pub use drain::Drain;
pub(crate) use entry::{Admission, Admitted, Entry, Treatment};
pub use limit::Limit;
pub use request::RequestView;
pub use resumable::Resumable;
pub use revoke::Revocations;
pub(crate) use route::Route;
pub use service::{ResponseFuture, SseService};
use watch::Seeing;

/// The policy of a route that sends events, as a Tower layer and, with the feature `actix`, as an
/// actix-web middleware.
///
/// It works on every `text/event-stream` response that passes: on [`Sse`](crate::Sse), on axum's own
/// `Sse`, on an actix `streaming` body, on a proxied upstream. Every other response passes untouched.
///
/// On an event stream it
///
/// - sends the head and a comment line at once,
/// - completes the headers: `Cache-Control: no-cache, no-transform`, `X-Accel-Buffering: no`, and
///   `Connection: keep-alive` on HTTP/1.1; what the handler has set stays; in actix-web also
///   `Content-Encoding: identity`, so that its `Compress` does not hold events back,
/// - sends a [heartbeat](Self::heartbeat) after silence, where a line of the stream starts,
/// - sends a [reconnection time](Self::retry) with the first event,
/// - answers `HEAD` with the headers.
///
/// - ends it when its client has taken nothing for [30 s](Self::write_stall).
///
/// A stream that comes with a `Content-Encoding` gets the headers, and its ends, only.
///
/// The [hook](Self::authorize) and the [limits](Self::limit) act on every request that reaches the
/// layer, so a layer that has them belongs on the stream's route: with axum that is `route_layer`.
/// Where two layers meet, the inner one decorates the stream, and the outer one adds its hook, its
/// limits and its ends.
///
/// # How a stream ends
///
/// A stream that the layer ends is over at that moment, whether or not its client takes anything: its
/// source is dropped, and what it counted for is given back. Bytes that the server has taken before
/// may still arrive. The client is told by an `sse.bye`, with the id that it had, and comes back:
///
/// | `reason` | when |
/// |---|---|
/// | `max-age` | the stream is [as old as it may get](Self::max_age) |
/// | `expired` | its grant has [expired](Grant::expires_at) |
/// | `revoked` | its grant was [revoked](Self::revocations), or not [given again](Self::authorize_again) |
/// | `draining` | the server [stops](Self::drain) |
/// | `stalled` | the client has taken nothing for [too long](Self::write_stall), and then did |
///
/// A foreign stream that is cut off within an event gets none, since that would complete the event.
/// No body can end a connection whose client takes nothing: that is what
/// [`tune_socket`](crate::tune_socket) is for.
#[derive(Clone)]
#[must_use]
pub struct SseLayer {
    /// Shared, since servers clone their services for every connection, and more often.
    policy: Arc<Policy>,
}

#[derive(Clone)]
struct Policy {
    heartbeat: Option<Duration>,
    heartbeat_event: bool,
    write_stall: Option<Duration>,
    retry: (Duration, Duration),
    max_age: Option<Duration>,
    strict_accept: bool,
    hook: Option<Arc<dyn DynAuthorize>>,
    authorize_again: Option<Duration>,
    revocations: Option<Revocations>,
    limits: Vec<Limit>,
    drain: Option<Drain>,
    resumable: Option<Resumable>,
    seeing: Seeing,
}

impl SseLayer {
    /// Makes a layer with a heartbeat after 15 s of silence, a reconnection time between 2 and 4 s, an
    /// end for clients that take nothing for 30 s, and no hook and no limits.
    pub fn new() -> Self {
        let policy = Policy {
            heartbeat: Some(Duration::from_secs(15)),
            heartbeat_event: false,
            write_stall: Some(Duration::from_secs(30)),
            retry: (Duration::from_secs(2), Duration::from_secs(4)),
            max_age: None,
            strict_accept: false,
            hook: None,
            authorize_again: None,
            revocations: None,
            limits: Vec::new(),
            drain: None,
            resumable: None,
            seeing: Seeing::default(),
        };
        Self {
            policy: Arc::new(policy),
        }
    }

    fn with(mut self, set: impl FnOnce(&mut Policy)) -> Self {
        set(Arc::make_mut(&mut self.policy));
        self
    }

    /// Sets after how much silence a heartbeat is sent; `None` for never.
    ///
    /// Proxies in front end a connection after 30 to 100 s of silence. Any duration is safe: less than
    /// a millisecond counts as one, and one beyond what a clock can hold never comes.
    pub fn heartbeat(self, after: impl Into<Option<Duration>>) -> Self {
        let after = after.into();
        self.with(|policy| policy.heartbeat = after)
    }

    /// Makes each heartbeat an event that a page can see, `sse.heartbeat` with the data `{}`, in place of
    /// a comment that it cannot.
    ///
    /// Where nothing has come for longer than a heartbeat, the page then knows that its connection is
    /// lost, before its browser does. The event has no id, so it moves no position. Within an event of a
    /// stream of others the heartbeat stays a comment.
    pub fn heartbeat_event(self) -> Self {
        self.with(|policy| policy.heartbeat_event = true)
    }

    /// Sets the range that each response takes its reconnection time from, at random, so that clients
    /// that were lost together do not come back together.
    ///
    /// Whole milliseconds, at least one. A stream that sets a time of its own keeps it.
    pub fn retry(self, range: RangeInclusive<Duration>) -> Self {
        let (start, end) = range.into_inner();
        self.with(|policy| policy.retry = (start, end.max(start)))
    }

    /// Sets the hook that decides about every request before its handler runs.
    ///
    /// What it grants is a [`Grant`] that the handler may extract. An `OPTIONS` request passes
    /// without being asked about, since a browser sends no credentials with a preflight.
    pub fn authorize(self, hook: impl Authorize) -> Self {
        self.with(|policy| policy.hook = Some(Arc::new(hook)))
    }

    /// Asks the hook again about each open stream every so often, with the same request.
    ///
    /// The stream ends when the hook refuses, or grants to another subject; what it says about the
    /// expiry counts from then on. While it cannot decide, or does not answer within that time, the
    /// stream goes on until its grant expires, and the cause is logged. The first time comes up to a
    /// tenth early, so that not all are asked about together.
    pub fn authorize_again(self, every: impl Into<Option<Duration>>) -> Self {
        let every = every.into();
        self.with(|policy| policy.authorize_again = every)
    }

    /// Lets grants of this layer's hook be taken back while their streams are open.
    pub fn revocations(self, revocations: &Revocations) -> Self {
        self.with(|policy| policy.revocations = Some(revocations.clone()))
    }

    /// Adds a limit to how many streams may be open at a time.
    ///
    /// A request beyond it is answered before its handler runs: with an event stream whose one event,
    /// `sse.bye` (`busy`), says when to come back, where `Accept` names `text/event-stream`, for a
    /// browser takes every other answer for final; else with `429`, or `503` for a total, and
    /// `Retry-After`. Limits that are not for each subject come before the hook.
    pub fn limit(self, limit: Limit) -> Self {
        self.with(|policy| policy.limits.push(limit))
    }

    /// Ends streams when the server stops.
    pub fn drain(self, drain: impl Into<Drain>) -> Self {
        let drain = drain.into();
        self.with(|policy| policy.drain = Some(drain))
    }

    /// Records the responses of the route, so that a client that has lost its connection comes back to
    /// the same one, and the handler is not run again; see [`Resumable`].
    ///
    /// It takes a [`Resumable`], or a store to be used with the defaults of one.
    pub fn resumable(self, resumable: impl Into<Resumable>) -> Self {
        let resumable = resumable.into();
        self.with(|policy| policy.resumable = Some(resumable))
    }

    /// Sets how old a stream may get; `None`, without an end, if not said otherwise.
    ///
    /// Each ends at between nine tenths of it and all of it, at random, so that those that were opened
    /// together do not come back together.
    pub fn max_age(self, age: impl Into<Option<Duration>>) -> Self {
        let age = age.into();
        self.with(|policy| policy.max_age = age)
    }

    /// Sets for how long a client may take nothing, heartbeats included; `None` for ever.
    ///
    /// It counts from when the server could not pass on what it was given: what fits into its buffers
    /// and those of the system counts as taken.
    pub fn write_stall(self, limit: impl Into<Option<Duration>>) -> Self {
        let limit = limit.into();
        self.with(|policy| policy.write_stall = limit)
    }

    /// Names the route in traces, metrics and reports.
    ///
    /// Without a name that is, in actix-web, the pattern of the route. A Tower layer does not know it, so
    /// there it is the path of the request in traces and reports, and nothing in metrics.
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.with(|policy| policy.seeing.name = Some(name.into()))
    }

    /// Calls `report` once about each stream of the layer, when it is over.
    ///
    /// It runs where the stream ends, which may be the clock of all streams: it must not block. It is
    /// called before what the stream counted for is given back, so before
    /// [`Drain::drained`](crate::Drain::drained) sees that none is left. A panic is caught and logged.
    ///
    /// ```
    /// use tower_sse::{Closed, SseLayer};
    ///
    /// let layer = SseLayer::new().on_close(|closed: &Closed| {
    ///     println!("{} after {} events", closed.reason(), closed.events());
    /// });
    /// # drop(layer);
    /// ```
    pub fn on_close(self, report: impl Fn(&Closed) + Send + Sync + 'static) -> Self {
        self.with(|policy| policy.seeing.on_close = Some(Arc::new(report)))
    }

    /// Writes the [subject](Grant::subject) of the grant to the span of each stream, escaped and cut.
    /// Without this it does not get into traces.
    pub fn trace_subject(self) -> Self {
        self.with(|policy| policy.seeing.traces_subject = true)
    }

    /// Answers `406` to a request whose `Accept` rules an event stream out. Without this the header is
    /// not looked at.
    pub fn strict_accept(self) -> Self {
        self.with(|policy| policy.strict_accept = true)
    }

    fn retry_time(&self) -> Duration {
        random_time(self.policy.retry)
    }
}

/// A time from a range, in whole milliseconds.
fn random_time((start, end): (Duration, Duration)) -> Duration {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(millis(start)..=millis(end)))
}

impl Default for SseLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SseLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseLayer")
            .field("heartbeat", &self.policy.heartbeat)
            .field("write_stall", &self.policy.write_stall)
            .field("retry", &self.policy.retry)
            .field("max_age", &self.policy.max_age)
            .field("strict_accept", &self.policy.strict_accept)
            .field("authorize", &self.policy.hook.is_some())
            .field("authorize_again", &self.policy.authorize_again)
            .field("limits", &self.policy.limits)
            .field("drain", &self.policy.drain)
            .field("resumable", &self.policy.resumable)
            .field("heartbeat_event", &self.policy.heartbeat_event)
            .field("seeing", &self.policy.seeing)
            .finish_non_exhaustive()
    }
}
