//! What somebody does to the log of the one topic, past the hubs.

use std::path::PathBuf;

use async_nats::jetstream::{self, stream::Stream};
use servers::{Nats, Postgres, Redis, Server};

use super::TOPIC;
use crate::backend::Backend;

pub(super) trait ByHand: Backend {
    /// What the topic was at one time.
    type Saved;

    /// Takes the oldest records away, but so many.
    async fn trim(server: &Server<Self>, left: u64);

    /// Takes the record away that was the nth to be appended.
    async fn delete(server: &Server<Self>, nth: usize);

    /// Takes all records away, and nothing else where that can be told apart.
    async fn delete_all(server: &Server<Self>);

    /// Takes the topic away.
    async fn forget(server: &Server<Self>);

    /// Takes everything away.
    async fn forget_everything(server: &Server<Self>);

    fn save(server: &Server<Self>) -> Self::Saved;

    fn put_back(server: &mut Server<Self>, saved: Self::Saved);
}

async fn jetstream(server: &Server<Nats>) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

async fn stream(server: &Server<Nats>) -> Stream {
    jetstream(server)
        .await
        .get_stream("tower-sse")
        .await
        .unwrap()
}

impl ByHand for Nats {
    type Saved = PathBuf;

    async fn trim(server: &Server<Self>, left: u64) {
        let stream = stream(server).await;
        let purge = stream.purge().filter(format!("tower-sse.{TOPIC}"));
        purge.keep(left).await.unwrap();
    }

    async fn delete(server: &Server<Self>, nth: usize) {
        let sequence = u64::try_from(nth).unwrap();
        let deleted = stream(server).await.delete_message(sequence).await;
        assert!(deleted.unwrap());
    }

    async fn delete_all(server: &Server<Self>) {
        let stream = stream(server).await;
        let purge = stream.purge().filter(format!("tower-sse.{TOPIC}"));
        assert!(purge.await.unwrap().purged > 0);
    }

    async fn forget(server: &Server<Self>) {
        Self::delete_all(server).await;
    }

    async fn forget_everything(server: &Server<Self>) {
        let jetstream = jetstream(server).await;
        jetstream.delete_stream("tower-sse").await.unwrap();
    }

    fn save(server: &Server<Self>) -> PathBuf {
        server.copy()
    }

    fn put_back(server: &mut Server<Self>, saved: PathBuf) {
        server.kill();
        server.replace(Some(&saved));
        server.start_again();
    }
}

const TABLES: [&str; 6] = ["store", "births", "topics", "records", "outbox", "removed"];

impl ByHand for Postgres {
    type Saved = ();

    async fn trim(server: &Server<Self>, left: u64) {
        server.sql(&format!(
            "delete from tower_sse.records where \"offset\" not in
            (select \"offset\" from tower_sse.records order by \"offset\" desc limit {left})"
        ));
    }

    async fn delete(server: &Server<Self>, nth: usize) {
        server.sql(&format!(
            "delete from tower_sse.records where \"offset\" = {nth}"
        ));
    }

    async fn delete_all(server: &Server<Self>) {
        server.sql("delete from tower_sse.records");
    }

    async fn forget(server: &Server<Self>) {
        server.sql(&format!(
            "delete from tower_sse.records using tower_sse.topics
                where topics.topic = '{TOPIC}' and topics.log = records.log;
            delete from tower_sse.topics where topic = '{TOPIC}'"
        ));
    }

    async fn forget_everything(server: &Server<Self>) {
        server.sql("drop schema tower_sse cascade");
    }

    fn save(server: &Server<Self>) {
        for table in TABLES {
            server.sql(&format!(
                "create table saved_{table} as table tower_sse.{table}"
            ));
        }
    }

    fn put_back(server: &mut Server<Self>, (): ()) {
        let put_back = TABLES.map(|table| {
            format!(
                "truncate tower_sse.{table};
                insert into tower_sse.{table} select * from saved_{table};"
            )
        });
        server.sql(&put_back.concat());
    }
}

/// The keys of the topic, its stream first.
fn keys(server: &Server<Redis>) -> Vec<String> {
    let keys = server.cli(&["keys", &format!("*{TOPIC}*")]);
    let mut keys: Vec<_> = keys.lines().map(str::to_owned).collect();
    keys.sort_by_key(|key| server.cli(&["type", key]) != "stream");
    assert!(keys.len() > 1, "{keys:?}");
    keys
}

impl ByHand for Redis {
    type Saved = Vec<(String, String)>;

    async fn trim(server: &Server<Self>, left: u64) {
        server.cli(&["xtrim", &keys(server)[0], "maxlen", &left.to_string()]);
    }

    async fn delete(server: &Server<Self>, nth: usize) {
        let stream = &keys(server)[0];
        let ids = server.cli(&["xrange", stream, "-", "+"]);
        let ids: Vec<_> = ids.lines().filter(|line| line.ends_with("-0")).collect();
        assert_eq!(server.cli(&["xdel", stream, ids[nth - 1]]), "1");
    }

    async fn delete_all(server: &Server<Self>) {
        server.cli(&["del", &keys(server)[0]]);
    }

    async fn forget(server: &Server<Self>) {
        for key in keys(server) {
            server.cli(&["del", &key]);
        }
    }

    async fn forget_everything(server: &Server<Self>) {
        server.cli(&["flushall"]);
    }

    fn save(server: &Server<Self>) -> Self::Saved {
        let saved = keys(server).into_iter().enumerate();
        let saved = saved.map(|(at, key)| (format!("saved:{at}"), key));
        saved
            .inspect(|(saved, key)| drop(server.cli(&["copy", key, saved])))
            .collect()
    }

    fn put_back(server: &mut Server<Self>, saved: Self::Saved) {
        for (saved, key) in saved {
            assert_eq!(server.cli(&["copy", &saved, &key, "replace"]), "1");
        }
    }
}
