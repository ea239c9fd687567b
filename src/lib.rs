//! Server-Sent Events for Tower, axum and actix-web.
//!
//! - [`Sse`] makes a response of any stream of events, and any `Serialize` value is one.
//! - [`SseLayer`] is the policy of a route: headers, heartbeat, reconnection time, authorization,
//!   limits, and how long a stream lives.
//! - [`Hub`] has topics to publish to and to follow, over a [store](store::EventStore); a
//!   [`Subscription`] gives a client that comes back every event that it missed, once and in order,
//!   and tells it when that cannot be.
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # mod example {
//! use axum::{Router, extract::State, routing::get};
//! use tower_sse::{Hub, LastEventId, Sse, SseLayer, Subscription};
//!
//! fn app(hub: Hub) -> Router {
//!     Router::new()
//!         .route("/api/metrics/stream", get(stream))
//!         .layer(SseLayer::new())
//!         .with_state(hub)
//! }
//!
//! async fn stream(State(hub): State<Hub>, last: LastEventId) -> Sse<Subscription> {
//!     Sse::new(hub.subscribe("metrics", last))
//! }
//! # }
//! ```
//!
//! # Events of ours
//!
//! Beside the application's events a client of a [`Subscription`] may read three more. Each has one
//! line of JSON and, but for a last one to a client that has no position yet, an id:
//!
//! | event | data | when |
//! |---|---|---|
//! | `sse.open` | `{}` | first, where there is nothing to send yet, so that a client that drops now resumes from here |
//! | `sse.gap` | `{"topic":"..","reason":"..","missed":n}` | before the event behind a [gap](GapReason); `topic` where several are followed, `missed` where it is known |
//! | `sse.bye` | `{"reason":".."}` | last, where the server ends a stream that would go on: `busy`, `lagged`, `unavailable`, or what the [layer](SseLayer#how-a-stream-ends) says |
//!
//! Clients that do not listen for them never see them.
//!
//! # Features
//!
//! - `axum`: [`Sse`] and [`Stop`] are an `IntoResponse`; [`LastEventId`] and [`Grant`] are extractors.
//! - `actix`: [`Sse`] and [`Stop`] are a `Responder`, [`SseLayer`] a `Transform`; the same extractors.
//! - `tickets`: `Tickets`, a grant as signed text for the query of a browser's `EventSource`.
//! - `file`: `store::FileStore`, a durable store in one file.
//! - `nats`: `store::NatsStore`, a log on NATS JetStream that several processes share.
//! - `postgres`: `store::PostgresStore`, the same on Postgres, and an outbox.
//! - `redis`: `store::RedisStore`, the same on Redis Streams.
//! - `contract`: the suite that is the contract of a store.
//!
//! Streams have to be polled within a Tokio runtime, which both frameworks do.
//!
//! # Sockets
//!
//! Nagle's algorithm is on by default in axum and in actix-web, and holds small events back for up to
//! 40 ms where several are under way; and a client that is gone without a word is noticed after many
//! minutes only. [`tune_socket`] sees to both.
//!
//! Given a `Router`, `axum::serve` copies its routes for every connection, which is kilobytes for an
//! idle client. With `app.into_make_service()` it does not.
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
mod millis;
mod socket;
mod sse;
mod stop;
pub mod store;
mod subscription;
mod sync;
mod topic_name;
mod waker_id;
mod wire;

pub use connection::{EndReason, StreamFailed};
pub use event::{
    DecodeError, EncodeError, Event, EventId, EventName, Gap, GapReason, IntoEvent, InvalidEventId,
    InvalidEventName,
};
pub use http::{self, StatusCode};
pub use hub::{Hub, PublishError, PublishErrorKind, Topic};
pub use last_event_id::LastEventId;
pub use layer::{
    Authorize, Denial, Drain, Grant, LayerBody, Limit, RequestView, ResponseFuture, Revocations,
    Secret, SseLayer, SseService, TokenFinder, TopicDenied,
};
#[cfg(feature = "tickets")]
pub use layer::{InvalidKey, InvalidTicket, IssueError, Tickets};
pub use socket::tune_socket;
pub use sse::{EventSource, Sse, SseBody};
pub use stop::Stop;
pub use subscription::{IntoTopicName, InvalidTopics, NotBefore, SlowClient, Start, Subscription};
pub use topic_name::{InvalidTopicName, TopicName};
pub use wire::{DecodedEvent, Decoder, EventTooLarge};

#[cfg(feature = "actix")]
pub use actix::{ActixBody, SseMiddleware, tune_actix_socket};

/// The code of the README compiles.
#[cfg(all(doctest, feature = "axum", feature = "actix"))]
#[doc = include_str!("../README.md")]
struct Readme;
