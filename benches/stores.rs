//! What the stores cost: `cargo bench --all-features --bench stores`.
//!
//! Servers are started for the run, where they are installed. Without `--bench` all sizes are tiny.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{
    fs,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use servers::{Engine, Nats, Postgres, Redis, Server};
use tokio::{task::JoinSet, time::sleep};
use tower_sse::{
    Hub, LastEventId, TopicName,
    store::{
        Append, Appended, EventStore, FileStore, MemoryStore, NatsStore, NewRecord, PostgresStore,
        Read, ReadFrom, RedisStore, StoreError,
    },
};

const TOPIC: TopicName = TopicName::from_static("topic");
const PAGE: NonZeroUsize = NonZeroUsize::new(64 * 1024).unwrap();
const RETAINED: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
const BYTES: NonZeroUsize = NonZeroUsize::new(64 * 1024 * 1024).unwrap();

/// How long each is measured, and how many events are caught up with.
struct Sizes {
    time: Duration,
    events: usize,
}

fn event() -> NewRecord {
    NewRecord::event(None, "x".repeat(150))
}

/// Appends a second for so many publishers that wait for each answer.
async fn appends(store: &Arc<impl EventStore>, publishers: usize, time: Duration) -> f64 {
    let begun = Instant::now();
    let count = Arc::new(AtomicUsize::new(0));
    let mut all = JoinSet::new();
    for _ in 0..publishers {
        let (store, count) = (Arc::clone(store), Arc::clone(&count));
        all.spawn(async move {
            while begun.elapsed() < time {
                let appended = store.append(&TOPIC, Append::new([event()])).await.unwrap();
                assert!(matches!(appended, Appended::Stored(_)));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    all.join_all().await;
    count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// From before the publish on one hub to the event on another, at 200 a second: p50 and p99.
async fn deliveries(
    publisher: Arc<impl EventStore>,
    follower: Arc<impl EventStore>,
    time: Duration,
) -> (Duration, Duration) {
    let following = Hub::with_store(follower);
    let mut events = following.subscribe(&TOPIC, LastEventId::Absent).events();
    events.next().await.unwrap();
    let publishing = Hub::with_store(publisher).topic::<str>(TOPIC).unwrap();
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time || times.is_empty() {
        sleep(Duration::from_millis(5)).await;
        let published = Instant::now();
        let id = publishing.publish(&"x".repeat(150)).await.unwrap();
        let event = events.next().await.unwrap();
        assert_eq!(event.last_event_id(), Some(id.as_str()));
        times.push(published.elapsed());
    }
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Events a second, read page by page from the oldest.
async fn catch_up(store: &impl EventStore, events: usize) -> f64 {
    let batch = events.min(1000);
    for _ in 0..events / batch {
        let records = (0..batch).map(|_| event());
        let _ = store.append(&TOPIC, Append::new(records)).await.unwrap();
    }
    let begun = Instant::now();
    let mut read = 0;
    let mut from = ReadFrom::Oldest;
    loop {
        let Read::Page(page) = store.read(&TOPIC, from, PAGE).await.unwrap() else {
            panic!("nothing is evicted meanwhile");
        };
        read += page.records.len();
        from = ReadFrom::After(page.end());
        if page.end() == page.head {
            return read as f64 / begun.elapsed().as_secs_f64();
        }
    }
}

async fn measure<S: EventStore>(name: &str, sizes: &Sizes, store: Arc<S>, other: Arc<S>) {
    let one = appends(&store, 1, sizes.time).await;
    let many = appends(&store, 64, sizes.time).await;
    let (p50, p99) = deliveries(Arc::clone(&store), other, sizes.time).await;
    let caught_up = catch_up(&*store, sizes.events).await;
    println!(
        "| {name} | {one:.0} | {many:.0} | {} µs | {} µs | {caught_up:.0} |",
        p50.as_micros(),
        p99.as_micros()
    );
}

/// Measures a store of a server of this run.
async fn on<E: Engine, S: EventStore>(
    name: &str,
    sizes: &Sizes,
    settings: &[&str],
    connect: impl AsyncFn(&str) -> Result<S, StoreError>,
) {
    // Where there is none, it says so.
    let Some(server) = Server::<E>::start(settings) else {
        return;
    };
    let [store, other] = [connect(&server.url()).await, connect(&server.url()).await];
    let [store, other] = [store, other].map(|store| Arc::new(store.unwrap()));
    measure(name, sizes, store, other).await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let sizes = match std::env::args().any(|argument| argument == "--bench") {
        true => Sizes {
            time: Duration::from_secs(5),
            events: 100_000,
        },
        false => Sizes {
            time: Duration::from_millis(20),
            events: 1000,
        },
    };
    println!(
        "| store | appends/s, 1 publisher | 64 publishers | publish to deliver, p50 | p99 | catch-up, events/s |"
    );
    println!("|---|---|---|---|---|---|");
    let memory = MemoryStore::new().max_events(RETAINED).max_bytes(BYTES);
    let memory = Arc::new(memory);
    measure("memory", &sizes, Arc::clone(&memory), memory).await;

    let path = std::env::temp_dir().join(format!("tower-sse-bench-{}", std::process::id()));
    let file = FileStore::options().max_events(RETAINED).max_bytes(BYTES);
    let file = Arc::new(file.open(&path).unwrap());
    measure("file", &sizes, Arc::clone(&file), file).await;
    fs::remove_file(path).unwrap();

    let redis = async |url: &str| {
        let options = RedisStore::options().max_events(RETAINED).max_bytes(BYTES);
        options.connect(url).await
    };
    for (name, settings) in [
        ("Redis, nothing on disk", &[][..]),
        ("Redis, `everysec`", &["--appendonly", "yes"]),
        (
            "Redis, `always`",
            &["--appendonly", "yes", "--appendfsync", "always"],
        ),
    ] {
        on::<Redis, _>(name, &sizes, settings, redis).await;
    }
    let nats = async |url: &str| {
        let options = NatsStore::options().max_events(RETAINED).max_bytes(BYTES);
        options.connect(url).await
    };
    on::<Nats, _>("NATS", &sizes, &[], nats).await;
    let postgres = async |url: &str| {
        let options = PostgresStore::options();
        let options = options.max_events(RETAINED).max_bytes(BYTES);
        options.connect(url).await
    };
    for (name, settings) in [
        ("Postgres", &["fsync=on"][..]),
        (
            "Postgres, `synchronous_commit = off`",
            &["fsync=on", "synchronous_commit=off"],
        ),
    ] {
        on::<Postgres, _>(name, &sizes, settings, postgres).await;
    }
}
