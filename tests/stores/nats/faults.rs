//! NATS fails: what was acknowledged is there, and what is not known is not claimed.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tower_sse::store::{EventStore, NatsStore, Read, ReadFrom, StoreErrorKind};

use super::*;
use crate::publishers::{Publishers, check_all_is_there};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_killed_server() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let store = Arc::new(server.connect().await);
    let first = append(&store, "first").await;
    for round in 0..crate::sizes(3, 20) {
        let publishers = Publishers::start(&store, 4, round);
        publishers.until(fastrand::u32(1..500)).await;
        server.kill();
        let acknowledged = publishers.failed().await;
        server.start_again();
        append_again(&store, "back").await;
        let read = page(&store, ReadFrom::Oldest).await;
        assert_eq!(read.head.epoch(), first.epoch(), "another life");
        check_all_is_there(&read, &acknowledged);
    }
}

#[tokio::test]
async fn data_that_was_lost_with_the_server_is_another_life() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let beginning = store.heads(&[TOPIC]).await.unwrap()[0];
    let mut old = append_each(&store, 0..5).await;
    old.push(beginning);
    server.kill();
    server.replace(None);
    server.start_again();
    append_again(&store, "new").await;
    for position in old {
        let answer = after(&store, position).await.unwrap();
        assert!(matches!(answer, Read::UnknownEpoch(_)), "{answer:?}");
    }
    assert_eq!(all(&store).await, ["new"]);
}

#[tokio::test]
async fn an_older_copy_is_noticed_by_whoever_saw_more() {
    // Whether it is an append, a read or the slow round that comes first.
    for first in ["append", "read", "heads"] {
        let Some(mut server) = Server::start(&[]) else {
            return;
        };
        let store = server.connect().await;
        let known = append_each(&store, 0..20).await;
        let copy = server.copy();
        append_again(&store, "first of the lost").await;
        let lost = append_each(&store, 20..30).await;
        server.kill();
        server.replace(Some(&copy));
        server.start_again();
        let stranger = server.connect().await;
        let answered = async {
            loop {
                let answer = match first {
                    "append" => append_again(&store, "new")
                        .await
                        .offset()
                        .checked_add(0)
                        .ok_or(()),
                    "read" => after(&store, lost[0]).await.map(|_| 0).map_err(drop),
                    _ => store.heads(&[TOPIC]).await.map(|_| 0).map_err(drop),
                };
                if answer.is_ok() {
                    break;
                }
            }
        };
        timeout(PATIENCE, answered).await.unwrap();
        for number in 0..40 {
            append(&stranger, format!("new {number}")).await;
        }
        for store in [&store, &stranger] {
            for position in known.iter().chain(&lost) {
                let answer = after(store, *position).await.unwrap();
                let is_told = matches!(answer, Read::UnknownEpoch(_));
                assert!(is_told, "{first}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_paused_server_leaves_the_outcome_unknown() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let options = NatsStore::options().answer_timeout(Duration::from_millis(300));
    let store = server.connect_with(options).await;
    append(&store, "before").await;
    server.pause();
    let error = try_append(&store, "during").await.unwrap_err();
    let read = store.read(&TOPIC, ReadFrom::Oldest, ALL).await;
    server.go_on();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
    assert_eq!(read.unwrap_err().kind(), StoreErrorKind::Unavailable);
    append_again(&store, "after").await;
    let mut texts = all(&store).await;
    texts.retain(|text| text != "during");
    texts.dedup();
    assert_eq!(texts, ["before", "after"]);
}

#[tokio::test]
async fn an_answer_that_was_lost_leaves_the_outcome_unknown() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let options = NatsStore::options().answer_timeout(Duration::from_millis(500));
    let store = options
        .connect(&servers::Nats::url(proxy.port()))
        .await
        .unwrap();
    append(&store, "before").await;
    proxy.is(Network::Mute);
    let error = try_append(&store, "stored").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
    proxy.is(Network::Cut);
    let error = try_append(&store, "not stored").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    proxy.is(Network::Whole);
    append_again(&store, "after").await;
    assert_eq!(all(&store).await, ["before", "stored", "after"]);
}

#[tokio::test]
async fn a_server_that_is_gone_is_certain() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let options = NatsStore::options().answer_timeout(Duration::from_millis(500));
    let store = server.connect_with(options).await;
    append(&store, "before").await;
    server.kill();
    // The connection breaks under the first of them.
    let _ = try_append(&store, "during").await.unwrap_err();
    for _ in 0..3 {
        let error = try_append(&store, "during").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    }
}

#[tokio::test]
async fn a_server_without_jetstream_and_one_that_refuses_are_told() {
    let Some(server) = Server::start(&["--user", "one", "--pass", "secret"]) else {
        return;
    };
    let refused =
        NatsStore::connect(&format!("nats://one:wrong@127.0.0.1:{}", server.port())).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    for address in ["nats://one:wrong@[", "", "::"] {
        let error = NatsStore::connect(address).await.unwrap_err();
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
    let url = format!("nats://one:secret@127.0.0.1:{}", server.port());
    let store = NatsStore::connect(&url).await.unwrap();
    assert!(!format!("{store:?}").contains("secret"));
    append(&store, 1).await;
}
