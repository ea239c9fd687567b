//! Redis fails: what was acknowledged is there, and what is not known is not claimed.

use std::{fs, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::time::timeout;
use tower_sse::store::{Append, EventStore, Read, ReadFrom, RedisStore, StoreErrorKind};

use super::*;
use crate::publishers::{Publishers, check_all_is_there};

const ALWAYS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_killed_server() {
    let Some(mut server) = Server::start(&ALWAYS) else {
        return;
    };
    let store = Arc::new(server.connect().await);
    let first = append(&store, "first").await;
    for round in 0..3 {
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
    let old = append_each(&store, 0..5).await;
    server.kill();
    server.start_again();
    append_again(&store, "new").await;
    for position in old {
        let answer = after(&store, position).await.unwrap();
        assert!(matches!(answer, Read::UnknownEpoch(_)), "{answer:?}");
    }
    assert_eq!(all(&store).await, ["new"]);
}

/// Redis comes back with less, and all who saw more are gone.
#[tokio::test]
async fn an_older_copy_that_nobody_remembers_is_told() {
    let Some(mut server) = Server::start(&["--dbfilename", "dump.rdb"]) else {
        return;
    };
    let store = server.connect().await;
    let known = append_each(&store, 0..100).await;
    server.cli(&["SAVE"]);
    let copy = fs::read(server.data().join("dump.rdb")).unwrap();
    let lost = append_each(&store, 100..150).await;
    drop(store);
    server.kill();
    fs::write(server.data().join("dump.rdb"), copy).unwrap();
    server.start_again();

    let store = server.connect().await;
    for position in &lost {
        let answer = after(&store, *position).await.unwrap();
        assert!(matches!(answer, Read::Ahead(_)), "{answer:?}");
    }
    let new = append_each(&store, 200..400).await;
    for position in &lost {
        let answer = after(&store, *position).await.unwrap();
        assert!(matches!(answer, Read::UnknownEpoch(_)), "{answer:?}");
    }
    // Where both lives agree, nothing is missing.
    let numbers = |from: u64| (from..100).chain(200..400).map(|number| number.to_string());
    for (number, position) in (1..).zip(&known) {
        let read = page(&store, ReadFrom::After(*position)).await;
        let texts = read
            .records
            .iter()
            .map(|record| record.content().data().to_string());
        assert!(texts.eq(numbers(number)), "behind {position}");
    }
    for count in [0, 1, 150, 200, 201, 250, 300, 999] {
        let read = page(&store, ReadFrom::Newest(count)).await;
        assert_eq!(
            read.records.len() as u64,
            count.min(300),
            "the newest {count}"
        );
    }

    // And where the place at which they part is gone, it is told as any other that is evicted.
    let few = RedisStore::options().max_events(NonZeroUsize::new(120).unwrap());
    let store = few.connect(&server.url()).await.unwrap();
    append(&store, "last").await;
    for (position, missed) in known
        .iter()
        .chain(&lost)
        .map(|position| (position, None))
        .chain([(&new[10], Some(70)), (&new[79], Some(1))])
    {
        match after(&store, *position).await.unwrap() {
            Read::Evicted(evicted) => {
                assert_eq!(evicted.missed, missed, "{position}");
                for position in [evicted.oldest, evicted.middle] {
                    let left = page(&store, ReadFrom::After(position)).await.records.len();
                    assert!((60..=120).contains(&left), "{left} behind {position}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A copy of a log that is in the middle of a run goes on in it: a client that is too slow is led to
/// a place that there is.
#[tokio::test]
async fn the_middle_of_a_log_is_a_place_in_it() {
    let Some(mut server) = Server::start(&ALWAYS) else {
        return;
    };
    for (before, behind) in [(10_u64, 1_u64), (1, 10), (5, 5)] {
        server.cli(&["FLUSHALL"]);
        let few = NonZeroUsize::new(usize::try_from(before + behind).unwrap()).unwrap();
        let few = RedisStore::options().max_events(few);
        let store = few.clone().connect(&server.url()).await.unwrap();
        let oldest = append(&store, "evicted").await;
        append_each(&store, 0..before + 1).await;
        drop(store);
        server.kill();
        server.start_again();
        let store = few.connect(&server.url()).await.unwrap();
        append_each(&store, 0..behind).await;
        let Read::Evicted(evicted) = after(&store, oldest).await.unwrap() else {
            panic!("{oldest} is evicted");
        };
        let left = page(&store, ReadFrom::After(evicted.middle))
            .await
            .records
            .len() as u64;
        assert!(left < before + behind, "{left} of {before} and {behind}");
        let all = page(&store, ReadFrom::After(evicted.oldest))
            .await
            .records
            .len() as u64;
        assert_eq!(all, before + behind);
    }
}

#[tokio::test]
async fn an_older_copy_is_noticed_by_whoever_saw_more() {
    // Whether it is an append, a read or the slow round that comes first.
    for first in ["append", "read", "heads"] {
        let Some(mut server) = Server::start(&["--dbfilename", "dump.rdb"]) else {
            return;
        };
        let store = server.connect().await;
        let known = append_each(&store, 0..100).await;
        server.cli(&["SAVE"]);
        let copy = fs::read(server.data().join("dump.rdb")).unwrap();
        let lost = append_each(&store, 100..150).await;
        server.kill();
        fs::write(server.data().join("dump.rdb"), copy).unwrap();
        server.start_again();
        let stranger = server.connect().await;
        let answered = async {
            loop {
                let answer = match first {
                    "append" => break append_again(&store, "new").await,
                    "read" => after(&store, lost[0]).await.map(drop),
                    _ => store.heads(&[TOPIC]).await.map(drop),
                };
                if answer.is_ok() {
                    break known[0];
                }
            }
        };
        timeout(PATIENCE, answered).await.unwrap();
        for number in 0..60 {
            append(&stranger, format!("new {number}")).await;
        }
        for store in [&store, &stranger] {
            for position in known.iter().chain(&lost) {
                let answer = after(store, *position).await.unwrap();
                assert!(
                    matches!(answer, Read::UnknownEpoch(_)),
                    "{first}: {answer:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_topic_without_a_log_keeps_its_beginning_over_an_older_copy() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let head = async || store.heads(&[TOPIC]).await.unwrap()[0];
    let before = head().await;
    let births = server.cli(&["HGETALL", "tower-sse#births"]);
    assert_eq!(births, "");
    append(&store, 0).await;
    server.cli(&["DEL", "tower-sse:topic", "tower-sse:topic#"]);
    let lost = head().await;
    assert_ne!(before, lost);
    // As an older copy would have it.
    server.cli(&["DEL", "tower-sse#births"]);
    append(&store, 1).await;
    for position in [lost, before] {
        let answer = after(&store, position).await.unwrap();
        assert!(
            matches!(answer, Read::UnknownEpoch(_)),
            "{position}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_paused_server_leaves_the_outcome_unknown() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let options = RedisStore::options().answer_timeout(Duration::from_millis(300));
    let store = server.connect_with(options).await;
    append(&store, "before").await;
    server.pause();
    let error = try_append(&store, "during").await.unwrap_err();
    let read = store.read(&TOPIC, ReadFrom::Oldest, super::ALL).await;
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
    let options = RedisStore::options().answer_timeout(Duration::from_millis(500));
    let store = options
        .connect(&servers::Redis::url(proxy.port()))
        .await
        .unwrap();
    append(&store, "before").await;
    proxy.is(Network::Mute);
    let error = try_append(&store, "stored").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
    assert_eq!(server.cli(&["XLEN", "tower-sse:topic"]), "2");
    proxy.is(Network::Cut);
    let error = try_append(&store, "not stored").await.unwrap_err();
    let kinds = [StoreErrorKind::OutcomeUnknown, StoreErrorKind::Unavailable];
    assert!(kinds.contains(&error.kind()));
    proxy.is(Network::Whole);
    append_again(&store, "after").await;
    assert_eq!(all(&store).await, ["before", "stored", "after"]);
}

#[tokio::test]
async fn a_server_that_is_gone_is_certain() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    append(&store, "before").await;
    server.kill();
    // The connection breaks under the first of them.
    let _ = try_append(&store, "during").await.unwrap_err();
    for _ in 0..3 {
        let error = try_append(&store, "during").await.unwrap_err();
        assert_eq!(
            error.kind(),
            StoreErrorKind::Unavailable,
            "{}",
            told(&error)
        );
    }
}

#[tokio::test]
async fn a_full_server_refuses_events_and_answers_readers() {
    let Some(server) = Server::start(&["--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let store = server.connect().await;
    let before = append_each(&store, 0..3).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let batch = Append::new([event("x".repeat(1000)), event(4)]);
    let error = store.append(&TOPIC, batch).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(told(&error).contains("OOM"), "{}", told(&error));
    assert_eq!(all(&store).await, ["0", "1", "2"]);
    let _ = after(&store, before[0]).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    append(&store, 3).await;
    assert_eq!(all(&store).await, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn a_server_that_must_not_be_written_to_has_stored_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    append(&store, 0).await;
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = try_append(&store, 1).await.unwrap_err();
    assert_eq!(
        error.kind(),
        StoreErrorKind::Unavailable,
        "{}",
        told(&error)
    );
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    let port = server.port().to_string();
    server.cli(&["REPLICAOF", "127.0.0.1", &port]);
    let error = try_append(&store, 1).await.unwrap_err();
    assert_eq!(
        error.kind(),
        StoreErrorKind::Unavailable,
        "{}",
        told(&error)
    );
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    append(&store, 2).await;
    assert_eq!(all(&store).await, ["0", "2"]);
}
