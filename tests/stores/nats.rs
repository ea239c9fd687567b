//! The store on NATS JetStream, over a server of the test's own.

mod server;

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
