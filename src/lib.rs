#![doc = "Server-Sent Events for Tower, axum and actix-web."]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "actix")]
mod actix;
#[cfg(feature = "axum")]
mod axum;
mod connection;
mod event;
mod head;
mod hub;
mod last_event_id;
mod layer;
mod sse;
pub mod store;
mod subscription;
mod sync;
mod topic_name;
mod wire;

pub use connection::StreamFailed;
pub use event::{
    DecodeError, EncodeError, Event, EventId, EventName, Gap, GapReason, IntoEvent, InvalidEventId,
    InvalidEventName,
};
pub use http::{self, StatusCode};
pub use hub::{Hub, IntoTopicName, PublishError, PublishErrorKind, Topic};
pub use last_event_id::LastEventId;
pub use layer::{
    Authorize, Denial, Grant, LayerBody, RequestView, ResponseFuture, SseLayer, SseService,
};
pub use sse::{EventSource, Sse, SseBody};
pub use subscription::{Start, Subscription};
pub use topic_name::{InvalidTopicName, TopicName};
pub use wire::{DecodedEvent, Decoder, EventTooLarge};

#[cfg(feature = "actix")]
pub use actix::{ActixBody, SseMiddleware};
