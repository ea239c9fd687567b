//! What is counted rather than timed: allocations.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use futures_util::{FutureExt, StreamExt, stream};
use http::{Request, Response};
use http_body::Body;
use serde::Serialize;
use tower::{Layer, ServiceExt, service_fn};
use tower_sse::{
    Event, EventId, Hub, LastEventId, LayerBody, Resumable, Sse, SseBody, SseLayer, Start,
    TopicName,
    store::{EventStore, MemoryStore, Read, ReadFrom},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Update {
    Metrics {
        cpu: f64,
        host: &'static str,
        labels: [&'static str; 4],
    },
}

const UPDATE: Update = Update::Metrics {
    cpu: 12.5,
    host: "server-one.example",
    labels: [
        "a label",
        "another label",
        "a third label",
        "a fourth label",
    ],
};

type Connection = Pin<Box<LayerBody<SseBody>>>;

/// A client behind the layer, with its heartbeat.
async fn connect(hub: &Hub) -> Connection {
    let subscription = hub
        .subscribe("topic", LastEventId::Absent)
        .start(Start::Live);
    let response = Sse::new(subscription).into_http_response();
    let mut response = Some(response);
    let handler = service_fn(move |_: Request<()>| {
        let response: Response<_> = response.take().unwrap();
        async { Ok::<_, std::convert::Infallible>(response) }
    });
    let service = SseLayer::new().layer(Cloned(handler));
    Box::pin(service.oneshot(Request::new(())).await.unwrap().into_body())
}

/// A handler for one request; the layer asks for a clone but does not use it without a hook.
struct Cloned<S>(S);

impl<S> Clone for Cloned<S> {
    fn clone(&self) -> Self {
        unreachable!("there is no hook")
    }
}

impl<S: tower::Service<Request<()>>> tower::Service<Request<()>> for Cloned<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> S::Future {
        self.0.call(request)
    }
}

/// Polls as a server does, until nothing is left, and returns how many bytes came.
fn drain<B>(body: &mut Pin<Box<B>>) -> usize
where
    B: Body<Data = bytes::Bytes>,
{
    let cx = &mut Context::from_waker(Waker::noop());
    let mut bytes = 0;
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(cx) {
        bytes += frame.into_data().map_or(0, |data| data.len());
    }
    bytes
}

#[tokio::test]
async fn clients_that_get_an_event_allocate_once_for_all_of_them() {
    let hub = Hub::new();
    let topic = hub.topic::<Update>("topic").unwrap();
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(connect(&hub).await);
    }
    // The first event brings the reconnection time along, and every client its timer and its slot.
    for round in 0..10 {
        topic.publish(&UPDATE).await.unwrap();
        // The reader runs on this thread, and only here.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let mut bytes = Vec::with_capacity(clients.len());
        let counted = measure(|| bytes.extend(clients.iter_mut().map(drain)));
        if round >= 2 {
            assert!(bytes.iter().all(|bytes| *bytes > 100), "{bytes:?}");
            // What counts those who share the block.
            assert_eq!(counted.count_total, 1, "in round {round}");
        }
    }
}

