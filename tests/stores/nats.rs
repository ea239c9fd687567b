//! The store on NATS JetStream, over a server of the test's own.

mod faults;
mod foreign;
mod server;
mod shape;

use std::{
    fs,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tower_sse::{
    TopicName,
    store::{
        Append, Appended, EventStore, NatsStore, NewRecord, Page, Position, Read, ReadFrom,
        StoreError,
        contract::{self, Limits, Subject},
    },
};

use crate::proxy::{Network, Proxy};
use server::{Server, copy_dir};

const TOPIC: TopicName = TopicName::from_static("topic");
const ALL: NonZeroUsize = NonZeroUsize::MAX;

struct Nats {
    server: Mutex<Server>,
    proxy: Proxy,
    copies: AtomicU64,
}

impl Nats {
    /// Does something with the data of the server while it is down.
    fn down(&self, work: impl FnOnce(&Server)) {
        let mut server = self.server.lock().unwrap();
        server.stop();
        work(&server);
        server.start_again();
    }
}

impl Subject for Nats {
    type Store = NatsStore;
    type Copy = PathBuf;
    const DURABLE: bool = true;
    const SHARED: bool = true;

    async fn open(&self, place: &str, limits: Limits) -> NatsStore {
        let options = NatsStore::options()
            .stream(place)
            // The server sets them aside.
            .max_total_bytes(NonZeroUsize::new(64 << 20).unwrap())
            .max_events(limits.events)
            .max_bytes(limits.bytes);
        let options = match limits.age {
            Some(age) => options.max_age(age),
            None => options,
        };
        options.connect(&self.proxy.url("nats")).await.unwrap()
    }

    async fn copy(&self, place: &str) -> Option<PathBuf> {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let mut copy = PathBuf::new();
        self.down(|server| {
            copy = server.aside(&format!("copy-{number}"));
            copy_dir(&server.stream(place), &copy);
        });
        Some(copy)
    }

    async fn restore(&self, place: &str, copy: PathBuf) {
        self.down(|server| {
            fs::remove_dir_all(server.stream(place)).unwrap();
            copy_dir(&copy, &server.stream(place));
        });
    }

    async fn work(&self) -> Option<u64> {
        let told = self.server.lock().unwrap().monitored("varz").unwrap();
        told["out_bytes"].as_u64()
    }

    fn large_log(&self) -> u64 {
        crate::sizes(50_000, 1_000_000)
    }

    async fn cut(&self) -> bool {
        self.proxy.is(Network::Cut);
        true
    }

    async fn heal(&self) {
        self.proxy.is(Network::Whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_keeps_the_contract() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::to(server.port).await;
    let nats = Nats {
        server: Mutex::new(server),
        proxy,
        copies: AtomicU64::new(0),
    };
    let report = contract::run(&nats).await;
    report.assert_passed();
    assert_eq!(report.skipped().next(), None);
}

fn event(data: impl ToString) -> NewRecord {
    NewRecord::event(None, data.to_string())
}

async fn try_append(store: &NatsStore, data: impl ToString) -> Result<Appended, StoreError> {
    store.append(&TOPIC, Append::new([event(data)])).await
}

async fn append(store: &NatsStore, data: impl ToString) -> Position {
    match try_append(store, data).await.unwrap() {
        Appended::Stored(position) => position,
        conflict => panic!("{conflict:?}"),
    }
}

async fn append_each(store: &NatsStore, numbers: std::ops::Range<u64>) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(append(store, number).await);
    }
    positions
}

async fn after(store: &NatsStore, position: Position) -> Result<Read, StoreError> {
    store.read(&TOPIC, ReadFrom::After(position), ALL).await
}

async fn page(store: &NatsStore, from: ReadFrom) -> Page {
    match store.read(&TOPIC, from, ALL).await.unwrap() {
        Read::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

fn texts(page: &Page) -> Vec<String> {
    let data = page.records.iter().map(|record| record.content().data());
    data.map(ToString::to_string).collect()
}

/// What is read page by page, up to the head or a gap.
async fn all(store: &NatsStore) -> Vec<String> {
    let mut read = page(store, ReadFrom::Oldest).await;
    let mut all = texts(&read);
    while read.end() != read.head {
        match after(store, read.end()).await.unwrap() {
            Read::Page(next) => read = next,
            _ => break,
        }
        all.extend(texts(&read));
    }
    all
}
