//! The store on NATS JetStream, over a server of the test's own.

mod faults;
mod foreign;
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

use servers::{Engine, Network, Proxy, copy_all};
use tower_sse::store::{
    NatsStore,
    contract::{self, Limits, Subject},
};

use crate::log::{
    ALL, PATIENCE, TOPIC, after, all, append, append_again, append_each, event, page, texts,
    try_append,
};
use crate::server::Connect;

type Server = servers::Server<servers::Nats>;

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
        options
            .connect(&servers::Nats::url(self.proxy.port()))
            .await
            .unwrap()
    }

    async fn copy(&self, place: &str) -> Option<PathBuf> {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let mut copy = PathBuf::new();
        self.down(|server| {
            copy = server.aside(&format!("copy-{number}"));
            copy_all(&server.stream(place), &copy);
        });
        Some(copy)
    }

    async fn restore(&self, place: &str, copy: PathBuf) {
        self.down(|server| {
            fs::remove_dir_all(server.stream(place)).unwrap();
            copy_all(&copy, &server.stream(place));
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
    let proxy = Proxy::to(server.port()).await;
    let nats = Nats {
        server: Mutex::new(server),
        proxy,
        copies: AtomicU64::new(0),
    };
    let report = contract::run(&nats).await;
    report.assert_passed();
    assert_eq!(report.skipped().next(), None);
}
