//! What a subscriber of a hub can rely on.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tower_sse::{
    Event, EventId, EventName, GapReason, Hub, LastEventId, PublishErrorKind, Start, Subscription,
    TopicName,
    store::{Append, MemoryStore, NewRecord, Position},
};

use crate::{
    faulty::{Fault, FaultyStore},
    hostile::HostileStore,
    reading::{numbers, texts},
    resume::Flag,
};

const SECOND: Duration = Duration::from_secs(1);

fn topic() -> TopicName {
    TopicName::from_static("topic")
}

async fn publish(hub: &Hub, numbers: std::ops::Range<u64>) -> Vec<EventId> {
    let mut ids = Vec::new();
    let topic = hub.topic::<u64>("topic").unwrap();
    for number in numbers {
        ids.push(loop {
            match topic.publish(&number).await {
                Ok(id) => break id,
                Err(error) => assert_eq!(error.kind(), PublishErrorKind::NotStored),
            }
        });
    }
    ids
}

/// Runs a test on a store that answers at once, and on one that answers as it likes.
async fn on_both(limits: impl Fn() -> MemoryStore, test: impl AsyncFn(Hub)) {
    test(Hub::with_store(limits())).await;
    for seed in 0..20 {
        let store = HostileStore::new(limits(), seed, 25).with_certain_outcomes();
        test(Hub::with_store(store)).await;
    }
}

fn after(id: &EventId) -> LastEventId {
    LastEventId::Id(id.as_str().into())
}

