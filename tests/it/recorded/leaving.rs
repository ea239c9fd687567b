//! What becomes of a response that nobody listens to, or whose producer is no more.

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_sse::{Drain, EndReason, Leaving, Resumable, store::MemoryStore};

use super::{Produced, SECOND, data, layer, on_each, open, reason};
use crate::{
    client::soon,
    life::quietly,
    servers::{Kind, Site, Streamed},
};

/// Lets the tasks of a paused clock come to rest.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_is_cancelled_when_nobody_listens() {
    on_each(async |kind| {
        let produced = Produced::default();
        let resumable = Resumable::new(MemoryStore::new()).leaving(Leaving::Cancel);
        let site = produced.site(&resumable);
        let mut first = open(&site, kind, None).await;
        produced.send("0");
        let id = first.events(2).await[1].2.clone();
        let second = open(&site, kind, Some(&id)).await;
        drop(first);
        settle().await;
        assert_eq!(produced.alive(), 1);
        drop(second);
        settle().await;
        assert_eq!(produced.alive(), 0);
        let (rest, is_whole) = open(&site, kind, Some(&id)).await.rest().await;
        assert!(is_whole);
        assert_eq!(reason(&rest), ("sse.bye", r#"{"reason":"cancelled"}"#));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_was_sent_away_is_expected_back() {
    on_each(async |kind| {
        let produced = Produced::default();
        let resumable = Resumable::new(MemoryStore::new()).leaving(Leaving::Cancel);
        let site = produced.handler();
        let site = site.layer(layer().resumable(&resumable).max_age(100 * SECOND));
        let first = open(&site, kind, None).await;
        let (events, is_whole) = first.rest().await;
        assert!(is_whole);
        let (name, data, id) = events.last().unwrap();
        assert_eq!((&**name, &**data), ("sse.bye", r#"{"reason":"max-age"}"#));
        sleep(29 * SECOND).await;
        let mut again = open(&site, kind, Some(id)).await;
        produced.send("0");
        assert_eq!(again.events(1).await[0].1, "0");
        let (events, _) = again.rest().await;
        sleep(31 * SECOND).await;
        assert_eq!(produced.alive(), 0);
        let (rest, _) = open(&site, kind, Some(&events.last().unwrap().2))
            .await
            .rest()
            .await;
        assert_eq!(reason(&rest).1, r#"{"reason":"cancelled"}"#);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn any_time_may_be_said() {
    on_each(async |kind| {
        for time in [Duration::MAX, Duration::ZERO] {
            let produced = Produced::default();
            let (here, elsewhere) = two(Leaving::Continue(time));
            let set = |one: Resumable| one.lease(time).kept_for(Duration::MAX);
            let mut first = open(&produced.site(&set(here)), kind, None).await;
            let id = first.events(1).await[0].2.clone();
            let mut again = open(&produced.site(&set(elsewhere)), kind, Some(&id)).await;
            again.now();
            sleep(SECOND).await;
            produced.send("0");
            produced.end();
            for client in [first, again] {
                assert_eq!(data(&client.rest().await.0), ["0"]);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_goes_on_for_as_long_as_is_said() {
    on_each(async |kind| {
        let produced = Produced::default();
        let leaving = Leaving::Continue(100 * SECOND);
        let site = produced.site(&Resumable::new(MemoryStore::new()).leaving(leaving));
        let mut first = open(&site, kind, None).await;
        let mut id = first.events(1).await[0].2.clone();
        drop(first);
        // As often as it is come back to, it begins anew.
        for number in ["0", "1", "2"] {
            sleep(99 * SECOND).await;
            produced.send(number);
            let mut again = open(&site, kind, Some(&id)).await;
            let events = again.events(1).await;
            assert_eq!(data(&events), [number]);
            id = events[0].2.clone();
        }
        sleep(101 * SECOND).await;
        assert_eq!((produced.alive(), produced.runs()), (0, 1));
        let (rest, _) = open(&site, kind, Some(&id)).await.rest().await;
        assert_eq!(reason(&rest).1, r#"{"reason":"cancelled"}"#);
    })
    .await;
}

/// Two processes, as far as a store can tell.
fn two(leaving: Leaving) -> (Resumable, Resumable) {
    let store = Arc::new(MemoryStore::new());
    let one = || Resumable::new(Arc::clone(&store)).leaving(leaving);
    (one(), one())
}

#[tokio::test(start_paused = true)]
async fn who_listens_elsewhere_keeps_a_response_alive() {
    on_each(async |kind| {
        let produced = Produced::default();
        let (here, elsewhere) = two(Leaving::Continue(SECOND));
        let mut first = open(&produced.site(&here), kind, None).await;
        let id = first.events(1).await[0].2.clone();
        let mut again = open(&produced.site(&elsewhere), kind, Some(&id)).await;
        assert_eq!(again.now(), []);
        drop(first);
        // For as long as it is read.
        let read = async { again.events(1).await };
        assert!(timeout(600 * SECOND, read).await.is_err());
        assert_eq!(produced.alive(), 1);
        produced.send("0");
        assert_eq!(data(&again.events(1).await), ["0"]);
        drop(again);
        // Its last note is good for three leases.
        sleep(32 * SECOND).await;
        assert_eq!((produced.alive(), produced.runs()), (0, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_is_stopped_from_elsewhere() {
    on_each(async |kind| {
        let produced = Produced::default();
        let (here, elsewhere) = two(Leaving::Continue(SECOND));
        let mut first = open(&produced.site(&here), kind, None).await;
        let id = first.events(1).await[0].2.clone();
        assert!(!elsewhere.stop(&id, Some("bob")).await.unwrap());
        assert!(elsewhere.stop(&id, Some("alice")).await.unwrap());
        let (events, is_whole) = first.rest().await;
        assert!(is_whole);
        assert_eq!(reason(&events).1, r#"{"reason":"cancelled"}"#);
        assert_eq!(produced.alive(), 0);
        assert!(!elsewhere.stop(&id, Some("alice")).await.unwrap());
    })
    .await;
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn clients_are_told_when_a_producer_is_lost() {
    // One in the process of the producer knows at once, and one that is not after a lease.
    for (kind, is_local) in [
        (Kind::Tower, false),
        (Kind::Tower, true),
        (Kind::Axum, false),
        (Kind::Axum, true),
    ] {
        let produced = Produced::default();
        let lease = Duration::from_millis(500);
        let (here, elsewhere) = two(Leaving::Continue(60 * SECOND));
        let (here, elsewhere) = (here.lease(lease), elsewhere.lease(lease));
        let (site, other) = (produced.site(&here), produced.site(&elsewhere));
        let (dies, lives) = (runtime(), runtime());
        let id = dies.block_on(async {
            let mut first = open(&site, kind, None).await;
            produced.send("0");
            first.events(2).await[1].2.clone()
        });
        let listens = if is_local { &site } else { &other };
        let client = lives.block_on(open(listens, kind, Some(&id)));
        dies.shutdown_background();
        lives.block_on(async {
            for client in [client, open(&other, kind, Some(&id)).await] {
                let (events, is_whole) = soon(client.rest()).await;
                assert!(!is_whole);
                assert_eq!(reason(&events), ("sse.bye", r#"{"reason":"lost"}"#));
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_lives_is_not_taken_for_lost() {
    on_each(async |kind| {
        let produced = Produced::default();
        let (here, elsewhere) = two(Leaving::Continue(SECOND));
        let mut first = open(&produced.site(&here), kind, None).await;
        let id = first.events(1).await[0].2.clone();
        let mut again = open(&produced.site(&elsewhere), kind, Some(&id)).await;
        assert!(timeout(300 * SECOND, again.events(1)).await.is_err());
        produced.send("0");
        produced.end();
        assert_eq!(data(&again.rest().await.0), ["0"]);
        drop(first);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_a_response_be_produced_until_its_time_is_over() {
    on_each(async |kind| {
        let produced = Produced::default();
        let (here, elsewhere) = two(Leaving::Cancel);
        let stop = CancellationToken::new();
        let drain = Drain::new(stop.clone()).within(20 * SECOND);
        let site = produced.handler();
        let site = site.layer(layer().resumable(&here).drain(&drain));
        let other = produced.site(&elsewhere);
        let mut clients = Vec::new();
        for number in ["0", "1"] {
            let mut first = open(&site, kind, None).await;
            produced.send(number);
            first.events(2).await;
            clients.push(first);
        }
        // Two clients, and what they listen to.
        assert_eq!(drain.open(), 4);
        stop.cancel();
        let mut again = Vec::new();
        for first in clients {
            let (events, is_whole) = first.rest().await;
            assert!(is_whole);
            let (name, data, id) = events.last().unwrap();
            assert_eq!((&**name, &**data), ("sse.bye", r#"{"reason":"draining"}"#));
            assert_eq!(*id, events[events.len() - 2].2);
            again.push(open(&other, kind, Some(id)).await);
        }
        // One ends in time.
        produced.send("2");
        produced.end();
        let (rest, is_whole) = again.pop().unwrap().rest().await;
        assert_eq!((data(&rest), is_whole), (vec!["2"], true));
        let (rest, is_whole) = again.pop().unwrap().rest().await;
        assert_eq!(
            (reason(&rest).1, is_whole),
            (r#"{"reason":"failed"}"#, false)
        );
        drain.drained().await;
        assert_eq!((produced.alive(), drain.open()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_panics_is_a_response_that_has_failed() {
    quietly();
    on_each(async |kind| {
        let ends = Arc::new(std::sync::Mutex::new(Vec::new()));
        let site = Site::new(|_| Streamed {
            headers: vec![("content-type", "text/event-stream")],
            stream: stream::poll_fn(|_| panic!("of the test")),
        });
        let seen = Arc::clone(&ends);
        let layer = layer().resumable(MemoryStore::new());
        let site = site.layer(layer.on_close(move |closed| {
            seen.lock().unwrap().push(closed.reason());
        }));
        let (events, is_whole) = open(&site, kind, None).await.rest().await;
        assert!(!is_whole);
        assert_eq!(reason(&events).1, r#"{"reason":"failed"}"#);
        assert_eq!(*ends.lock().unwrap(), [EndReason::Failed]);
    })
    .await;
}
