//! Many clients that catch up at once: what they may read, and who is not held up by them.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::join_all};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower_sse::{
    Hub, LastEventId, Sse, SseBody, Start, Subscription, TopicName,
    store::{Append, EventStore, MemoryStore, NewRecord, Read, StoreError},
};

use crate::altered::{Altered, Asked, Reads};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const EVENT: usize = 10_000;
const HISTORY: TopicName = TopicName::from_static("history");

/// A number that goes up and down, and how high it was.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn add(self: &Arc<Self>, amount: usize) -> Held {
        let now = self.now.fetch_add(amount, Ordering::SeqCst) + amount;
        self.most.fetch_max(now, Ordering::SeqCst);
        Held(Arc::clone(self), amount)
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

struct Held(Arc<Gauge>, usize);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.now.fetch_sub(self.1, Ordering::SeqCst);
    }
}

/// Answers late where there is history to read, and at once at the head; counts those reads.
pub(crate) struct Late {
    late: Duration,
    history: Arc<Gauge>,
}

pub(crate) type LateStore = Altered<Late>;

/// A store with so many events.
pub(crate) async fn late(late: Duration, events: usize) -> LateStore {
    late_of(late, events, EVENT).await
}

/// A store with so many events of so many bytes.
async fn late_of(late: Duration, events: usize, bytes: usize) -> LateStore {
    let most = NonZeroUsize::new(1 << 28).unwrap();
    let memory = MemoryStore::new().max_bytes(most).max_events(most);
    let record = |_| NewRecord::event(None, "x".repeat(bytes));
    let append = Append::new((0..events).map(record));
    let _ = memory.append(&HISTORY, append).await.unwrap();
    let history = Arc::default();
    Altered::new(memory, Late { late, history })
}

impl Reads for Late {
    async fn read(&self, asked: Asked<'_>) -> Result<Read, StoreError> {
        let read = asked.answer().await?;
        let page = match &read {
            Read::Page(page) => page.records.len(),
            _ => 0,
        };
        // One record is what the reader of the hub finds.
        if page > 1 {
            let _reads = self.history.add(1);
            sleep(self.late).await;
        }
        Ok(read)
    }
}

pub(crate) fn hub(store: &LateStore, reads: usize, bytes: usize) -> Hub {
    let [reads, bytes] = [reads, bytes].map(|number| NonZeroUsize::new(number).unwrap());
    Hub::with_store(store.clone()).replay_budget(reads, bytes)
}

pub(crate) fn replay(hub: &Hub) -> Subscription {
    let subscription = hub.subscribe(&HISTORY, LastEventId::Absent);
    subscription.start(Start::All)
}

type Kind = fn(&Hub, u32) -> Subscription;

const KINDS: [Kind; 3] = [
    |hub, _| replay(hub),
    |hub, _| replay(hub).filter(|_| true),
    |hub, client| {
        let other = TopicName::new(format!("other-{client}")).unwrap();
        let several = hub.subscribe_many([HISTORY, other], LastEventId::Absent);
        several.unwrap().start(Start::All)
    },
];

type Body = Pin<Box<SseBody>>;

fn body(subscription: Subscription) -> Body {
    Box::pin(Sse::new(subscription).into_http_response().into_body())
}

async fn piece(body: &mut Body) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

fn events(piece: &[u8]) -> usize {
    let lines = piece.split(|byte| *byte == b'\n');
    lines.filter(|line| line.starts_with(b"data: x")).count()
}

/// Takes what comes, each piece for so long, until it has so many events.
async fn take(mut body: Body, count: usize, each: Duration, out: Arc<Gauge>) {
    let mut taken = 0;
    while taken < count {
        let piece = piece(&mut body).await;
        let _out = out.add(piece.len());
        taken += events(&piece);
        sleep(each).await;
    }
    assert_eq!(taken, count);
}

