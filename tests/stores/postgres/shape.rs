//! What the store is made of, what it costs, and what becomes of it when Postgres fails.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use tokio::time::{sleep, timeout};
use tower_sse::{Hub, LastEventId, store::StoreErrorKind};

use super::*;
use crate::publishers::{Publishers, check_all_is_there};

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_make_the_schema_at_once() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    for round in 0..5 {
        let schema = format!("round_{round}");
        let stores = (0..8).map(async |_| {
            let options = PostgresStore::options().schema(&schema);
            server.connect_with(options).await
        });
        let stores = join_all(stores).await;
        let heads = stores
            .iter()
            .map(async |store| store.heads(&[TOPIC]).await.unwrap());
        let heads = join_all(heads).await;
        assert!(heads.iter().all(|head| *head == heads[0]), "{heads:?}");
        append(&stores[0], "data").await;
        assert_eq!(all(&stores[7]).await, ["data"]);
    }
}

#[tokio::test]
async fn a_newer_schema_and_other_addresses_are_refused() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    server.sql("update tower_sse.store set version = 99");
    let error = PostgresStore::connect(&server.url()).await.unwrap_err();
    assert!(told(&error).contains("version 99"), "{}", told(&error));
    drop(store);
    for schema in ["", "Upper", "with-dash", "1st", "pg_own", &"x".repeat(49)] {
        let options = PostgresStore::options().schema(schema);
        options.connect(&server.url()).await.unwrap_err();
    }
    for url in [
        "postgres://user:secret@127.0.0.1:1/postgres",
        "postgres://user:secret@127.0.0.1:notaport/postgres",
        "postgres://user:secret@127.0.0.1/postgres?secret=1",
        "secret",
    ] {
        let error = PostgresStore::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(!told(&error).contains("secret"), "{}", told(&error));
    }
}

#[tokio::test]
async fn rows_that_were_changed_by_hand_are_told() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let mut positions = Vec::new();
    for number in 0..10 {
        positions.push(append(&store, number).await);
    }
    server.sql("delete from tower_sse.records where \"offset\" in (1, 2, 5)");
    let Read::Page(read) = after(&store, positions[3]).await.unwrap() else {
        panic!("no page");
    };
    assert_eq!(read.records[0].previous_offset(), 5);
    let options = PostgresStore::options().max_events(NonZeroUsize::new(3).unwrap());
    let strict = server.connect_with(options).await;
    append(&strict, 10).await;
    assert_eq!(all(&strict).await, ["8", "9", "10"]);
    let foreign =
        "insert into tower_sse.records select log, 12, 0, 0, null, '' from tower_sse.topics";
    server.sql(foreign);
    let error = try_append(&store, 11).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
    // Others in the same batch are not to blame.
    let other = TopicName::new("other").unwrap();
    let both = tokio::join!(
        try_append(&store, 11),
        store.append(&other, Append::new([event(0)]))
    );
    assert!(both.0.is_err() && both.1.is_ok(), "{both:?}");
    let error = after(&store, page(&store, ReadFrom::Oldest).await.head).await;
    assert_eq!(error.unwrap_err().kind(), StoreErrorKind::Damaged);
    server.sql("delete from tower_sse.records where \"offset\" = 12");
    append(&store, 11).await;
    server.sql("alter table tower_sse.records rename data to other");
    let error = store.read(&TOPIC, ReadFrom::Oldest, ALL).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Damaged, "{}", told(&error));
    let error = try_append(&store, 12).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Damaged, "{}", told(&error));
}

