//! Every interleaving of publishing, evicting, subscribing, dropping and resuming: nothing is lost,
//! repeated or out of order without being told.

use std::{
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::Stream;
use tower_sse::{
    Event, GapReason, Hub, LastEventId, PublishErrorKind, SlowClient, Start, Topic, TopicName,
    store::{Append, MemoryStore, NewRecord, Position},
};

use crate::{hostile::HostileStore, sizes};

const TOPIC: TopicName = TopicName::from_static("numbers");

/// Notes that it was woken: a client is polled only then, so that a lost wake-up is a hang.
#[derive(Default)]
pub(crate) struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Flag {
    fn raised() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

type Events = Pin<Box<dyn Stream<Item = Event>>>;

/// Resolves to whether the outcome is unknown.
type Publishing = Pin<Box<dyn Future<Output = bool>>>;

/// A client that keeps its last event id over its connections, and checks all that it reads.
struct Client {
    connection: Option<(Events, Arc<Flag>)>,
    cursor: Option<Position>,
    /// Whether the next event may be any, since this connection began without a position.
    fresh: bool,
    unusable: bool,
    start: Start,
    read: usize,
}

/// What a run did, so that a test can tell that it tried what it means to try.
#[derive(Debug, Default)]
struct Tally {
    events: usize,
    resumes: usize,
    gaps: [usize; 5],
    skips: usize,
    wipes: usize,
    unknown_outcomes: usize,
}

struct Run {
    slow: SlowClient,
    random: fastrand::Rng,
    store: HostileStore,
    hubs: Vec<Hub>,
    clients: Vec<Client>,
    publishing: Vec<(Publishing, Arc<Flag>)>,
    next: u64,
    tally: Tally,
}

impl Run {
    fn new(seed: u64, percent: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let retained = NonZeroUsize::new(random.usize(1..12)).unwrap();
        let window = NonZeroUsize::new(random.usize(1..12)).unwrap();
        let store = HostileStore::new(MemoryStore::new().max_events(retained), seed, percent);
        let slow = match random.u32(0..4) {
            0 => SlowClient::SkipToNewest,
            1 => SlowClient::Disconnect,
            _ => SlowClient::CatchUp,
        };
        let hubs = (0..2)
            .map(|_| {
                let hub = Hub::with_store(store.clone()).window(window);
                hub.slow_clients(move |_| slow)
            })
            .collect();
        Self {
            slow,
            random,
            store,
            hubs,
            clients: Vec::new(),
            publishing: Vec::new(),
            next: 0,
            tally: Tally::default(),
        }
    }

    async fn step(&mut self) {
        match self.random.u32(0..100) {
            0..=19 => self.publish(),
            20..=24 => self.append_elsewhere(),
            25..=44 => self.poll_a_publisher(),
            45..=49 => self.connect(),
            50..=53 => self.drop_a_connection(),
            54..=74 => self.poll_a_client().await,
            75 if self.random.u32(0..8) == 0 => self.wipe(),
            76 => tokio::time::advance(Duration::from_secs(self.random.u64(0..12))).await,
            _ => tokio::task::yield_now().await,
        }
    }

    fn publish(&mut self) {
        let topic: Topic<u64> = self
            .random
            .choice(&self.hubs)
            .unwrap()
            .topic(TOPIC)
            .unwrap();
        self.next += 1;
        let number = self.next;
        let publish = async move {
            match topic.publish(&number).await {
                Ok(_) => false,
                Err(error) => match error.kind() {
                    PublishErrorKind::NotStored => false,
                    PublishErrorKind::OutcomeUnknown => true,
                    kind => panic!("{kind:?}"),
                },
            }
        };
        self.publishing.push((Box::pin(publish), Flag::raised()));
    }

    fn append_elsewhere(&mut self) {
        let many = self.random.u64(1..6);
        let records = (0..many).map(|_| {
            self.next += 1;
            NewRecord::event(None, self.next.to_string())
        });
        let _ = self
            .store
            .append_now(&TOPIC, Append::new(records.collect::<Vec<_>>()))
            .unwrap();
    }

    /// Begins the log again, with another epoch.
    fn wipe(&mut self) {
        self.tally.wipes += 1;
        let _ = self
            .store
            .append_now(&TOPIC, Append::new([]).gone_after(Duration::ZERO))
            .unwrap();
    }

    fn poll_a_publisher(&mut self) {
        if self.publishing.is_empty() {
            return;
        }
        let index = self.random.usize(0..self.publishing.len());
        // A publisher may also be dropped half-way.
        if self.random.u32(0..20) == 0 {
            drop(self.publishing.swap_remove(index));
            return;
        }
        let (publish, flag) = &mut self.publishing[index];
        if flag.take() {
            let waker = Waker::from(Arc::clone(flag));
            if let Poll::Ready(unknown) = publish.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.tally.unknown_outcomes += usize::from(unknown);
                drop(self.publishing.swap_remove(index));
            }
        }
    }

    fn connect(&mut self) {
        let away = self
            .clients
            .iter()
            .position(|client| client.connection.is_none());
        let index = match away {
            Some(index) => index,
            None if self.clients.len() < 4 => {
                let start = match self.random.u32(0..4) {
                    0 => Start::All,
                    1 => Start::Newest(self.random.u64(0..5)),
                    _ => Start::Live,
                };
                self.clients.push(Client {
                    connection: None,
                    cursor: None,
                    fresh: true,
                    unusable: false,
                    start,
                    read: 0,
                });
                self.clients.len() - 1
            }
            None => return,
        };
        let client = &mut self.clients[index];
        let mut last = match client.cursor {
            Some(cursor) => {
                self.tally.resumes += 1;
                LastEventId::Id(cursor.to_string().into())
            }
            None => LastEventId::Absent,
        };
        client.fresh = client.cursor.is_none();
        client.unusable = self.random.u32(0..50) == 0;
        if client.unusable {
            last = match client.cursor.filter(|_| self.random.bool()) {
                // Of a log that has lost its end, or made up.
                Some(cursor) => {
                    let ahead = Position::new(cursor.epoch(), cursor.offset() + 1000);
                    LastEventId::Id(ahead.to_string().into())
                }
                None => LastEventId::Unusable,
            };
        }
        let hub = self.random.choice(&self.hubs).unwrap();
        let events = hub
            .subscribe(&TOPIC, last)
            .start(client.start.clone())
            .events();
        client.connection = Some((Box::pin(events), Flag::raised()));
    }

    fn drop_a_connection(&mut self) {
        if let Some(client) = self.random.choice(&mut self.clients) {
            client.connection = None;
        }
    }

    async fn poll_a_client(&mut self) {
        let Some(index) =
            (!self.clients.is_empty()).then(|| self.random.usize(0..self.clients.len()))
        else {
            return;
        };
        // A slow client takes only some of what is there.
        for _ in 0..self.random.u32(1..6) {
            if !self.poll_client(index).await {
                break;
            }
        }
    }

    /// Polls a client that was woken, and checks what it gets. False if there is nothing for now.
    async fn poll_client(&mut self, index: usize) -> bool {
        let client = &mut self.clients[index];
        let Some((events, flag)) = &mut client.connection else {
            return false;
        };
        if !flag.take() {
            return false;
        }
        let waker = Waker::from(Arc::clone(flag));
        let event = match events.as_mut().poll_next(&mut Context::from_waker(&waker)) {
            Poll::Pending => return false,
            Poll::Ready(None) => {
                client.connection = None;
                return false;
            }
            Poll::Ready(Some(event)) => event,
        };
        flag.0.store(true, Ordering::SeqCst);
        self.check(index, &event).await;
        true
    }

    async fn check(&mut self, index: usize, event: &Event) {
        let history = self.store.history();
        let oldest = self.store.oldest(&TOPIC).await;
        let client = &mut self.clients[index];
        let id = event
            .last_event_id()
            .map(|id| id.parse::<Position>().unwrap());
        if let Some(gap) = event.gap() {
            self.tally.gaps[gap.reason() as usize] += 1;
            let told = client.cursor;
            client.cursor = id;
            let fresh = std::mem::replace(&mut client.fresh, false);
            let unusable = std::mem::replace(&mut client.unusable, false);
            let (at, Some(told)) = (id.unwrap(), told) else {
                // What a new client was to begin with may be evicted before it was sent.
                let evicted = matches!(gap.reason(), GapReason::Evicted | GapReason::Lagged);
                assert!(
                    unusable || (fresh && (evicted || self.tally.wipes > 0)),
                    "{gap:?}"
                );
                return;
            };
            match gap.reason() {
                // An unusable id is told like one that is not known.
                GapReason::Unknown | GapReason::Ahead if unusable => {}
                GapReason::Unknown => assert_ne!(told.epoch(), at.epoch(), "{gap:?}"),
                GapReason::Evicted | GapReason::Lagged => {
                    assert!(
                        at.epoch() == told.epoch() && at > Pos(told),
                        "{gap:?} {told} {at}"
                    );
                    let gone = oldest.epoch() != told.epoch() || oldest.offset() > told.offset();
                    let skips =
                        gap.reason() == GapReason::Lagged && self.slow != SlowClient::CatchUp;
                    assert!(
                        gone || skips,
                        "nothing was evicted: {gap:?} {told} {at} {oldest}"
                    );
                    // A window that was begun anew has not counted what was before it.
                    let missed = at.offset() - told.offset();
                    assert!(gap.missed() == Some(missed) || (skips && gap.missed().is_none()));
                    self.tally.skips += usize::from(!gone);
                }
                reason => panic!("{reason} cannot be here"),
            }
            return;
        }
        match event.event_type() {
            "sse.open" => {
                assert!(client.fresh, "only a new client is primed");
                client.fresh = false;
                client.cursor = id;
            }
            "sse.bye" => assert_eq!(id, client.cursor, "a bye leaves the cursor where it is"),
            _ => {
                assert!(!client.unusable, "an unusable id is told first");
                let id = id.unwrap();
                let at = history
                    .iter()
                    .position(|(position, _)| *position == id)
                    .unwrap();
                assert_eq!(event.data(), history[at].1, "{id}");
                if let Some(cursor) = client.cursor.filter(|_| !client.fresh) {
                    assert_eq!(
                        (id.epoch(), id.offset()),
                        (cursor.epoch(), cursor.offset() + 1),
                        "after {cursor}"
                    );
                }
                client.fresh = false;
                client.cursor = Some(id);
                client.read += 1;
                self.tally.events += 1;
            }
        }
    }

    /// Lets everything come to rest: all clients connected, and all they are owed delivered.
    async fn settle(&mut self) {
        while !self.publishing.is_empty() {
            self.poll_a_publisher();
            tokio::task::yield_now().await;
        }
        while self
            .clients
            .iter()
            .any(|client| client.connection.is_none())
        {
            self.connect();
        }
        for round in 0.. {
            assert!(round < 2000, "a client was forgotten: {:?}", self.tally);
            for index in 0..self.clients.len() {
                while self.poll_client(index).await {}
                if self.clients[index].connection.is_none() {
                    self.connect();
                }
            }
            let owed = self.store.head(&TOPIC).await;
            let done = |client: &Client| client.cursor == Some(owed);
            if self.clients.iter().all(done) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Positions of one epoch, in order.
#[derive(PartialEq)]
struct Pos(Position);

impl PartialEq<Pos> for Position {
    fn eq(&self, other: &Pos) -> bool {
        *self == other.0
    }
}

impl PartialOrd<Pos> for Position {
    fn partial_cmp(&self, other: &Pos) -> Option<std::cmp::Ordering> {
        self.offset().partial_cmp(&other.0.offset())
    }
}

fn run(seed: u64, percent: u32) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut run = Run::new(seed, percent);
        for _ in 0..run.random.u32(20..120) {
            run.step().await;
        }
        run.settle().await;
        run.tally
    })
}

#[track_caller]
fn check(percent: u32, runs: u64) {
    let first = std::env::var("TOWER_SSE_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let seeds = first.map_or(0..runs, |seed| seed..seed + 1);
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
    let mut sum = Tally::default();
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let of_part = seeds.filter(|seed| seed % threads == part);
                    of_part
                        .map(|seed| (seed, std::panic::catch_unwind(|| run(seed, percent))))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for (seed, tally) in parts.into_iter().flat_map(|part| part.join().unwrap()) {
            let tally = tally.unwrap_or_else(|_| panic!("run again with TOWER_SSE_SEED={seed}"));
            sum.events += tally.events;
            sum.resumes += tally.resumes;
            sum.wipes += tally.wipes;
            sum.skips += tally.skips;
            sum.unknown_outcomes += tally.unknown_outcomes;
            for (sum, gaps) in sum.gaps.iter_mut().zip(tally.gaps) {
                *sum += gaps;
            }
        }
    });
    eprintln!("{sum:?}");
    if first.is_none() {
        let [evicted, unknown, ahead, lagged, _] = sum.gaps;
        let tried = [
            sum.events,
            sum.resumes,
            sum.wipes,
            sum.skips,
            evicted,
            unknown,
            ahead,
            lagged,
        ];
        assert!(tried.iter().all(|count| *count > 0), "{sum:?}");
    }
}

#[test]
fn nothing_is_lost_or_repeated_on_a_store_that_answers_at_once() {
    check(0, sizes(50_000, 500_000));
}

#[test]
fn nothing_is_lost_or_repeated_on_a_hostile_store() {
    check(25, sizes(50_000, 500_000));
}
