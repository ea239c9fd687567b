//! One event to many: what is shared, what waits, and who is not held up.

use std::{
    num::NonZeroUsize,
    ops::Range,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::join_all};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::{
    runtime::Runtime,
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tower_sse::{
    Event, Hub, LastEventId, Sse, SseBody, Start,
    store::{Epoch, MemoryStore, Page, Position, Read, ReadFrom, StoreError},
};

use crate::{
    altered::{Altered, Asked, Reads},
    resume::Flag,
    sizes,
};

const MILLI: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// The data of the events that a piece of the body has.
fn data(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_each_other_after_the_first() {
    let hub = Hub::new().flush_window(|topic| match topic.as_str() {
        "prices" => 100 * MILLI,
        _ => Duration::ZERO,
    });
    let open = async |topic: &'static str| {
        let subscription = hub.subscribe(topic, LastEventId::Absent).without_priming();
        let mut body = Box::pin(Sse::new(subscription).into_http_response().into_body());
        assert!(body.frame().await.is_some(), "the comment");
        assert!(timeout(MILLI, body.frame()).await.is_err(), "nothing yet");
        body
    };
    let [mut prices, mut others] = [open("prices").await, open("others").await];
    let topics = ["prices", "others"].map(|name| hub.topic::<u32>(name).unwrap());
    for burst in 0..3 {
        let begun = Instant::now();
        for number in 0..5 {
            for topic in &topics {
                topic.publish(&number).await.unwrap();
            }
            // Read while it waits, as servers do.
            let other = others.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data(&other), [number.to_string()], "at once");
            let frame = prices.frame().now_or_never();
            let frame = match frame {
                None => timeout(MILLI, prices.frame()).await.ok(),
                now => now,
            };
            match number {
                0 => {
                    let first = frame.unwrap().unwrap().unwrap().into_data().unwrap();
                    assert_eq!(data(&first), ["0"], "the first goes at once");
                }
                _ => assert!(frame.is_none(), "{number} in burst {burst}"),
            }
            sleep(10 * MILLI).await;
        }
        let rest = prices.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data(&rest), ["1", "2", "3", "4"]);
        let waited = begun.elapsed();
        assert!(waited >= 100 * MILLI && waited < 110 * MILLI, "{waited:?}");
        sleep(500 * MILLI).await;
    }
}

/// Counts what is read, and gives logs an epoch that nobody knew before they began.
#[derive(Default)]
struct Beginnings {
    reads: AtomicUsize,
}

impl Beginnings {
    const ABSENT: Epoch = Epoch::new(7);
}

impl Reads for Beginnings {
    async fn read(&self, mut asked: Asked<'_>) -> Result<Read, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if let ReadFrom::After(at) = asked.from
            && at == Position::new(Self::ABSENT, 0)
        {
            asked.from = ReadFrom::Oldest;
        }
        Ok(match asked.answer().await? {
            Read::Page(page) if page.records.is_empty() => Read::Page(Page {
                start: self.head(page.start),
                head: self.head(page.head),
                ..page
            }),
            read => read,
        })
    }

