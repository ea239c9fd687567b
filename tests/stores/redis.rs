//! The store on Redis Streams, over a server of the test's own.

mod faults;
mod foreign;
mod server;
mod shape;

use std::num::NonZeroUsize;

use ::redis::{Value, aio::MultiplexedConnection, cmd};
use tower_sse::{
    TopicName,
    store::{
        Append, Appended, EventStore, NewRecord, Page, Position, Read, ReadFrom, RedisStore,
        StoreError,
        contract::{self, Limits, Subject},
    },
};

use crate::proxy::{Network, Proxy};
use server::Server;

const TOPIC: TopicName = TopicName::from_static("topic");
const ALL: NonZeroUsize = NonZeroUsize::MAX;

struct Redis {
    server: Server,
    proxy: Proxy,
}

impl Redis {
    async fn connection(&self) -> MultiplexedConnection {
        let client = ::redis::Client::open(self.server.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    async fn keys(&self, place: &str) -> Vec<String> {
        let mut connection = self.connection().await;
        let mut keys = Vec::new();
        for pattern in [format!("{place}:*"), format!("{place}#*")] {
            let found: Vec<String> = cmd("KEYS")
                .arg(pattern)
                .query_async(&mut connection)
                .await
                .unwrap();
            keys.extend(found);
        }
        keys
    }
}

impl Subject for Redis {
    type Store = RedisStore;
    type Copy = Vec<(String, Vec<u8>)>;
    const DURABLE: bool = true;
    const SHARED: bool = true;

    async fn open(&self, place: &str, limits: Limits) -> RedisStore {
        let options = RedisStore::options()
            .prefix(place)
            .max_events(limits.events)
            .max_bytes(limits.bytes);
        let options = match limits.age {
            Some(age) => options.max_age(age),
            None => options,
        };
        options.connect(&self.proxy.url("redis")).await.unwrap()
    }

    async fn copy(&self, place: &str) -> Option<Self::Copy> {
        let mut connection = self.connection().await;
        let mut copy = Vec::new();
        for key in self.keys(place).await {
            let dump: Vec<u8> = cmd("DUMP")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .unwrap();
            copy.push((key, dump));
        }
        Some(copy)
    }

    async fn restore(&self, place: &str, copy: Self::Copy) {
        let mut connection = self.connection().await;
        for key in self.keys(place).await {
            let _: Value = cmd("DEL")
                .arg(key)
                .query_async(&mut connection)
                .await
                .unwrap();
        }
        for (key, dump) in copy {
            let mut restore = cmd("RESTORE");
            restore.arg(key).arg(0).arg(dump);
            let _: Value = restore.query_async(&mut connection).await.unwrap();
        }
    }

    async fn work(&self) -> Option<u64> {
        Some(self.server.info("stats", "total_net_output_bytes"))
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
async fn redis_keeps_the_contract() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::to(server.port).await;
    let report = contract::run(&Redis { server, proxy }).await;
    report.assert_passed();
    assert_eq!(report.skipped().next(), None);
}

fn event(data: impl ToString) -> NewRecord {
    NewRecord::event(None, data.to_string())
}

async fn try_append(store: &RedisStore, data: impl ToString) -> Result<Appended, StoreError> {
    store.append(&TOPIC, Append::new([event(data)])).await
}

async fn append(store: &RedisStore, data: impl ToString) -> Position {
    match try_append(store, data).await.unwrap() {
        Appended::Stored(position) => position,
        conflict => panic!("{conflict:?}"),
    }
}

async fn append_each(store: &RedisStore, numbers: std::ops::Range<u64>) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(append(store, number).await);
    }
    positions
}

async fn after(store: &RedisStore, position: Position) -> Result<Read, StoreError> {
    store.read(&TOPIC, ReadFrom::After(position), ALL).await
}

async fn page(store: &RedisStore, from: ReadFrom) -> Page {
    match store.read(&TOPIC, from, ALL).await.unwrap() {
        Read::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

fn texts(page: &Page) -> Vec<String> {
    let data = page.records.iter().map(|record| record.content().data());
    data.map(ToString::to_string).collect()
}

async fn all(store: &RedisStore) -> Vec<String> {
    texts(&page(store, ReadFrom::Oldest).await)
}

/// The kind of an error and all that it says.
fn told(error: &StoreError) -> String {
    let mut text = format!("{error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
