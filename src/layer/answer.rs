//! Answers that the layer gives instead of the handler.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    Limit,
    accept::names_event_stream,
    authorize::{Denial, Reason},
};
use crate::{
    event::{EndReason, Event, busy, bye},
    head,
    recording::{ENDED, unknown},
    stop::Stop,
};

/// An answer that is no stream.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

impl Answer {
    fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                ),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ],
            body: text.into(),
        }
    }

    /// To a client that should not come back.
    pub(super) fn stop() -> Self {
        let stop = Stop.into_http_response::<()>();
        Self {
            status: stop.status(),
            headers: stop
                .headers()
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body: Bytes::new(),
        }
    }

    /// To a denied request.
    pub(super) fn denied(denial: Denial, accept: Option<&[u8]>, retry: Duration) -> Self {
        match denial.0 {
            Reason::Refused {
                status,
                text,
                headers,
            } => {
                let mut answer = match status {
                    StatusCode::NO_CONTENT => Self::stop(),
                    _ => Self::text(status, text),
                };
                answer.headers.extend(headers);
                answer
            }
            Reason::Undecided(cause) => {
                let cause = &*cause as &dyn std::error::Error;
                tracing::error!(error = cause, "authorization could not be decided");
                Self::busy(StatusCode::SERVICE_UNAVAILABLE, accept, retry)
            }
        }
    }

    fn busy(status: StatusCode, accept: Option<&[u8]>, retry: Duration) -> Self {
        Self::later(status, busy(), accept, retry)
    }

    /// To a client that should come back later.
    ///
    /// An `EventSource` takes any status but 200 for final, so one that asks for an event stream gets
    /// one, whose only event says when to come back.
    fn later(status: StatusCode, bye: Event, accept: Option<&[u8]>, retry: Duration) -> Self {
        if names_event_stream(accept) {
            return Self::bye(bye, retry);
        }
        let mut answer = Self::text(status, "try again later\n");
        let seconds = retry.as_secs().max(1);
        answer.headers.push((header::RETRY_AFTER, seconds.into()));
        answer
    }

    /// An event stream whose only event is `bye`, which says why, and when to come back.
    pub(super) fn bye(bye: Event, retry: Duration) -> Self {
        Self::events(&bye.retry(retry))
    }

    /// An event stream of one event.
    fn events(event: &Event) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static(head::EVENT_STREAM),
                ),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ],
            body: event.encode(),
        }
    }

    /// To a client whose response is not here, for whatever reason: always the same bytes.
    pub(super) fn unknown() -> Self {
        Self::events(&unknown().id_text(ENDED.into()))
    }

    /// To a client whose response cannot be looked for at the moment.
    pub(super) fn unavailable(accept: Option<&[u8]>, retry: Duration) -> Self {
        Self::later(
            StatusCode::SERVICE_UNAVAILABLE,
            bye(EndReason::Unavailable),
            accept,
            retry,
        )
    }

    /// To a request beyond a limit.
    pub(super) fn beyond(limit: &Limit, accept: Option<&[u8]>, retry: Duration) -> Self {
        let status = match limit.is_total() {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::TOO_MANY_REQUESTS,
        };
        Self::busy(status, accept, retry)
    }

    /// To a request whose grant ends before it begins.
    pub(super) fn expired() -> Self {
        Self::text(StatusCode::UNAUTHORIZED, "what grants this has expired\n")
    }

    pub(super) fn not_acceptable() -> Self {
        Self::text(
            StatusCode::NOT_ACCEPTABLE,
            "only text/event-stream is served here\n",
        )
    }
}