    /// What is at the beginning of a log of ours is of the time before there was one.
    fn head(&self, head: Position) -> Position {
        match head.offset() {
            0 => Position::new(Self::ABSENT, 0),
            _ => head,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_event_of_a_topic_is_read_once_for_all_who_wait() {
    let reads = async |clients: usize| {
        let store = Altered::new(MemoryStore::new(), Beginnings::default());
        let beginnings = Arc::clone(&store.reads);
        let hub = Hub::with_store(store);
        let mut streams = Vec::new();
        for _ in 0..clients {
            let mut events = hub.subscribe("topic", LastEventId::Absent).events();
            assert_eq!(events.next().await.unwrap().event_type(), "sse.open");
            assert!(events.next().now_or_never().is_none());
            streams.push(events);
        }
        let before = beginnings.reads.load(Ordering::SeqCst);
        let topic = hub.topic("topic").unwrap();
        topic.publish(&1).await.unwrap();
        for events in &mut streams {
            assert_eq!(events.next().await.unwrap().data(), "1");
            assert!(events.next().now_or_never().is_none());
        }
        beginnings.reads.load(Ordering::SeqCst) - before
    };
    let one = reads(1).await;
    assert_eq!(reads(200).await, one);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_first_events_are_all_kept_back_has_a_position() {
    let hub = Hub::new();
    let topic = hub.topic("topic").unwrap();
    for number in 0..10 {
        topic.publish(&number).await.unwrap();
    }
    let secret = || {
        hub.subscribe("topic", LastEventId::Absent)
            .start(Start::All)
            .filter(|event| event.data() == "10")
    };
    let mut events = secret().events();
    let open = events.next().now_or_never().unwrap().unwrap();
    assert_eq!(open.event_type(), "sse.open");
    let id = open.last_event_id().unwrap();
    drop(events);

    // What comes while it is away is what it gets.
    topic.publish(&10).await.unwrap();
    let last = LastEventId::Id(id.into());
    let mut events = hub.subscribe("topic", last).events();
    let next = events.next().now_or_never().unwrap().unwrap();
    assert_eq!(next.data(), "10");

    let mut unprimed = secret().without_priming().events();
    assert_eq!(unprimed.next().await.unwrap().data(), "10");
}

/// Many followers of a topic, polled by hand.
struct Crowd {
    bodies: Vec<(Body, Arc<Flag>)>,
}

type Body = Pin<Box<SseBody>>;

impl Crowd {
    async fn new(hub: &Hub, size: usize) -> Self {
        let body = |_| {
            let subscription = hub.subscribe("topic", LastEventId::Absent);
            let body = Sse::new(subscription).into_http_response().into_body();
            (Box::pin(body), Arc::new(Flag::default()))
        };
        let mut crowd = Self {
            bodies: (0..size).map(body).collect(),
        };
        // The reader finds the topic first.
        crowd.poll(0..size);
        sleep(MILLI).await;
        crowd.poll(0..size);
        assert_eq!(crowd.woken(0..size), 0);
        crowd
    }

    /// Polls some as a server does, and returns how many events came.
    fn poll(&mut self, which: Range<usize>) -> usize {
        let mut events = 0;
        for (body, flag) in &mut self.bodies[which] {
            flag.take();
            let waker = Waker::from(Arc::clone(flag));
            let cx = &mut Context::from_waker(&waker);
            while let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
                let frame = frame.unwrap().unwrap().into_data().unwrap();
                events += data(&frame).iter().filter(|data| *data != "{}").count();
            }
        }
        events
    }

    /// How many were woken and not polled since.
    fn woken(&self, which: Range<usize>) -> usize {
        let woken = self.bodies[which]
            .iter()
            .filter(|(_, flag)| flag.is_raised());
        woken.count()
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_served_waits_until_the_others_are() {
    let hub = Hub::new();
    let topic = hub.topic("topic").unwrap();
    let mut crowd = Crowd::new(&hub, 200).await;
    let publish = async || {
        topic.publish(&1).await.unwrap();
        sleep(MILLI).await;
    };
    publish().await;
    assert_eq!(crowd.woken(0..200), 200);
    assert_eq!(crowd.poll(0..50), 50);
    publish().await;
    assert_eq!(crowd.woken(0..50), 0, "they wait, since 150 others do");
    assert_eq!(crowd.poll(50..100), 100, "both events at once");
    assert_eq!(crowd.woken(0..100), 0);
    // A few may be left, and one that goes is no reason to wait.
    crowd.poll(100..136);
    assert_eq!(crowd.woken(0..100), 50);
    assert_eq!(crowd.poll(0..200), 50 + 64 * 2);

    // Those who are not polled hold up the others once, and not for long.
    publish().await;
    assert_eq!(crowd.poll(0..50), 50);
    publish().await;
    assert_eq!(crowd.woken(0..50), 0);
    sleep(60 * MILLI).await;
    assert_eq!(crowd.poll(0..50), 50);
    for _ in 0..5 {
        publish().await;
        assert_eq!(crowd.poll(0..50), 50, "150 others are never polled");
    }

    // Nor do those who go.
    crowd.poll(0..200);
    publish().await;
    assert_eq!(crowd.poll(0..50), 50);
    publish().await;
    assert_eq!(crowd.woken(0..50), 0);
    crowd.bodies.truncate(100);
    assert_eq!(crowd.poll(0..50), 50);
}

/// Gives out one record at a time, and so many times, before it answers no more.
struct Stalling {
    reads_left: AtomicUsize,
}

impl Reads for Stalling {
    async fn read(&self, mut asked: Asked<'_>) -> Result<Read, StoreError> {
        let less = |left: usize| left.checked_sub(1);
        let left = &self.reads_left;
        if left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_err()
        {
            return std::future::pending().await;
        }
        asked.max_bytes = NonZeroUsize::MIN;
        asked.answer().await
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_while_the_store_is_waited_for() {
    let reads_left = AtomicUsize::new(usize::MAX);
    let store = Altered::new(MemoryStore::new(), Stalling { reads_left });
    let stalling = Arc::clone(&store.reads);
    let hub = Hub::with_store(store);
    let topic = hub.topic("topic").unwrap();
    let mut crowd = Crowd::new(&hub, 200).await;
    topic.publish(&1).await.unwrap();
    sleep(MILLI).await;
    assert_eq!(crowd.poll(0..50), 50);
    stalling.reads_left.store(1, Ordering::SeqCst);
    topic.publish_all(&[2, 3]).await.unwrap();
    sleep(MILLI).await;
    assert_eq!(stalling.reads_left.load(Ordering::SeqCst), 0);
    assert_eq!(crowd.woken(0..50), 50, "for the first of two pages");
}

#[tokio::test]
async fn a_long_history_lets_others_run() {
    const EVENTS: usize = 20_000;
    let store = MemoryStore::new().max_events(NonZeroUsize::new(EVENTS).unwrap());
    let hub = Hub::with_store(store.max_bytes(NonZeroUsize::new(1 << 28).unwrap()));
    let topic = hub.topic::<str>("topic").unwrap();
    for _ in 0..EVENTS {
        topic.publish(&"x".repeat(150)).await.unwrap();
    }
    let subscription = hub.subscribe("topic", LastEventId::Absent);
    let response = Sse::new(subscription.start(Start::All)).into_http_response();
    let mut body = pin!(response.into_body());
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    let (mut events, mut pauses, mut in_one_go) = (0, 0, 0);
    while events < EVENTS {
        match body.as_mut().poll_frame(&mut Context::from_waker(&waker)) {
            Poll::Ready(frame) => {
                let frame = frame.unwrap().unwrap().into_data().unwrap();
                events += data(&frame).len();
                in_one_go += frame.len();
                assert!(in_one_go < 512 * 1024, "{in_one_go} bytes");
            }
            Poll::Pending => {
                assert!(flag.take(), "to go on at once");
                pauses += 1;
                in_one_go = 0;
            }
        }
    }
    assert!(pauses > 5, "{pauses}");
}

/// Every event to every client, in order, whoever publishes and wherever clients are polled: threads
/// without a runtime, runtimes of one worker and of several, and one that ends meanwhile.
#[test]
fn clients_on_many_runtimes_get_what_threads_publish() {
    const PUBLISHERS: usize = 3;
    let each: usize = sizes(300, 5_000);
    let one = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let several = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .unwrap();
    let store = MemoryStore::new().max_events(NonZeroUsize::new(1 << 20).unwrap());
    let store = store.max_bytes(NonZeroUsize::new(1 << 28).unwrap());
    let hub = Hub::with_store(store).window(NonZeroUsize::new(64).unwrap());

    // Clients that are all there before the first event.
    let ready = Arc::new(AtomicUsize::new(0));
    let client = |hub: &Hub| {
        let (hub, ready) = (hub.clone(), Arc::clone(&ready));
        async move {
            let subscription = hub.subscribe("topic", LastEventId::Absent);
            let mut body = pin!(Sse::new(subscription).into_http_response().into_body());
            let mut seen = Vec::new();
            while seen.len() < PUBLISHERS * each {
                let frame = timeout(PATIENCE, body.frame()).await.unwrap();
                let frame = frame.unwrap().unwrap().into_data().unwrap();
                for line in data(&frame) {
                    match &*line {
                        "{}" => drop(ready.fetch_add(1, Ordering::SeqCst)),
                        _ => seen.push(line),
                    }
                }
            }
            seen
        }
    };
    let results = Arc::new(Mutex::new(Vec::new()));
    let run = |runtime: Runtime, clients: usize| {
        let clients: Vec<_> = (0..clients).map(|_| client(&hub)).collect();
        let results = Arc::clone(&results);
        thread::spawn(move || {
            let tasks = clients.into_iter().map(|client| runtime.spawn(client));
            let tasks: Vec<_> = tasks.collect();
            for seen in runtime.block_on(join_all(tasks)) {
                results.lock().unwrap().push(seen.unwrap());
            }
        })
    };
    // It comes first, so the reader and a clock are its own, and it goes in the middle.
    let ending = one();
    let (hub_there, ready_there) = (hub.clone(), Arc::clone(&ready));
    let middle = Arc::new(Notify::new());
    let reach_middle = Arc::clone(&middle);
    let there = ending.spawn(async move {
        let mut events = hub_there.subscribe("topic", LastEventId::Absent).events();
        let mut seen = 0;
        while let Some(event) = events.next().await {
            if event.event_type() == "sse.open" {
                ready_there.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            seen += 1;
            if seen == PUBLISHERS * each / 2 {
                reach_middle.notify_one();
            }
        }
    });
    ending.block_on(async {
        while ready.load(Ordering::SeqCst) == 0 {
            sleep(MILLI).await;
        }
    });
    let ending = thread::spawn(move || {
        // Dropped with its task, which has not ended.
        let waits = async { timeout(PATIENCE, middle.notified()).await };
        ending.block_on(waits).expect("half of the events");
        assert!(!there.is_finished());
    });
    let threads = [run(one(), 5), run(one(), 5), run(several, 20)];
    let begun = std::time::Instant::now();
    while ready.load(Ordering::SeqCst) < 31 {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(MILLI);
    }
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let topic = hub.topic::<Event>("topic").unwrap();
            thread::spawn(move || {
                for number in 0..each {
                    let event = Event::new(format!("{publisher}:{number}"));
                    // The store in memory answers at once, so no runtime is needed.
                    topic.publish(&event).now_or_never().unwrap().unwrap();
                }
            })
        })
        .collect();
    for thread in publishers.into_iter().chain([ending]).chain(threads) {
        thread.join().unwrap();
    }
    let results = results.lock().unwrap();
    assert_eq!(results.len(), 30);
    for seen in results.iter() {
        assert_eq!(seen, &results[0], "the same order for all");
        for publisher in 0..PUBLISHERS {
            let of = format!("{publisher}:");
            let numbers = seen.iter().filter_map(|line| line.strip_prefix(&of));
            assert!(numbers.eq((0..each).map(|number| number.to_string())));
        }
    }
}