#[tokio::test(start_paused = true)]
async fn reads_and_bytes_stay_within_the_budget() {
    const BYTES: usize = 512 * 1024;
    let store = late(5 * MILLI, 40).await;
    let hub = hub(&store, 3, BYTES);
    let out = Arc::<Gauge>::default();
    let clients = (0..200).map(|_| take(body(replay(&hub)), 40, 20 * MILLI, Arc::clone(&out)));
    timeout(3600 * SECOND, join_all(clients)).await.unwrap();
    assert_eq!(store.reads.history.most(), 3);
    assert!(
        out.most() <= BYTES && out.most() > BYTES / 2,
        "{} bytes",
        out.most()
    );
    assert!(!format!("{hub:?}").contains("waited: 0"), "{hub:?}");
}

#[tokio::test(start_paused = true)]
async fn filtered_events_and_those_of_several_topics_are_in_the_budget() {
    const BYTES: usize = 512 * 1024;
    for subscribe in &KINDS[1..] {
        let store = late(5 * MILLI, 40).await;
        let hub = hub(&store, 3, BYTES);
        let out = Arc::<Gauge>::default();
        let clients = (0..50).map(|client| {
            let body = body(subscribe(&hub, client));
            take(body, 40, 60 * MILLI, Arc::clone(&out))
        });
        timeout(3600 * SECOND, join_all(clients)).await.unwrap();
        assert_eq!(store.reads.history.most(), 3);
        assert!(out.most() <= BYTES, "{} bytes", out.most());
    }
}

/// A page of events that are small is many times as much when it is written.
#[tokio::test(start_paused = true)]
async fn what_is_written_around_events_is_in_the_budget() {
    const BYTES: usize = 1024 * 1024;
    const EVENTS: usize = 20_000;
    let store = late_of(5 * MILLI, EVENTS, 4).await;
    let hub = hub(&store, 1, BYTES);
    let out = Arc::<Gauge>::default();
    let clients = (0..30).map(|client| {
        // A page in one piece, so that it is written as soon as it is read.
        let body = body(KINDS[1](&hub, client));
        take(body, EVENTS, 100 * MILLI, Arc::clone(&out))
    });
    timeout(3600 * SECOND, join_all(clients)).await.unwrap();
    // The page that found out is beside the budget.
    assert!(out.most() <= 2 * BYTES, "{} bytes", out.most());
}

#[tokio::test(start_paused = true)]
async fn clients_that_take_nothing_hold_up_nobody() {
    let store = late(5 * MILLI, 40).await;
    let hub = hub(&store, 2, 256 * 1024);
    let mut stalled: Vec<_> = (0..20).map(|_| body(replay(&hub))).collect();
    let mut pieces = Vec::new();
    for (number, body) in stalled.iter_mut().enumerate() {
        assert!(body.frame().now_or_never().is_some(), "the comment");
        if number % 2 == 0 {
            // It asks, and never looks again.
            assert!(body.frame().now_or_never().is_none());
        } else {
            // It keeps what it gets, as a server does that cannot write it.
            pieces.push(piece(body).await);
            pieces.push(piece(body).await);
        }
    }
    let begun = Instant::now();
    let out = Arc::default();
    let one = take(body(replay(&hub)), 40, MILLI, out);
    timeout(600 * SECOND, one).await.unwrap();
    assert!(begun.elapsed() < 30 * SECOND, "{:?}", begun.elapsed());
    drop((stalled, pieces));
}

/// Takes pieces as a server does that writes each for so long, and asks for more while it has room.
async fn serve(mut body: Body, count: usize, each: Duration, out: Arc<Gauge>) -> usize {
    let mut taken = 0;
    let mut largest = 0;
    let mut buffer = VecDeque::<(Instant, Held, Bytes)>::new();
    while taken < count {
        tokio::select! {
            piece = piece(&mut body), if buffer.len() < 8 => {
                taken += events(&piece);
                largest = piece.len().max(largest);
                let until = buffer.back().map_or(Instant::now(), |(until, ..)| *until) + each;
                let held = out.add(piece.len());
                buffer.push_back((until, held, piece));
            }
            () = sleep_until(buffer.front().map_or(Instant::now(), |(until, ..)| *until)),
                if !buffer.is_empty() => drop(buffer.pop_front()),
        }
    }
    assert_eq!(taken, count);
    largest
}