#[tokio::test]
async fn topics_that_are_gone_are_deleted() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let soon = Append::new((0..2000).map(event)).gone_after(Duration::from_millis(10));
    let _ = store.append(&TOPIC, soon).await.unwrap();
    let deleted = async {
        while server.number("select count(*) from tower_sse.records") > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, deleted).await.unwrap();
    assert_eq!(server.number("select count(*) from tower_sse.topics"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_has_lost_nothing_that_was_acknowledged() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let store = Arc::new(server.connect().await);
    let mut acknowledged = Vec::new();
    for round in 0..crate::sizes(3, 20) {
        let publishers = Publishers::start(&store, 8, round);
        publishers.until(fastrand::u32(1..500)).await;
        server.kill();
        acknowledged.extend(publishers.failed().await);
        let error = try_append(&store, "nobody is there").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        server.start_again();
        append_again(&*store, "again").await;
    }
    check_all_is_there(&page(&store, ReadFrom::Oldest).await, &acknowledged);
}

#[tokio::test]
async fn an_answer_that_was_lost_leaves_the_outcome_unknown() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let options = PostgresStore::options().answer_timeout(Duration::from_millis(500));
    let store = options.connect(&servers::Postgres::url(proxy.port())).await;
    let store = store.unwrap();
    let lost = async {
        loop {
            append(&store, "before").await;
            proxy.is(Network::Mute);
            let error = try_append(&store, "stored").await.unwrap_err();
            if error.kind() == StoreErrorKind::OutcomeUnknown {
                break;
            }
            // The answer to the wake-ups of the first was lost, and nothing was sent any more.
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            proxy.is(Network::Whole);
        }
    };
    timeout(PATIENCE, lost).await.unwrap();
    proxy.is(Network::Cut);
    let error = try_append(&store, "not stored").await.unwrap_err();
    let kinds = [StoreErrorKind::OutcomeUnknown, StoreErrorKind::Unavailable];
    assert!(kinds.contains(&error.kind()));
    proxy.is(Network::Whole);
    append_again(&store, "after").await;
    let mut texts = all(&store).await;
    texts.dedup();
    assert_eq!(texts, ["before", "stored", "after"]);
    server.pause();
    let error = try_append(&store, "paused").await.unwrap_err();
    server.go_on();
    assert_eq!(
        error.kind(),
        StoreErrorKind::OutcomeUnknown,
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn a_server_that_must_not_be_written_to_has_stored_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    append(&store, 0).await;
    server.sql("alter system set default_transaction_read_only = on");
    server.sql("select pg_reload_conf()");
    let refused = async {
        loop {
            match try_append(&store, "x").await {
                Ok(_) => sleep(Duration::from_millis(10)).await,
                Err(error) => break error,
            }
        }
    };
    let error = timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(
        error.kind(),
        StoreErrorKind::Unavailable,
        "{}",
        told(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_followers_are_one_listening_connection() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let topics = crate::sizes(300, 1000);
    let mut hubs = Vec::new();
    let mut followers = Vec::new();
    for _ in 0..3 {
        let hub = Hub::with_store(server.connect().await);
        for number in 0..topics {
            let topic = TopicName::new(format!("topic-{number}")).unwrap();
            followers.push(hub.subscribe(&topic, LastEventId::Absent).events());
        }
        hubs.push(hub);
    }
    let opened = followers
        .iter_mut()
        .map(async |follower| follower.next().await.unwrap());
    timeout(PATIENCE, join_all(opened)).await.unwrap();
    let watching =
        "select count(*) from pg_stat_activity where application_name = 'tower-sse watch'";
    assert_eq!(server.number(watching), 3);
    let all = "select count(*) from pg_stat_activity where application_name like 'tower-sse %'";
    let all = server.number(all);
    assert!(all <= 3 * 7, "{all} connections");
}

#[tokio::test]
async fn few_permissions_suffice() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let owner = server.connect().await;
    server.sql(
        "create role app login; create role publisher login;
            grant usage on schema tower_sse to app, publisher;
            grant usage on all sequences in schema tower_sse to app;
            grant select, insert, update, delete on all tables in schema tower_sse to app;
            grant insert on tower_sse.outbox to publisher;
            grant select on tower_sse.store, tower_sse.sequencer to publisher",
    );
    drop(owner);
    let url = server.url().replace("postgres@", "app@");
    let store = PostgresStore::connect(&url).await.unwrap();
    append(&store, 0).await;
    let url = server.url().replace("postgres@", "publisher@");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    client
        .batch_execute("select tower_sse.publish('topic', '1')")
        .await
        .unwrap();
    client
        .batch_execute("delete from tower_sse.outbox")
        .await
        .unwrap_err();
    let found = async {
        while all(&store).await != ["0", "1"] {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
