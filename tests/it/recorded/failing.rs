//! Stores that fail, are full, or lose what they had; and clients that are slow.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::{sleep, timeout};
use tower_sse::{Leaving, Resumable, StoreFailure, store::MemoryStore};

use super::{Produced, SECOND, UNKNOWN, data, layer, on_each, open, reason};
use crate::{
    faulty::{Fault, FaultyStore},
    hostile::HostileStore,
    life::Alive,
    servers::{Site, Streamed},
};

/// A site whose responses count, and are never over before `most`.
fn counting(alive: &Alive, most: usize, resumable: Resumable) -> Site {
    let alive = alive.clone();
    let site = Site::new(move |_| {
        let events = (0..most).map(|number| Ok(Bytes::from(format!("data: {number}\n\n"))));
        Streamed {
            headers: vec![("content-type", "text/event-stream")],
            stream: alive.keep(stream::iter(events).chain(stream::empty())),
        }
    });
    site.layer(layer().resumable(resumable))
}

#[track_caller]
fn check_whole(data: &[&str], most: usize) {
    let expected: Vec<_> = (0..most).map(|number| number.to_string()).collect();
    assert_eq!(data, expected);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_everything_at_the_worst_moment_loses_nothing() {
    on_each(async |kind| {
        for seed in 0..20 {
            let memory = MemoryStore::new().max_events(NonZeroUsize::new(200).unwrap());
            let store = HostileStore::new(memory, seed, 25);
            let site = counting(&Alive::default(), 100, Resumable::new(store));
            let mut client = open(&site, kind, None).await;
            let mut seen: Vec<(String, String, String)> = Vec::new();
            // Each connection is cut after a few events, and what does not answer is asked again.
            for attempt in 0.. {
                assert!(attempt < 1000, "{seed} {seen:?}");
                let (events, is_over) = client.some(1 + attempt % 7).await;
                let is_gap = events.iter().any(|(name, ..)| name == "sse.gap");
                assert!(!is_gap, "{seed} {events:?}");
                seen.extend(events.into_iter().filter(|(.., id)| id.starts_with("r.")));
                let last = seen.last().unwrap();
                if is_over && last.1 == "99" || last.2 == "r.unrecorded" {
                    break;
                }
                client = open(&site, kind, Some(&last.2)).await;
            }
            // Where the record could not go on, the client was told so.
            let whole = match seen.last().unwrap().2 == "r.unrecorded" {
                true => data(&seen).len(),
                false => 100,
            };
            check_whole(&data(&seen), whole);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_its_store_a_response_goes_on_and_says_so() {
    for fault in [Fault::Fails, Fault::Hangs] {
        on_each(async |kind| {
            let produced = Produced::default();
            let store = FaultyStore::new(MemoryStore::new());
            let site = produced.site(&Resumable::new(store.clone()));
            let mut first = open(&site, kind, None).await;
            produced.send("0");
            let id = first.events(2).await[1].2.clone();
            store.set(fault);
            produced.send("1");
            produced.send("2");
            let events = first.events(5).await;
            assert_eq!(data(&events), ["0", "1", "2"]);
            assert_eq!(events[2].0, "sse.open");
            assert_eq!(events[2].1, r#"{"resumable":false}"#);
            assert!(events[2..].iter().all(|(.., id)| id == "r.unrecorded"));
            // Who comes back is told that it has to wait.
            let (events, _) = open(&site, kind, Some(&id)).await.rest().await;
            assert_eq!(events, []);
            // Who loses the connection now is told that there is more.
            let cut = open(&site, kind, Some("r.unrecorded")).await;
            assert_eq!(cut.body.text().await, UNKNOWN);
            produced.end();
            let (events, is_whole) = first.rest().await;
            assert_eq!((events.len(), is_whole), (6, true));
            // And who has all, that there is not.
            assert_eq!(reason(&events), ("sse.open", "{}"));
            assert_eq!((produced.alive(), produced.runs()), (0, 1));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_store_a_response_fails_if_that_is_said() {
    for fault in [Fault::Fails, Fault::Hangs] {
        on_each(async |kind| {
            let produced = Produced::default();
            let store = FaultyStore::new(MemoryStore::new());
            let resumable = Resumable::new(store.clone()).store_failure(StoreFailure::Fail);
            let site = produced.site(&resumable);
            let mut first = open(&site, kind, None).await;
            produced.send("0");
            first.events(2).await;
            store.set(fault);
            produced.send("1");
            let (events, is_whole) = first.rest().await;
            assert_eq!((data(&events), is_whole), (vec!["0"], false));
            assert_eq!(reason(&events).1, r#"{"reason":"failed"}"#);
            assert_eq!(produced.alive(), 0);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_store_never_answered_is_sent_nevertheless() {
    on_each(async |kind| {
        let produced = Produced::default();
        let store = FaultyStore::new(MemoryStore::new());
        store.set(Fault::Fails);
        let site = produced.site(&Resumable::new(store));
        let mut first = open(&site, kind, None).await;
        produced.send("0");
        let events = first.events(2).await;
        assert_eq!(events[0].1, r#"{"resumable":false}"#);
        assert_eq!(data(&events), ["0"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_a_lease_is_not_noticed() {
    on_each(async |kind| {
        let produced = Produced::default();
        let store = FaultyStore::new(MemoryStore::new());
        let site = produced.site(&Resumable::new(store.clone()));
        let mut first = open(&site, kind, None).await;
        let mut sent = first.events(1).await.len();
        for fault in [Fault::Fails, Fault::Hangs] {
            store.set(fault);
            produced.send("0");
            assert!(timeout(5 * SECOND, first.events(9)).await.is_err());
            store.set(Fault::None);
            produced.send("1");
            sent += 2;
            first.events(sent).await;
        }
        produced.end();
        let (events, is_whole) = first.rest().await;
        assert_eq!((data(&events), is_whole), (vec!["0", "1", "0", "1"], true));
        assert!(
            events
                .iter()
                .all(|(_, data, _)| !data.contains("resumable"))
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_its_store_has_lost_is_no_reason_to_lose_events() {
    on_each(async |kind| {
        // So little that the next response pushes this one out.
        let store = MemoryStore::new().max_total_bytes(NonZeroUsize::new(2000).unwrap());
        let store = Arc::new(store);
        let produced = Produced::default();
        let site = produced.site(&Resumable::new(Arc::clone(&store)));
        let mut first = open(&site, kind, None).await;
        produced.send("0");
        let id = first.events(2).await[1].2.clone();
        // Who listens elsewhere notes it, behind what the producer has appended.
        let elsewhere = produced.site(&Resumable::new(store));
        let mut other = open(&elsewhere, kind, Some(&id)).await;
        other.now();
        sleep(Duration::from_millis(100)).await;
        first.now();
        let mut second = open(&site, kind, None).await;
        produced.send(&"x".repeat(3000));
        second.events(2).await;
        let sender = produced.senders.lock().unwrap()[0].clone();
        sender.send(Ok("data: 1\n\n".into())).unwrap();
        sender.send(Ok("data: 2\n\n".into())).unwrap();
        let events = first.events(5).await;
        assert_eq!(data(&events), ["0", "1", "2"]);
        assert_eq!(events[2].1, r#"{"resumable":false}"#);
        // The others are told.
        assert_eq!(reason(&other.rest().await.0).0, "sse.gap");
        let late = open(&site, kind, Some(&id)).await;
        assert_eq!(late.body.text().await, UNKNOWN);
        produced.senders.lock().unwrap().clear();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_producer_waits_for_its_clients() {
    on_each(async |kind| {
        let (alive, most) = (Alive::default(), 1000);
        let store = MemoryStore::new().max_events(NonZeroUsize::new(20).unwrap());
        let resumable = Resumable::new(store).leaving(Leaving::Continue(3600 * SECOND));
        let site = counting(&alive, most, resumable.clone());
        let mut client = open(&site, kind, None).await;
        client.events(3).await;
        sleep(20 * SECOND).await;
        assert_eq!(alive.count(), 1);
        let (events, is_whole) = client.rest().await;
        assert!(is_whole);
        check_whole(&data(&events), most);
        // Without one it goes on, and who comes back is told of what is gone.
        let client = open(&site, kind, None).await;
        sleep(SECOND).await;
        assert_eq!(alive.count(), 1);
        drop(client);
        sleep(SECOND).await;
        assert_eq!(alive.count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_retained_is_told() {
    on_each(async |kind| {
        let produced = Produced::default();
        let store = MemoryStore::new().max_events(NonZeroUsize::new(20).unwrap());
        let site = produced.site(&Resumable::new(Arc::new(store)));
        let mut first = open(&site, kind, None).await;
        let id = first.events(1).await[0].2.clone();
        drop(first);
        for number in 0..50 {
            produced.send(&number.to_string());
        }
        sleep(Duration::from_millis(10)).await;
        let mut again = open(&site, kind, Some(&id)).await;
        let events = again.events(21).await;
        assert_eq!(events[0].0, "sse.gap");
        assert!(events[0].1.contains("evicted"), "{events:?}");
        assert_eq!(data(&events)[0], "30");
        // Once.
        let mut third = open(&site, kind, Some(&events[0].2)).await;
        assert_eq!(third.events(20).await, events[1..]);
    })
    .await;
}