#[tokio::test(start_paused = true)]
async fn a_new_client_begins_where_the_handler_says() {
    on_both(MemoryStore::new, async |hub| {
        let ids = publish(&hub, 0..5).await;
        let open = || vec!["sse.open {}".to_owned()];
        let cases = [
            (Start::Live, open(), 5..6),
            (Start::Newest(0), open(), 5..6),
            (Start::Newest(2), numbers(3..5), 5..6),
            (Start::All, numbers(0..5), 5..6),
            (Start::After(ids[1].clone()), numbers(2..5), 5..6),
            (Start::After(ids[4].clone()), vec![], 5..6),
        ];
        let mut streams = Vec::new();
        for (start, expected, rest) in cases {
            let subscription = hub
                .subscribe("topic", LastEventId::Absent)
                .start(start.clone());
            let mut events = subscription.events();
            assert_eq!(texts(&mut events).await, expected, "{start:?}");
            streams.push((start, events, rest));
        }
        publish(&hub, 5..6).await;
        for (start, mut events, rest) in streams {
            assert_eq!(texts(&mut events).await, numbers(rest), "{start:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_usable_last_event_id_wins_over_the_start() {
    on_both(MemoryStore::new, async |hub| {
        let ids = publish(&hub, 0..5).await;
        for start in [
            Start::Live,
            Start::Newest(1),
            Start::All,
            Start::After(ids[0].clone()),
        ] {
            let mut events = hub.subscribe("topic", after(&ids[2])).start(start).events();
            assert_eq!(texts(&mut events).await, numbers(3..5));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn on_the_memory_store_a_subscription_is_live_from_when_it_was_made() {
    let hub = Hub::new();
    publish(&hub, 0..1).await;
    let mut events = hub.subscribe("topic", LastEventId::Absent).events();
    publish(&hub, 1..3).await;
    assert_eq!(
        texts(&mut events).await,
        numbers(1..3),
        "and needs no priming"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_only_primed_loses_nothing() {
    on_both(MemoryStore::new, async |hub| {
        let mut events = hub.subscribe("topic", LastEventId::Absent).events();
        let open = events.next().await.unwrap();
        assert_eq!(open.event_type(), "sse.open");
        drop(events);
        publish(&hub, 0..3).await;
        let id = LastEventId::Id(open.last_event_id().unwrap().into());
        assert_eq!(
            texts(&mut hub.subscribe("topic", id).events()).await,
            numbers(0..3)
        );

        let mut unprimed = hub
            .subscribe("empty", LastEventId::Absent)
            .without_priming()
            .events();
        assert!(texts(&mut unprimed).await.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_says_why_and_where_it_goes_on() {
    on_both(
        || MemoryStore::new().max_events(NonZeroUsize::new(4).unwrap()),
        async |hub| {
            let ids = publish(&hub, 0..10).await;
            let other = Hub::new();
            let elsewhere = publish(&other, 0..1).await.remove(0);
            let position: Position = ids[9].as_str().parse().unwrap();
            let ahead = Position::new(position.epoch(), 99).into();
            let gap = |data: &str| format!("sse.gap {data}");
            let evicted = gap(r#"{"reason":"evicted","missed":3}"#);
            let unknown = gap(r#"{"reason":"unknown"}"#);
            let cases = [
                (
                    after(&ids[2]),
                    Start::Live,
                    [vec![evicted], numbers(6..10)].concat(),
                ),
                (after(&elsewhere), Start::Live, vec![unknown.clone()]),
                (
                    after(&elsewhere),
                    Start::Newest(2),
                    [vec![unknown.clone()], numbers(8..10)].concat(),
                ),
                (
                    after(&ahead),
                    Start::Live,
                    vec![gap(r#"{"reason":"ahead"}"#)],
                ),
                (
                    LastEventId::Id("junk".into()),
                    Start::Live,
                    vec![unknown.clone()],
                ),
                (
                    LastEventId::Unusable,
                    Start::All,
                    [vec![unknown.clone()], numbers(6..10)].concat(),
                ),
                (
                    LastEventId::Absent,
                    Start::After(EventId::from_static("junk")),
                    vec![unknown],
                ),
                (after(&ids[9]), Start::Live, vec![]),
            ];
            for (last, start, expected) in cases {
                let mut events = hub.subscribe("topic", last.clone()).start(start).events();
                assert_eq!(texts(&mut events).await, expected, "{last:?}");
            }
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_drops_right_after_a_gap_hears_of_it_once() {
    on_both(
        || MemoryStore::new().max_events(NonZeroUsize::new(2).unwrap()),
        async |hub| {
            let ids = publish(&hub, 0..6).await;
            let mut events = hub.subscribe("topic", after(&ids[0])).events();
            let gap = events.next().await.unwrap();
            assert_eq!(
                gap.gap().map(|gap| (gap.reason(), gap.missed())),
                Some((GapReason::Evicted, Some(3)))
            );
            let id = LastEventId::Id(gap.last_event_id().unwrap().into());
            assert_eq!(
                texts(&mut hub.subscribe("topic", id).events()).await,
                numbers(4..6)
            );
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_live_client_that_falls_behind_goes_on_in_the_middle_of_what_is_retained() {
    on_both(
        || MemoryStore::new().max_events(NonZeroUsize::new(8).unwrap()),
        async |hub| {
            let hub = hub.window(NonZeroUsize::new(4).unwrap());
            let mut events = hub.subscribe("topic", LastEventId::Absent).events();
            assert_eq!(texts(&mut events).await, ["sse.open {}"]);
            publish(&hub, 0..100).await;
            let read = texts(&mut events).await;
            // What a window still has is not lost.
            let before = read
                .iter()
                .take_while(|event| !event.starts_with("sse"))
                .count() as u64;
            let gap = format!(r#"sse.gap {{"reason":"lagged","missed":{}}}"#, 96 - before);
            let expected = [numbers(0..before), vec![gap], numbers(96..100)];
            assert_eq!(read, expected.concat());
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_filter_keeps_back_still_moves_the_client() {
    on_both(MemoryStore::new, async |hub| {
        let every_third = |event: &Event| event.decode::<u64>().unwrap().is_multiple_of(3);
        let filtered = |last| hub.subscribe("topic", last).filter(every_third).events();
        let mut events = filtered(LastEventId::Absent);
        assert_eq!(texts(&mut events).await, ["sse.open {}"]);
        publish(&hub, 0..7).await;
        assert_eq!(texts(&mut events).await, ["0", "3", "6"]);

        let quiet = |last| {
            hub.subscribe("topic", last)
                .filter(|event| event.data() == "last")
                .events()
        };
        let mut events = quiet(LastEventId::Absent);
        assert_eq!(texts(&mut events).await, ["sse.open {}"]);
        publish(&hub, 7..1007).await;
        let open = timeout(600 * SECOND, events.next()).await.unwrap().unwrap();
        assert_eq!(
            open.event_type(),
            "sse.open",
            "so that a resume does not read all of it again"
        );
        let position: Position = open.last_event_id().unwrap().parse().unwrap();
        assert!(position.offset() > 500, "{position}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_event_keeps_its_id() {
    on_both(MemoryStore::new, async |hub| {
        let note = EventName::from_static("note");
        let subscription = hub
            .subscribe("topic", LastEventId::Absent)
            .filter(|event| event.data() != "1")
            .filter_map(move |event| {
                Some(Event::new(format!("<{}>", event.data())).name(note.clone()))
            });
        let mut events = subscription.events();
        assert_eq!(texts(&mut events).await, ["sse.open {}"]);
        let ids = publish(&hub, 0..3).await;
        for (id, data) in [(&ids[0], "<0>"), (&ids[2], "<2>")] {
            let event = events.next().await.unwrap();
            assert_eq!((event.event_type(), event.data()), ("note", data));
            assert_eq!(event.last_event_id(), Some(id.as_str()));
            assert_eq!(event.topic(), Some(&topic()));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn following_a_topic_costs_nothing_until_it_is_polled() {
    let store = FaultyStore::new(MemoryStore::new());
    let hub = Hub::with_store(store.clone());
    let subscriptions: Vec<Subscription> = (0..100)
        .map(|_| {
            hub.subscribe("topic", LastEventId::Absent)
                .start(Start::All)
        })
        .collect();
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(store.calls(), 0);
    drop(subscriptions);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_nobody_told_of_is_found_within_ten_seconds() {
    let store = FaultyStore::new(MemoryStore::new());
    let hub = Hub::with_store(store.clone());
    let mut events = hub.subscribe("topic", LastEventId::Absent).events();
    assert_eq!(texts(&mut events).await, ["sse.open {}"]);
    let begun = Instant::now();
    store
        .append_elsewhere(&topic(), Append::new([NewRecord::event(None, "quiet")]))
        .await;
    assert_eq!(events.next().await.unwrap().data(), "quiet");
    assert!(begun.elapsed() <= 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_begun_again_is_told_on_connections_that_never_dropped() {
    let store = FaultyStore::new(MemoryStore::new());
    let hub = Hub::with_store(store.clone());
    let mut events = hub.subscribe("topic", LastEventId::Absent).events();
    assert_eq!(texts(&mut events).await, ["sse.open {}"]);
    publish(&hub, 0..3).await;
    assert_eq!(texts(&mut events).await, numbers(0..3));
    let begun = Instant::now();
    store
        .append_elsewhere(&topic(), Append::new([]).gone_after(Duration::ZERO))
        .await;
    store
        .append_elsewhere(&topic(), Append::new([NewRecord::event(None, "new life")]))
        .await;
    let gap = events.next().await.unwrap();
    assert_eq!(gap.gap().map(|gap| gap.reason()), Some(GapReason::Unknown));
    assert!(begun.elapsed() <= 10 * SECOND);
    publish(&hub, 3..4).await;
    assert_eq!(texts(&mut events).await, numbers(3..4));
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_log_is_told_to_live_and_to_resuming_clients() {
    let store = FaultyStore::new(MemoryStore::new());
    let hub = Hub::with_store(store.clone());
    let mut live = hub.subscribe("topic", LastEventId::Absent).events();
    assert_eq!(texts(&mut live).await, ["sse.open {}"]);
    let ids = publish(&hub, 0..2).await;
    assert_eq!(texts(&mut live).await, numbers(0..2));
    let position: Position = ids[1].as_str().parse().unwrap();
    store.set(Fault::Hole(position.offset() + 2));
    publish(&hub, 2..6).await;
    let lost = r#"sse.gap {"reason":"lost"}"#.to_owned();
    let expected = [numbers(2..3), vec![lost], numbers(4..6)].concat();
    assert_eq!(texts(&mut live).await, expected);
    assert_eq!(
        texts(&mut hub.subscribe("topic", after(&ids[1])).events()).await,
        expected
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_streams_wait_and_then_say_so() {
    for fault in [Fault::Fails, Fault::Hangs] {
        let store = FaultyStore::new(MemoryStore::new());
        let hub = Hub::with_store(store.clone()).unavailable_after(60 * SECOND);
        let ids = publish(&hub, 0..3).await;
        let mut live = hub.subscribe("topic", after(&ids[2])).events();
        assert!(texts(&mut live).await.is_empty());
        store.set(fault);
        store
            .append_elsewhere(&topic(), Append::new([NewRecord::event(None, "3")]))
            .await;

        // Back in time: nobody notices.
        let mut resumed = hub.subscribe("topic", after(&ids[0])).events();
        assert!(
            timeout(50 * SECOND, resumed.next()).await.is_err(),
            "{fault:?}"
        );
        store.set(Fault::None);
        assert_eq!(resumed.next().await.unwrap().data(), "1");
        let found = timeout(20 * SECOND, live.next()).await.unwrap().unwrap();
        assert_eq!(found.data(), "3");

        store.set(fault);
        store
            .append_elsewhere(&topic(), Append::new([NewRecord::event(None, "4")]))
            .await;
        let begun = Instant::now();
        let mut late = hub.subscribe("topic", after(&ids[1])).events();
        for (events, id) in [(&mut late, ids[1].as_str()), (&mut live, "")] {
            let bye = events.next().await.unwrap();
            assert_eq!(
                (bye.event_type(), bye.data()),
                ("sse.bye", r#"{"reason":"unavailable"}"#)
            );
            assert!(
                id.is_empty() || bye.last_event_id() == Some(id),
                "where the client was"
            );
            assert!(events.next().await.is_none(), "a clean end");
        }
        let waited = begun.elapsed();
        assert!(
            (60 * SECOND..100 * SECOND).contains(&waited),
            "{fault:?} {waited:?}"
        );
    }
}

#[test]
fn a_reader_whose_runtime_ends_is_started_again_on_another() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let hub = Hub::with_store(FaultyStore::new(MemoryStore::new()));
    let (first, second) = (runtime(), runtime());
    let mut events = hub.subscribe("topic", LastEventId::Absent).events();
    let mut other = hub.subscribe("topic", LastEventId::Absent).events();
    assert_eq!(
        first.block_on(events.next()).unwrap().event_type(),
        "sse.open"
    );
    assert_eq!(
        second.block_on(other.next()).unwrap().event_type(),
        "sse.open"
    );
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    let entered = second.enter();
    let waits = other.poll_next_unpin(&mut Context::from_waker(&waker));
    assert!(waits.is_pending() && !flag.take());
    drop(first);
    assert!(flag.take(), "to start the reader where this one runs");
    second.block_on(publish(&hub, 0..1));
    assert_eq!(second.block_on(other.next()).unwrap().data(), "0");
    drop(entered);
    drop(second);
    assert_eq!(
        runtime().block_on(events.next()).unwrap().data(),
        "0",
        "also a stream that has moved"
    );
}

#[tokio::test(start_paused = true)]
async fn hubs_over_one_store_share_their_topics() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Hub::with_store(Arc::clone(&store)), Hub::with_store(store));
    let mut events = two.subscribe("topic", LastEventId::Absent).events();
    assert_eq!(texts(&mut events).await, ["sse.open {}"]);
    let begun = Instant::now();
    publish(&one, 0..1).await;
    assert_eq!(events.next().await.unwrap().data(), "0");
    assert_eq!(begun.elapsed(), Duration::ZERO, "the store has told of it");
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Order {
    Placed {
        number: u32,
    },
    Paid(u32, String),
    Shipped,
    #[serde(rename = "sse.forged")]
    Forged,
}

#[tokio::test(start_paused = true)]
async fn a_topic_takes_typed_events_and_gives_them_back() {
    on_both(MemoryStore::new, async |hub| {
        let orders = hub.topic::<Order>("orders").unwrap();
        let mut events = orders.subscribe(LastEventId::Absent).events();
        assert_eq!(texts(&mut events).await, ["sse.open {}"]);
        let sent = [
            Order::Placed { number: 7 },
            Order::Paid(7, "\u{20ac}".into()),
            Order::Shipped,
        ];
        let last = loop {
            match orders.publish_all(&sent).await {
                Ok(last) => break last,
                Err(error) => assert_eq!(error.kind(), PublishErrorKind::NotStored),
            }
        };
        for (name, order) in ["placed", "paid", "shipped"].iter().zip(&sent) {
            let event = events.next().await.unwrap();
            assert_eq!(event.event_type(), *name);
            assert_eq!(&event.decode::<Order>().unwrap(), order);
            if *order == Order::Shipped {
                assert_eq!(event.last_event_id(), Some(last.as_str()));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_fails_its_publish_only() {
    let store = FaultyStore::new(MemoryStore::new());
    let hub = Hub::with_store(store.clone());
    let orders = hub.topic::<Order>("topic").unwrap();
    let texts = hub.topic::<str>("topic").unwrap();
    let kind =
        async |publish: Result<EventId, tower_sse::PublishError>| publish.unwrap_err().kind();
    assert_eq!(
        kind(orders.publish(&Order::Forged).await).await,
        PublishErrorKind::Encode
    );
    assert_eq!(
        kind(orders.publish_all([]).await).await,
        PublishErrorKind::Empty
    );
    let both = [Order::Shipped, Order::Forged];
    assert_eq!(
        kind(orders.publish_all(&both).await).await,
        PublishErrorKind::Encode
    );
    let large = "x".repeat(1024 * 1024);
    assert_eq!(
        kind(texts.publish(&large).await).await,
        PublishErrorKind::TooLarge
    );
    store.set(Fault::Fails);
    assert_eq!(
        kind(texts.publish("x").await).await,
        PublishErrorKind::NotStored
    );
    store.set(Fault::Hangs);
    assert_eq!(
        kind(texts.publish("x").await).await,
        PublishErrorKind::OutcomeUnknown
    );
    store.set(Fault::None);
    assert!(texts.publish("x").await.is_ok());
}

#[test]
fn names_of_topics_are_checked() {
    let long = "a".repeat(200);
    for name in ["a", "A-z_0.9:/", long.as_str()] {
        assert_eq!(TopicName::new(name).unwrap().as_str(), name);
    }
    let longer = "a".repeat(201);
    for name in [
        "",
        " ",
        "a b",
        "a\n",
        "*",
        ">",
        "\u{e9}",
        "a\0",
        longer.as_str(),
    ] {
        assert!(TopicName::new(name).is_err(), "{name:?}");
        assert!(Hub::new().topic::<u64>(name).is_err());
    }
}

#[tokio::test]
async fn a_subscription_may_be_dropped_at_any_poll() {
    on_both(MemoryStore::new, async |hub| {
        for polls in 0..4 {
            let mut events = hub.subscribe("topic", LastEventId::Absent).events();
            for _ in 0..polls {
                let _ = events.next().now_or_never();
            }
        }
        publish(&hub, 0..1).await;
    })
    .await;
}
