//! Server-Sent Events for Tower, axum and actix-web.
//!
//! - [`Sse`] makes a response of any stream of events, and any `Serialize` value is one.
//! - [`SseLayer`] is the policy of a route: headers, heartbeat, reconnection time, authorization,
//!   limits, and how long a stream lives. With [`SseLayer::resumable`] it records the streams of others,
//!   so that a client comes back to the same response.
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
//! Beside the application's events a client may read four more, each with one line of JSON. The first
//! three are those of a [`Subscription`] and of a [recorded](Resumable) response, and have an id, but for
//! a last one to a client that has no position yet, and for those of several gaps that others follow at
//! once; layers may add the last two to any stream:
//!
//! | event | data | when |
//! |---|---|---|
//! | `sse.open` | `{}` | first, where there is nothing to send yet, so that a client that drops now resumes from here; `{"resumable":false}` where a [recorded](Resumable) response goes on without its record |
//! | `sse.gap` | `{"topic":"..","reason":"..","missed":n}` | before the event behind a [gap](GapReason); `topic` where several are followed, `missed` where it is known |
//! | `sse.bye` | `{"reason":".."}` | last, where the server ends a stream that would go on: `busy`, `lagged`, `unavailable`, or what the [layer](SseLayer#how-a-stream-ends) says; and of a [recorded](Resumable) response that is not whole: `cancelled`, `failed`, `lost` |
//!
//! | `sse.heartbeat` | `{}` | after silence, where a layer [says so](SseLayer::heartbeat_event); without an id, so that it moves no position |
//!
//! Clients that do not listen for them never see them.
//!
//! # Traces
//!
//! A layer has each stream polled in a span of its own, `sse`, at the level `INFO` and with the target
//! `tower_sse::stream`. Its parent is the span that the request was in.
//!
//! | field | what it is |
//! |---|---|
//! | `id` | random, 16 hexadecimal digits |
//! | `route` | the layer's [name](SseLayer::name); else, in actix-web, the pattern of the route; else the path of the request, escaped and cut, and never its query |
//! | `subject` | that of the [grant](Grant::subject), escaped and cut, if the layer [allows it](SseLayer::trace_subject) |
//! | `resume` | what became of the client's last event id, of a [`Subscription`]: `new`, `resumed`, `gap (evicted)` and so on |
//!
//! The end of a stream is one event in it at the level `DEBUG`, since streams end all the time, with the
//! [reason](EndReason), the `events`, the `bytes` and the `seconds` that it was open. A failure is an
//! event at `ERROR` besides. Where the span is not listened to, it is not made.
//!
//! [`SseLayer::on_close`] tells the application the same.
//!
//! # Features
//!
//! - `axum`: [`Sse`] and [`Stop`] are an `IntoResponse`; [`LastEventId`] and [`Grant`] are extractors.
//! - `actix`: [`Sse`] and [`Stop`] are a `Responder`, [`SseLayer`] a `Transform`; the same extractors.
//! - `tickets`: `Tickets`, a grant as signed text for the query of a browser's `EventSource`.
//! - `file`: `store::FileStore`, a durable store in one file.
//! - `nats`: `store::NatsStore`, a log on NATS JetStream that several processes share.
//! - `metrics`: figures of all streams, see below.
//! - `postgres`: `store::PostgresStore`, the same on Postgres, and an outbox.
//! - `redis`: `store::RedisStore`, the same on Redis Streams.
//! - `contract`: the suite that is the contract of a store.
//!
//! Streams have to be polled within a Tokio runtime, which both frameworks do.
//!
//! # Metrics
//!
//! With the feature `metrics` layers tell the recorder of the facade [`metrics`] what streams do. Which
//! recorder that is, is for the application to say, before the first stream is opened.
//!
//! | name | type | unit | labels | what it is |
//! |---|---|---|---|---|
//! | `tower_sse_streams_open` | gauge | streams | `route` | that are open |
//! | `tower_sse_streams_total` | counter | streams | `route` | that were opened |
//! | `tower_sse_ends_total` | counter | streams | `route`, `reason` | that have ended; the reasons are those of [`EndReason`], `stalled` among them |
//! | `tower_sse_stream_duration_seconds` | histogram | seconds | `route` | how long those that have ended were open |
//! | `tower_sse_events_total` | counter | events | `route` | of the application that were given to servers |
//! | `tower_sse_bytes_total` | counter | bytes | `route` | of bodies that were given to servers |
//! | `tower_sse_heartbeats_total` | counter | heartbeats | `route` | that were given to servers |
//! | `tower_sse_resumes_total` | counter | streams | `route`, `outcome` | of [`Subscription`]s, by what became of the last event id: `new`, `resumed`, `gap` |
//! | `tower_sse_gaps_total` | counter | gaps | `route`, `reason` | that clients were told of; the reasons are those of [`GapReason`] |
//! | `tower_sse_replay_duration_seconds` | histogram | seconds | `route` | from when a client came back to when it was sent all that there was |
//! | `tower_sse_replay_events` | histogram | events | `route` | that it was sent in this time |
//! | `tower_sse_replay_wait_seconds` | histogram | seconds | | that reads of history waited for a turn, those that had to wait |
//! | `tower_sse_refusals_total` | counter | requests | `route`, `reason` | that were answered without their handler: `denied`, `undecided`, `expired`, `limit`, `draining`, `not-acceptable`; and those that came back to a [recorded](Resumable) response of which nothing is left (`ended`), which is not there (`unknown`), or whose store does not answer (`unavailable`) |
//!
//! `route` is the layer's [name](SseLayer::name), or in actix-web the pattern of the route, and else
//! empty: a path is of the client's choosing. Subjects and topics are no labels.
//!
//! Nothing is recorded for each event. What a stream has counted is added once in a heartbeat or write
//! stall, after each MiB, and at its end. Where two layers meet, the inner one counts the stream. What is
//! counted costs some 190 bytes for each open stream.
//!
//! [`metrics`]: https://docs.rs/metrics
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
mod meter;
mod millis;
mod recording;
mod sent;
mod socket;
mod sse;
mod stop;
pub mod store;
mod subscription;
mod sync;
mod topic_name;
mod waker_id;
mod wire;

pub use connection::StreamFailed;
pub use event::{
    DecodeError, EncodeError, EndReason, Event, EventId, EventName, Gap, GapReason, IntoEvent,
    InvalidEventId, InvalidEventName,
};
pub use http::{self, StatusCode};
pub use hub::{Hub, PublishError, PublishErrorKind, Topic};
pub use last_event_id::{LastEventId, ResumeOutcome};
pub use layer::{
    Authorize, Closed, Denial, Drain, Grant, LayerBody, Limit, RequestView, ResponseFuture,
    Resumable, Revocations, Secret, SseLayer, SseService, TokenFinder, TopicDenied,
};
#[cfg(feature = "tickets")]
pub use layer::{InvalidKey, InvalidTicket, IssueError, Tickets};
pub use recording::{Leaving, StoreFailure};
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
