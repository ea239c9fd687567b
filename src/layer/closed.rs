//! What the application is told of a stream that is over.

use std::{fmt, time::Duration};

use super::{Grant, route::Route};
use crate::{connection::Report, event::EndReason, last_event_id::ResumeOutcome};

/// A stream that is over, to [`SseLayer::on_close`](crate::SseLayer::on_close).
#[derive(Clone)]
pub struct Closed {
    pub(super) report: Report,
    pub(super) route: Option<Route>,
    pub(super) grant: Option<Grant>,
}

impl Closed {
    /// Why it has ended.
    #[must_use]
    pub fn reason(&self) -> EndReason {
        self.report.reason
    }

    /// How many events of the application the server was given, those of this crate not among them.
    ///
    /// Of a stream of others, those that were whole; 0 where it has a `Content-Encoding`.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.report.events
    }

    /// How many bytes of the body the server was given before the end, so without an `sse.bye`.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.report.bytes
    }

    /// How long it was open.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.report.duration
    }

    /// What became of the client's last event id, if the stream is a
    /// [`Subscription`](crate::Subscription) and that was found out before the end.
    #[must_use]
    pub fn resume(&self) -> Option<ResumeOutcome> {
        self.report.resume
    }

    /// The [name](crate::SseLayer::name) of the layer; else, in actix-web, the pattern of the route; else
    /// the path of the request, escaped and cut.
    #[must_use]
    pub fn route(&self) -> &str {
        self.route.as_ref().map_or("", Route::text)
    }

    /// What the hook of this layer has granted.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed")
            .field("reason", &self.reason())
            .field("events", &self.events())
            .field("bytes", &self.bytes())
            .field("duration", &self.duration())
            .field("resume", &self.resume())
            .field("route", &self.route())
            .field("grant", &self.grant)
            .finish()
    }
}
