//! The store on Postgres, over a server of the test's own.

mod outbox;
mod shape;

use std::num::NonZeroUsize;

use servers::{Engine, Network, Proxy};
use tokio_postgres::{Client, NoTls};
use tower_sse::{
    TopicName,
    store::{
        Append, EventStore, PostgresStore, Read, ReadFrom,
        contract::{self, Limits, Subject},
    },
};

use crate::log::{
    ALL, PATIENCE, TOPIC, after, all, append, append_again, event, page, page_of, texts, told,
    try_append,
};
use crate::server::Connect;

type Server = servers::Server<servers::Postgres>;

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
            .connect(&servers::Postgres::url(self.proxy.port()))
            .await
            .unwrap()
    }

    async fn copy(&self, place: &str) -> Option<String> {
        let schema = schema(place);
        let mut copy = format!("create schema {schema}_copy;");
        for table in TABLES {
            copy += &format!("create table {schema}_copy.{table} as table {schema}.{table};");
        }
        self.server.sql(&copy);
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
        self.server.sql(&restore);
    }

    async fn work(&self) -> Option<u64> {
        let blocks = "select (sum(heap_blks_hit + heap_blks_read + idx_blks_hit
            + idx_blks_read))::bigint from pg_statio_user_tables";
        // The backends of the store tell what they did when they are idle.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        Some(self.server.number(blocks))
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
    let Some(server) = Server::start(&["max_connections=500"]) else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let report = contract::run(&Postgres { server, proxy }).await;
    report.assert_passed();
    assert_eq!(report.skipped().next(), None);
}

async fn client(server: &Server) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