#[tokio::test(start_paused = true)]
async fn where_all_are_slow_each_has_one_piece_beside_the_budget() {
    const BYTES: usize = 512 * 1024;
    const CLIENTS: u32 = 40;
    for subscribe in KINDS {
        let store = late(5 * MILLI, 60).await;
        let hub = hub(&store, 3, BYTES);
        let out = Arc::<Gauge>::default();
        let clients = (0..CLIENTS).map(|client| {
            let body = body(subscribe(&hub, client));
            serve(body, 60, 5 * SECOND, Arc::clone(&out))
        });
        let largest = timeout(3600 * SECOND, join_all(clients)).await.unwrap();
        let largest = largest.into_iter().max().unwrap();
        let bound = BYTES + largest * CLIENTS as usize;
        assert!(
            out.most() <= bound && out.most() > BYTES,
            "{} bytes of {bound}",
            out.most()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_keeps_all_pieces_gets_everything() {
    for (subscribe, bytes, limit) in KINDS
        .into_iter()
        .flat_map(|kind| [(kind, 128 * 1024, 40 * SECOND), (kind, 1 << 20, SECOND)])
    {
        let store = late(5 * MILLI, 60).await;
        let hub = hub(&store, 3, bytes);
        let begun = Instant::now();
        let mut body = body(subscribe(&hub, 0));
        let mut pieces = Vec::new();
        while pieces
            .iter()
            .map(|piece: &Bytes| events(piece))
            .sum::<usize>()
            < 60
        {
            let piece = timeout(600 * SECOND, piece(&mut body)).await.unwrap();
            pieces.push(piece);
        }
        assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn who_keeps_the_last_piece_until_the_next_waits_for_nothing() {
    for subscribe in KINDS {
        let store = late(5 * MILLI, 60).await;
        // No room for anything else while a piece is out.
        let hub = hub(&store, 3, 1);
        let begun = Instant::now();
        let mut body = body(subscribe(&hub, 0));
        let mut last = piece(&mut body).await;
        let mut taken = events(&last);
        while taken < 60 {
            last = timeout(600 * SECOND, piece(&mut body)).await.unwrap();
            taken += events(&last);
        }
        // The positions of several topics are read at once, and one waits until the other is stale.
        assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
        drop(last);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_piece_to_be_written_is_woken() {
    let store = late(5 * MILLI, 60).await;
    let hub = hub(&store, 3, 1);
    let mut body = body(replay(&hub));
    let mut pieces = Vec::new();
    while pieces
        .iter()
        .map(|piece: &Bytes| events(piece))
        .sum::<usize>()
        < 6
    {
        pieces.push(piece(&mut body).await);
    }
    assert_eq!(piece(&mut body).await, ":\n");
    let next = tokio::spawn(async move { piece(&mut body).await });
    sleep(20 * SECOND).await;
    assert!(!next.is_finished());
    let begun = Instant::now();
    drop(pieces);
    assert!(events(&next.await.unwrap()) > 0);
    assert_eq!(begun.elapsed(), 5 * MILLI);
}

#[tokio::test(start_paused = true)]
async fn who_comes_first_is_served_first() {
    let store = late(5 * MILLI, 4).await;
    let hub = hub(&store, 1, 1 << 20);
    let mut waiting = futures_util::stream::FuturesUnordered::new();
    for number in 0..50 {
        let mut body = body(replay(&hub));
        assert!(body.frame().now_or_never().is_some(), "the comment");
        assert!(body.frame().now_or_never().is_none());
        waiting.push(async move {
            let first = piece(&mut body).await;
            assert_eq!(events(&first), 1, "what is copied is little");
            (number, body)
        });
    }
    for number in 0..50 {
        let (served, _body) = waiting.next().await.unwrap();
        assert_eq!(served, number);
    }
}

#[tokio::test(start_paused = true)]
async fn live_clients_do_not_wait_for_those_who_catch_up() {
    // History is never answered.
    let store = late(Duration::MAX, 40).await;
    let hub = hub(&store, 4, 1 << 20).unavailable_after(Duration::MAX);
    let mut live = hub.subscribe(&HISTORY, LastEventId::Absent).events();
    assert_eq!(live.next().await.unwrap().event_type(), "sse.open");
    let quiet = hub.topic::<u32>("quiet").unwrap();
    let last = LastEventId::Id(quiet.publish(&0).await.unwrap().as_str().into());
    let mut herd: Vec<_> = (0..1000).map(|_| replay(&hub).events()).collect();
    for events in &mut herd {
        assert!(events.next().now_or_never().is_none());
    }
    sleep(MILLI).await;
    assert_eq!(store.reads.history.now(), 4);
    let topic = hub.topic::<u32>(&HISTORY).unwrap();
    for number in 0..100 {
        topic.publish(&number).await.unwrap();
        let begun = Instant::now();
        assert_eq!(live.next().await.unwrap().data(), number.to_string());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
    // Nor does one who comes back to the end of a topic that nobody follows.
    let mut events = quiet.subscribe(last).events();
    assert!(timeout(SECOND, events.next()).await.is_err());
    quiet.publish(&1).await.unwrap();
    let next = timeout(SECOND, events.next()).await.unwrap().unwrap();
    assert_eq!(next.data(), "1");
    // Nor do those who come now, of this topic or of one that nobody follows yet.
    for name in ["history", "another"] {
        let name = TopicName::new(name).unwrap();
        let mut events = hub.subscribe(&name, LastEventId::Absent).events();
        let open = timeout(SECOND, events.next()).await.unwrap().unwrap();
        assert_eq!(open.event_type(), "sse.open");
        hub.topic::<u32>(&name).unwrap().publish(&7).await.unwrap();
        let next = timeout(SECOND, events.next()).await.unwrap().unwrap();
        assert_eq!(next.data(), "7");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_given_back_at_once() {
    let store = late(30 * MILLI, 40).await;
    let hub = hub(&store, 1, 1);
    // One has a piece, one reads, one waits; nobody else can read.
    let mut bodies: Vec<_> = (0..3).map(|_| body(replay(&hub))).collect();
    let mut pieces = vec![piece(&mut bodies[0]).await, piece(&mut bodies[0]).await];
    pieces.push(piece(&mut bodies[0]).await);
    for body in &mut bodies[1..] {
        body.frame().await.unwrap().unwrap();
        assert!(body.frame().now_or_never().is_none());
    }
    sleep(MILLI).await;
    let begun = Instant::now();
    drop(pieces);
    sleep(MILLI).await;
    assert_eq!(store.reads.history.now(), 1, "the second, without waiting");
    drop(bodies.remove(1));
    let next = timeout(600 * SECOND, piece(&mut bodies[1])).await.unwrap();
    assert_eq!(events(&next), 1);
    assert!(begun.elapsed() < 100 * MILLI, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_told_when_the_store_answers_nobody() {
    let store = late(Duration::MAX, 40).await;
    let hub = hub(&store, 1, 1 << 20).unavailable_after(30 * SECOND);
    let begun = Instant::now();
    let ends = (0..200).map(|_| async {
        let mut events = replay(&hub).events();
        let bye = events.next().await.unwrap();
        assert_eq!(bye.data(), r#"{"reason":"unavailable"}"#);
        assert!(events.next().await.is_none());
    });
    timeout(3600 * SECOND, join_all(ends)).await.unwrap();
    assert!(begun.elapsed() < 90 * SECOND, "{:?}", begun.elapsed());
}