#[test]
fn a_hub_makes_the_block_of_an_event_with_one_allocation() {
    const EVENTS: u64 = 200;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().build().unwrap();
    let store = Arc::new(MemoryStore::new());
    let hub = Hub::with_store(Arc::clone(&store));
    let (name, topic) = (TopicName::from_static("topic"), hub.topic("topic").unwrap());
    let mut client = runtime.block_on(connect(&hub));
    let let_the_reader_run = async || {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(async {
        drain(&mut client);
        let_the_reader_run().await;
        drain(&mut client);
        let updates: Vec<_> = (0..EVENTS).map(|_| UPDATE).collect();
        topic.publish_all(&updates).await.unwrap();
        // From now on the store shares its texts.
        let read = store.read(&name, ReadFrom::Oldest, NonZeroUsize::MAX).await;
        assert!(matches!(read.unwrap(), Read::Page(page) if page.records.len() == 200));
    });
    let counted = measure(|| runtime.block_on(let_the_reader_run()));
    // Beside the blocks there are the page and the window.
    let blocks = EVENTS..EVENTS + EVENTS / 4;
    assert!(blocks.contains(&counted.count_total), "{counted:?}");
    let _entered = runtime.enter();
    assert!(drain(&mut client) > 100 * 200);
}

#[test]
fn an_event_is_encoded_with_one_allocation() {
    let mut id = None;
    assert_eq!(
        measure(|| id = Some(EventId::new("9f2c61d0a4-1234567890").unwrap())).count_total,
        0
    );
    let id = id.unwrap();
    // The thread keeps the buffer that JSON is written to.
    drop(Event::json(&UPDATE));
    let (mut made, mut encoded) = (None, None);
    assert_eq!(
        measure(|| made = Some(Event::json(&UPDATE).unwrap())).count_total,
        1
    );
    let event = made.unwrap().id(id);
    assert_eq!(measure(|| encoded = Some(event.encode())).count_total, 1);
    assert!(
        encoded
            .unwrap()
            .starts_with(b"event: metrics\ndata: {\"cpu\"")
    );

    let mut body = Box::pin(
        Sse::new(stream::iter([UPDATE]))
            .into_http_response()
            .into_body(),
    );
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(body.as_mut().poll_frame(cx).is_ready(), "the comment");
    let mut frame = None;
    assert_eq!(
        measure(|| frame = Some(body.as_mut().poll_frame(cx))).count_total,
        1
    );
    assert!(matches!(frame, Some(Poll::Ready(Some(Ok(frame)))) if frame.is_data()));
}

#[tokio::test]
async fn an_idle_client_takes_a_few_hundred_bytes() {
    const CLIENTS: usize = 10_000;
    let hub = Hub::new();
    let mut first = connect(&hub).await;
    for _ in 0..10 {
        drain(&mut first);
        tokio::task::yield_now().await;
    }
    let mut clients = Vec::with_capacity(CLIENTS);
    let counted = measure(|| {
        for _ in 0..CLIENTS {
            let mut client = connect(&hub).now_or_never().unwrap();
            drain(&mut client);
            clients.push(client);
        }
    });
    // With the heartbeat, and with what vectors keep in reserve.
    let each = counted.bytes_current / i64::try_from(CLIENTS).unwrap();
    // What is counted of each stream is counted there.
    let most = if cfg!(feature = "metrics") {
        496 + 208
    } else {
        496
    };
    assert!((1..=most).contains(&each), "{each} bytes");
}

/// Tasks of the crate that go with no stream: the reader of a store, and the clock of a runtime.
const OWN_TASKS: usize = 2;

#[test]
fn thousands_of_recorded_responses_take_little_memory_and_leave_nothing() {
    const STREAMS: usize = 5_000;
    const EVENTS: usize = 20;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let resumable = Resumable::new(MemoryStore::new()).without_subject();
    let service = SseLayer::new()
        .resumable(&resumable)
        .layer(service_fn(async |_: Request<()>| {
            let events = stream::iter((0..EVENTS).map(|_| UPDATE)).chain(stream::pending());
            Ok::<_, std::convert::Infallible>(Sse::new(events).into_http_response())
        }));
    let open = async || {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        let mut body = Box::pin(response.into_body());
        let mut bytes = 0;
        while bytes < 100 * EVENTS {
            bytes += drain(&mut body);
            tokio::task::yield_now().await;
        }
        body
    };
    let warm = runtime.block_on(open());
    let mut clients = Vec::with_capacity(STREAMS);
    let counted = measure(|| {
        runtime.block_on(async {
            for _ in 0..STREAMS {
                clients.push(open().await);
            }
        });
    });
    let each = counted.bytes_current / i64::try_from(STREAMS).unwrap();
    // What the docs say, and 20 events of 170 bytes, in the store and in the window.
    assert!((1..=16 * 1024).contains(&each), "{each} bytes");
    assert!(runtime.metrics().num_alive_tasks() > STREAMS);

    // Nobody listens, for a minute; and nobody asks, for ten.
    let left = measure(|| {
        runtime.block_on(async {
            clients.clear();
            drop(warm);
            tokio::time::sleep(Duration::from_secs(61)).await;
            let tasks = runtime.metrics().num_alive_tasks();
            assert!(tasks <= OWN_TASKS, "{tasks} tasks, {each} bytes");
            tokio::time::sleep(Duration::from_secs(601)).await;
            // Space is given back when something is appended.
            drop(open().await);
        });
    });
    let left = counted.bytes_current + left.bytes_current;
    assert!(left < counted.bytes_current / 20, "{left} bytes");
}
