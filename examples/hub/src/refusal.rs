//! Answers that say in one line what is wrong.

use axum::response::{IntoResponse, Response};
use tower_sse::{
    InvalidTopicName, InvalidTopics, PublishError, PublishErrorKind, StatusCode,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
};

use crate::body::MAX_BODY_BYTES;

/// A status, and a line for people.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    line: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, line: impl Into<String>) -> Self {
        let line = line.into();
        Self { status, line }
    }

    pub(crate) fn bad_request(line: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, line)
    }

    pub(crate) fn body_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body has at most {MAX_BODY_BYTES} bytes, nothing was stored"),
        )
    }
}

impl From<InvalidTopicName> for Refusal {
    fn from(error: InvalidTopicName) -> Self {
        Self::new(StatusCode::NOT_FOUND, error.to_string())
    }
}

impl From<InvalidTopics> for Refusal {
    fn from(error: InvalidTopics) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        let (status, line) = match error.kind() {
            PublishErrorKind::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the event is larger than 1 MiB or than what the store takes, nothing was stored",
            ),
            PublishErrorKind::NotStored => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the store does not take it at the moment, nothing was stored",
            ),
            PublishErrorKind::OutcomeUnknown => (
                StatusCode::GATEWAY_TIMEOUT,
                "the store's answer was lost, the event may be stored",
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the event cannot be published, nothing was stored",
            ),
        };
        Self::new(status, line)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // What a client sent may be quoted in it, line breaks and all.
        let mut line = self.line.replace(char::is_control, " ");
        line.push('\n');
        let headers = [
            (CONTENT_TYPE, "text/plain; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
        ];
        (self.status, headers, line).into_response()
    }
}
