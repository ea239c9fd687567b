//! The store on Postgres, over a server of the test's own.

mod outbox;
mod server;
mod shape;

use std::num::NonZeroUsize;

use tower_sse::{
    TopicName,
    store::{
        Append, Appended, EventStore, NewRecord, Page, Position, PostgresStore, Read, ReadFrom,
        StoreError,
        contract::{self, Limits, Subject},
    },
};

use crate::proxy::{Network, Proxy};
use server::Server;

const TOPIC: TopicName = TopicName::from_static("topic");
const ALL: NonZeroUsize = NonZeroUsize::MAX;
const TABLES: [&str; 6] = ["store", "births", "topics", "records", "outbox", "removed"];

struct Postgres {
    server: Server,
    proxy: Proxy,
}

/// The schema of a place, whose name would be too long.
fn schema(place: &str) -> String {
    let hash = place.bytes().fold(0_u64, |hash, byte| {
        hash.wrapping_mul(0x100_0000_01b3).wrapping_add(byte.into())
    });
    format!("place_{hash:x}")
}

impl Subject for Postgres {
    type Store = PostgresStore;
    type Copy = String;
    const DURABLE: bool = true;
    const SHARED: bool = true;

    async fn open(&self, place: &str, limits: Limits) -> PostgresStore {
        let options = PostgresStore::options()
            .schema(schema(place))
            .max_events(limits.events)
            .max_bytes(limits.bytes);
        let options = match limits.age {
            Some(age) => options.max_age(age),
            None => options,
        };
        options
            .connect(&server::url(self.proxy.port))
            .await
            .unwrap()
    }

    async fn copy(&self, place: &str) -> Option<String> {
        let schema = schema(place);
        let mut copy = format!("create schema {schema}_copy;");
        for table in TABLES {
            copy += &format!("create table {schema}_copy.{table} as table {schema}.{table};");
        }
        self.server.run(&copy).await;
        Some(format!("{schema}_copy"))
    }

    async fn restore(&self, place: &str, copy: String) {
        let schema = schema(place);
        let mut restore = String::new();
        for table in TABLES {
            restore += &format!(
                "truncate {schema}.{table}; insert into {schema}.{table} select * from {copy}.{table};"
            );
        }
        self.server.run(&restore).await;
    }

    async fn work(&self) -> Option<u64> {
        let blocks =
            "select pg_stat_force_next_flush(), (sum(heap_blks_hit + heap_blks_read + idx_blks_hit
            + idx_blks_read))::bigint from pg_statio_user_tables";
        // The backends of the store tell what they did when they are idle.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let row = &self.server.rows(blocks).await[0];
        u64::try_from(row.get::<_, i64>(1)).ok()
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
async fn postgres_keeps_the_contract() {
    let Some(server) = Server::start(&["max_connections=500"]).await else {
        return;
    };
    let proxy = Proxy::to(server.port).await;
    let report = contract::run(&Postgres { server, proxy }).await;
    report.assert_passed();
    assert_eq!(report.skipped().next(), None);
}

fn event(data: impl ToString) -> NewRecord {
    NewRecord::event(None, data.to_string())
}

async fn try_append(store: &PostgresStore, data: impl ToString) -> Result<Appended, StoreError> {
    store.append(&TOPIC, Append::new([event(data)])).await
}

async fn append(store: &PostgresStore, data: impl ToString) -> Position {
    match try_append(store, data).await.unwrap() {
        Appended::Stored(position) => position,
        conflict => panic!("{conflict:?}"),
    }
}

async fn after(store: &PostgresStore, position: Position) -> Result<Read, StoreError> {
    store.read(&TOPIC, ReadFrom::After(position), ALL).await
}

async fn page(store: &PostgresStore, topic: &TopicName, from: ReadFrom) -> Page {
    match store.read(topic, from, ALL).await.unwrap() {
        Read::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

fn texts(page: &Page) -> Vec<String> {
    let data = page.records.iter().map(|record| record.content().data());
    data.map(ToString::to_string).collect()
}

async fn all(store: &PostgresStore) -> Vec<String> {
    texts(&page(store, &TOPIC, ReadFrom::Oldest).await)
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
