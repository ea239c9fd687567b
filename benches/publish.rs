//! What publishing costs beside many topics and many clients, and reading what was published.

#![allow(clippy::unwrap_used)]

#[path = "common/metrics.rs"]
mod metrics;

use std::{
    cell::Cell,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use http_body_util::BodyExt;
use hyper::body::Frame;
use memchr::memmem;
use metrics::{METRICS, Metrics};
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
};
use tower_sse::{Hub, LastEventId, Sse, SseBody, Start, Subscription, Topic, store::MemoryStore};

const TOPIC: &str = "metrics";
/// How many retained events are read.
const RETAINED: usize = 100_000;

fn main() {
    divan::Divan::default()
        .max_time(Duration::from_secs(2))
        .config_with_args()
        .main();
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

async fn publish(hub: &Hub, topic: &str) {
    let topic = hub.topic::<Metrics>(topic).unwrap();
    topic.publish(black_box(&METRICS)).await.unwrap();
}

/// Nobody follows; the other topics have an event each.
#[divan::bench(args = [0, 1_000, 100_000])]
fn beside_other_topics(bencher: Bencher, others: usize) {
    let (runtime, hub) = (runtime(), Hub::new());
    runtime.block_on(async {
        for number in 0..others {
            publish(&hub, &format!("other-{number}")).await;
        }
    });
    let topic = hub.topic::<Metrics>(TOPIC).unwrap();
    bencher.bench_local(|| {
        runtime
            .block_on(topic.publish(black_box(&METRICS)))
            .unwrap()
    });
}

/// Until publishing returns. The clients have got what came before, and wait.
#[divan::bench(args = [0, 1, 100, 10_000], sample_size = 1, sample_count = 1000)]
fn to_clients(bencher: Bencher, clients: usize) {
    let runtime = runtime();
    let site = Site::new(clients, &runtime);
    bencher
        .with_inputs(|| runtime.block_on(site.settle()))
        .bench_local_values(|()| runtime.block_on(site.publish()));
}

/// Until all clients have got the event, without any I/O.
#[divan::bench(args = [0, 1, 100, 10_000], sample_size = 1, sample_count = 1000)]
fn and_deliver(bencher: Bencher, clients: usize) {
    let runtime = runtime();
    let site = Site::new(clients, &runtime);
    bencher.bench_local(|| {
        runtime.block_on(async {
            site.publish().await;
            site.settle().await;
        });
    });
}

/// 100,000 retained events for one client, without any I/O. The speed is that of their JSON.
#[divan::bench(sample_size = 1)]
fn replay(bencher: Bencher) {
    let runtime = runtime();
    let retained = NonZeroUsize::new(RETAINED).unwrap();
    let bytes = NonZeroUsize::new(1 << 27).unwrap();
    let hub = Hub::with_store(MemoryStore::new().max_events(retained).max_bytes(bytes));
    runtime.block_on(async {
        for _ in 0..RETAINED {
            publish(&hub, TOPIC).await;
        }
    });
    let read = async || {
        let all = hub.subscribe(TOPIC, LastEventId::Absent).start(Start::All);
        let mut body = body(all);
        let mut read = 0;
        while read < RETAINED {
            read += events(body.frame().await.unwrap().unwrap());
        }
    };
    let json = serde_json::to_vec(&METRICS).unwrap();
    bencher
        .counter(BytesCount::new(RETAINED * json.len()))
        .bench_local(|| runtime.block_on(read()));
}

/// A topic with clients, each a task as in a server.
struct Site {
    topic: Topic<Metrics>,
    clients: usize,
    received: Arc<AtomicUsize>,
    published: Cell<usize>,
}

impl Site {
    fn new(clients: usize, runtime: &Runtime) -> Self {
        let hub = Hub::new();
        let received = Arc::new(AtomicUsize::new(0));
        for _ in 0..clients {
            let mut body = body(hub.subscribe(TOPIC, LastEventId::Absent));
            let received = Arc::clone(&received);
            runtime.spawn(async move {
                while let Some(Ok(frame)) = body.frame().await {
                    received.fetch_add(events(frame), Relaxed);
                }
            });
        }
        let site = Self {
            topic: hub.topic(TOPIC).unwrap(),
            clients,
            received,
            published: Cell::new(0),
        };
        runtime.block_on(async {
            site.publish().await;
            site.settle().await;
        });
        site
    }

    async fn publish(&self) {
        self.published.set(self.published.get() + 1);
        self.topic.publish(black_box(&METRICS)).await.unwrap();
    }

    /// Waits until all clients have got everything.
    async fn settle(&self) {
        while self.received.load(Relaxed) < self.clients * self.published.get() {
            yield_now().await;
        }
    }
}

fn body(subscription: Subscription) -> Pin<Box<SseBody>> {
    Box::pin(Sse::new(subscription).into_http_response().into_body())
}

/// How many events are in a piece, which has whole ones.
fn events(frame: Frame<Bytes>) -> usize {
    let bytes = frame.into_data().unwrap();
    memmem::find_iter(&bytes, b"\"at\":").count()
}
