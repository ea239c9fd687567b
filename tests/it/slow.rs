//! What becomes of live clients that are too slow.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};
use tower_sse::{
    Event, Hub, LastEventId, SlowClient, Sse, Start, Subscription, TopicName, store::MemoryStore,
};

use crate::{
    faulty::FaultyStore,
    reading::{now, numbers, text, texts},
};

const SECOND: Duration = Duration::from_secs(1);
const POLICIES: [SlowClient; 3] = [
    SlowClient::CatchUp,
    SlowClient::SkipToNewest,
    SlowClient::Disconnect,
];

fn hub(store: &FaultyStore, policy: SlowClient) -> Hub {
    Hub::with_store(store.clone())
        .window(NonZeroUsize::new(4).unwrap())
        .slow_clients(move |_| policy)
}

/// Publishes one by one, so that each is in the window for a time.
async fn publish(hub: &Hub, topic: &'static str, numbers: std::ops::Range<u32>) {
    let topic = hub.topic::<u32>(topic).unwrap();
    for number in numbers {
        topic.publish(&number).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
}

fn lagged(missed: u32) -> String {
    format!(r#"sse.gap {{"reason":"lagged","missed":{missed}}}"#)
}

fn bye() -> String {
    r#"sse.bye {"reason":"lagged"}"#.to_owned()
}

fn after(event: &Event) -> LastEventId {
    LastEventId::Id(event.last_event_id().unwrap().into())
}

#[tokio::test(start_paused = true)]
async fn a_live_client_that_falls_behind_is_treated_as_its_topic_says() {
    for policy in POLICIES {
        let store = FaultyStore::new(MemoryStore::new());
        let hub = hub(&store, policy);
        let mut events = hub.subscribe("topic", LastEventId::Absent).events();
        assert_eq!(texts(&mut events).await, ["sse.open {}"]);
        publish(&hub, "topic", 0..4).await;
        assert_eq!(texts(&mut events).await, numbers(0..4), "in the window");
        publish(&hub, "topic", 4..20).await;
        let calls = store.calls();
        let mut read = Vec::new();
        while let Some(Some(event)) = events.next().now_or_never() {
            read.push(event);
        }
        let reads = store.calls() - calls;
        let read_texts: Vec<_> = read.iter().map(text).collect();
        match policy {
            SlowClient::CatchUp => {
                assert_eq!(read_texts, numbers(4..20));
                assert!(reads > 0);
            }
            SlowClient::SkipToNewest => {
                assert_eq!(read_texts, [lagged(15), "19".to_owned()]);
                assert_eq!(reads, 0);
                publish(&hub, "topic", 20..22).await;
                assert_eq!(texts(&mut events).await, numbers(20..22));
            }
            _ => {
                assert_eq!(read_texts, [lagged(15), bye()]);
                assert_eq!(reads, 0);
                assert!(events.next().await.is_none());
                assert_eq!(after(&read[0]), after(&read[1]));
                publish(&hub, "topic", 20..22).await;
                let mut again = hub.subscribe("topic", after(&read[1])).events();
                assert_eq!(texts(&mut again).await, numbers(19..22));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_sent_what_it_missed_before_it_came_is_never_too_slow() {
    for policy in POLICIES {
        let hub = hub(&FaultyStore::new(MemoryStore::new()), policy);
        let mut first = hub.subscribe("topic", LastEventId::Absent).events();
        let open = first.next().await.unwrap();
        publish(&hub, "topic", 0..10).await;
        // One begins in the log and one in the window, which then moves on.
        let mut events = hub.subscribe("topic", after(&open)).events();
        assert_eq!(events.next().await.unwrap().data(), "0");
        let newest = hub.subscribe("topic", LastEventId::Absent);
        let mut newest = newest.start(Start::Newest(3)).events();
        assert_eq!(newest.next().await.unwrap().data(), "7");
        publish(&hub, "topic", 10..30).await;
        assert_eq!(texts(&mut events).await, numbers(1..30), "{policy:?}");
        assert_eq!(texts(&mut newest).await, numbers(8..30), "{policy:?}");
        // From now on it is live.
        publish(&hub, "topic", 30..40).await;
        let read = texts(&mut events).await;
        assert_eq!(read.len() == 10, policy == SlowClient::CatchUp, "{read:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_window_cannot_hold_makes_nobody_slow() {
    for policy in POLICIES {
        let large = NonZeroUsize::new(1 << 24).unwrap();
        let hub = hub(
            &FaultyStore::new(MemoryStore::new().max_bytes(large)),
            policy,
        );
        let topic = hub.topic::<str>("topic").unwrap();
        let mut events = hub.subscribe("topic", LastEventId::Absent).events();
        assert_eq!(texts(&mut events).await, ["sse.open {}"]);
        for size in [1000, 300_000, 500_000, 10] {
            topic.publish(&"x".repeat(size)).await.unwrap();
            let event = timeout(60 * SECOND, events.next()).await.unwrap().unwrap();
            assert_eq!(event.data().len(), size + 2, "{policy:?} {}", text(&event));
        }
        // Nor does more at once than it holds.
        topic.publish_all(["x"; 20]).await.unwrap();
        let read = texts(&mut events).await;
        assert_eq!(read, vec![r#""x""#; 20], "{policy:?}");
    }
}

/// The body of a subscription, until nothing more comes.
async fn body(subscription: Subscription) -> impl AsyncFnMut() -> String {
    let response = Sse::new(subscription).into_http_response();
    let mut body = Box::pin(response.into_body());
    async move || {
        let mut text = String::new();
        while let Ok(Some(frame)) = timeout(SECOND, body.frame()).await {
            let bytes = frame.unwrap().into_data().unwrap();
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        let lines = text.lines();
        let lines = lines.filter(|line| line.starts_with("data") || line.starts_with("event"));
        lines.collect::<Vec<_>>().join("|")
    }
}

#[tokio::test(start_paused = true)]
async fn it_holds_for_blocks_and_for_filtered_events() {
    let gap = r#"event: sse.gap|data: {"reason":"lagged","missed":15}"#;
    let bye = r#"event: sse.bye|data: {"reason":"lagged"}"#;
    for (policy, joined, filtered) in [
        (
            SlowClient::SkipToNewest,
            format!("{gap}|data: 19"),
            // 19 is kept back, and is no position worth telling.
            gap.to_owned(),
        ),
        (
            SlowClient::Disconnect,
            format!("{gap}|{bye}"),
            format!("{gap}|{bye}"),
        ),
    ] {
        let hub = hub(&FaultyStore::new(MemoryStore::new()), policy);
        let subscribe = || hub.subscribe("topic", LastEventId::Absent);
        let mut all = body(subscribe()).await;
        let mut some = body(subscribe().filter(|event| event.data() != "19")).await;
        assert_eq!(all().await, "event: sse.open|data: {}");
        assert_eq!(some().await, "event: sse.open|data: {}");
        publish(&hub, "topic", 0..4).await;
        all().await;
        some().await;
        publish(&hub, "topic", 4..20).await;
        assert_eq!(all().await, joined);
        assert_eq!(some().await, filtered);
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_topics_each_has_its_own() {
    let store = FaultyStore::new(MemoryStore::new());
    let asked = Arc::new(AtomicUsize::new(0));
    let asked_of = Arc::clone(&asked);
    let hub = Hub::with_store(store)
        .window(NonZeroUsize::new(4).unwrap())
        .slow_clients(move |topic| {
            asked_of.fetch_add(1, Ordering::SeqCst);
            match topic.as_str() {
                "prices" => SlowClient::SkipToNewest,
                "ends" => SlowClient::Disconnect,
                _ => SlowClient::CatchUp,
            }
        });
    let names = ["orders", "prices", "ends"].map(|name| TopicName::new(name).unwrap());
    let follow = |names: &[TopicName], last| hub.subscribe_many(names, last).unwrap().events();
    let mut both = follow(&names[..2], LastEventId::Absent);
    let mut all = follow(&names, LastEventId::Absent);
    assert_eq!(texts(&mut both).await, ["sse.open {}"]);
    assert_eq!(texts(&mut all).await, ["sse.open {}"]);
    assert_eq!(asked.load(Ordering::SeqCst), 3, "once for each topic");
    for topic in ["orders", "prices", "ends"] {
        publish(&hub, topic, 0..10).await;
    }
    let of = |events: &[Event], topic: &str| {
        let of_topic = events.iter().filter(|event| match event.topic() {
            Some(name) => name.as_str() == topic,
            None => false,
        });
        of_topic.map(text).collect::<Vec<_>>()
    };
    let read = now(&mut both).await;
    assert_eq!(of(&read, "orders"), numbers(0..10));
    let gap = r#"sse.gap {"topic":"prices","reason":"lagged","missed":9}"#;
    assert_eq!(of(&read, "prices"), [gap, "9"]);
    assert_eq!(read.len(), 12);
    // It resumes behind the gap, and has all of the other topic.
    let gap = read.iter().find(|event| event.gap().is_some()).unwrap();
    let again = now(&mut follow(&names[..2], after(gap))).await;
    assert_eq!(of(&again, "prices"), ["9"]);

    let read = now(&mut all).await;
    let end = read.last().unwrap();
    assert_eq!(text(end), bye());
    let gap = r#"sse.gap {"topic":"ends","reason":"lagged","missed":9}"#;
    assert_eq!(of(&read, "ends"), [gap]);
    let again = now(&mut follow(&names, after(end))).await;
    assert_eq!(of(&again, "ends"), ["9"]);
    for topic in ["orders", "prices"] {
        let both = [of(&read, topic), of(&again, topic)].concat();
        let both: Vec<_> = both
            .iter()
            .filter(|text| !text.starts_with("sse"))
            .collect();
        match topic {
            "orders" => assert!(both.into_iter().eq(&numbers(0..10))),
            _ => assert_eq!(both.last().unwrap().as_str(), "9"),
        }
    }
}
