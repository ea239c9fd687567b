//! Responses and extractors for axum.

use std::convert::Infallible;

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, request::Parts};

use crate::{
    last_event_id::LastEventId,
    layer::{Grant, TopicDenied},
    sse::Sse,
    stop::Stop,
    subscription::InvalidTopics,
    topic_name::InvalidTopicName,
};

impl<S: Send + 'static> IntoResponse for Sse<S> {
    fn into_response(self) -> Response {
        self.into_http_response().map(Body::new)
    }
}

impl IntoResponse for Stop {
    fn into_response(self) -> Response {
        self.into_http_response()
    }
}

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let header = parts.headers.get_all("last-event-id").iter();
        Ok(Self::find(
            header.map(|value| value.as_bytes()),
            parts.uri.query(),
        ))
    }
}

impl<S: Sync> FromRequestParts<S> for Grant {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!("a `Grant` was asked for on a route without an authorization hook");
            StatusCode::INTERNAL_SERVER_ERROR
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Grant {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

impl IntoResponse for InvalidTopicName {
    fn into_response(self) -> Response {
        no_store(StatusCode::NOT_FOUND)
    }
}

impl IntoResponse for InvalidTopics {
    fn into_response(self) -> Response {
        no_store(StatusCode::BAD_REQUEST)
    }
}

impl IntoResponse for TopicDenied {
    fn into_response(self) -> Response {
        no_store(StatusCode::FORBIDDEN)
    }
}

fn no_store(status: StatusCode) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")]).into_response()
}
