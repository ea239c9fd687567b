//! The policy of a route.

mod accept;
mod answer;
mod authorize;
mod body;
mod request;
mod service;

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use crate::{
    connection::{Decoration, Settings},
    head::{self, Headers},
    store::BoxFuture,
};

pub(crate) use answer::Answer;
use authorize::DynAuthorize;
pub use authorize::{Authorize, Denial, Grant, Secret, TokenFinder, TopicDenied};
#[cfg(feature = "tickets")]
pub use authorize::{InvalidKey, InvalidTicket, IssueError, Tickets};
pub use body::LayerBody;
pub use request::RequestView;
pub use service::{ResponseFuture, SseService};

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
/// A stream that comes with a `Content-Encoding` gets the headers only.
///
/// The [hook](Self::authorize) acts on every request that reaches the layer, so a layer with a hook
/// belongs on the stream's route: with axum that is `route_layer`. Where two layers meet, the inner
/// one decorates the stream, and the outer one adds its hook.
#[derive(Clone)]
#[must_use]
pub struct SseLayer {
    /// Shared, since servers clone their services for every connection, and more often.
    policy: Arc<Policy>,
}

#[derive(Clone)]
struct Policy {
    heartbeat: Option<Duration>,
    retry: (Duration, Duration),
    strict_accept: bool,
    hook: Option<Arc<dyn DynAuthorize>>,
}

impl SseLayer {
    /// Makes a layer with a heartbeat after 15 s of silence, a reconnection time between 2 and 4 s,
    /// and no hook.
    pub fn new() -> Self {
        let policy = Policy {
            heartbeat: Some(Duration::from_secs(15)),
            retry: (Duration::from_secs(2), Duration::from_secs(4)),
            strict_accept: false,
            hook: None,
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

    /// Answers `406` to a request whose `Accept` rules an event stream out. Without this the header is
    /// not looked at.
    pub fn strict_accept(self) -> Self {
        self.with(|policy| policy.strict_accept = true)
    }

    fn retry_time(&self) -> Duration {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (start, end) = self.policy.retry;
        Duration::from_millis(fastrand::u64(millis(start)..=millis(end)))
    }

    /// What becomes of the body of an event stream that passes.
    ///
    /// `settings` are those that the response carries: it is ours, or a layer further in has seen it.
    pub(crate) fn treat(
        &self,
        headers: &impl Headers,
        is_head: bool,
        settings: Option<&Settings>,
    ) -> Treatment {
        let fill = |settings: &Settings| {
            settings.fill(Decoration {
                heartbeat: self.policy.heartbeat,
                retry: Some(self.retry_time()),
            });
        };
        match settings {
            _ if is_head => Treatment::Head,
            Some(settings) => {
                fill(settings);
                Treatment::Pass
            }
            None if head::is_identity(headers) => {
                let settings = Settings::default();
                fill(&settings);
                Treatment::Decorate(settings)
            }
            None => Treatment::Pass,
        }
    }

    /// What is to be settled before the handler runs.
    ///
    /// `view` is only called where there is a hook.
    pub(crate) fn entry(
        &self,
        method: &str,
        accept: Option<&[u8]>,
        view: impl FnOnce() -> RequestView,
    ) -> Entry {
        if method == "OPTIONS" {
            return Entry::Open;
        }
        if self.policy.strict_accept && !accept::allows_event_stream(accept) {
            return Entry::Refused(Answer::not_acceptable());
        }
        let Some(hook) = &self.policy.hook else {
            return Entry::Open;
        };
        let decision = Arc::clone(hook).authorize(view());
        let (accept, retry) = (accept.map(<[u8]>::to_vec), self.retry_time());
        Entry::Asked(Box::pin(async move {
            decision
                .await
                .map_err(|denial| Answer::denied(denial, accept.as_deref(), retry))
        }))
    }
}

/// What becomes of a body.
pub(crate) enum Treatment {
    Pass,
    /// It is not sent, and so never polled: nothing is subscribed.
    Head,
    /// It is wrapped, and the response carries these on, so that no layer wraps it again.
    Decorate(Settings),
}

/// The way to the handler.
pub(crate) enum Entry {
    Open,
    Refused(Answer),
    /// The hook was asked.
    Asked(BoxFuture<'static, Result<Grant, Answer>>),
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
            .field("retry", &self.policy.retry)
            .field("strict_accept", &self.policy.strict_accept)
            .field("authorize", &self.policy.hook.is_some())
            .finish()
    }
}
