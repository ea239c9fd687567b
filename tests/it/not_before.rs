//! What a client is never sent, wherever it begins.

use std::{
    fmt::Debug,
    num::NonZeroUsize,
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower_sse::{
    EventId, Hub, LastEventId, NotBefore, Sse, Start, TopicName,
    store::{Append, MemoryStore, NewRecord, Page, Position, Read, Record, StoreError},
};

use crate::{
    altered::{Altered, Asked, Reads},
    faulty::FaultyStore,
    hostile::HostileStore,
    reading::{numbers, texts},
};

const SECOND: Duration = Duration::from_secs(1);
const TOPIC: TopicName = TopicName::from_static("topic");
const UNKNOWN: &str = r#"sse.gap {"reason":"unknown"}"#;
const OPEN: &str = "sse.open {}";

async fn publish(hub: &Hub, topic: &str, numbers: std::ops::Range<u32>) -> Vec<EventId> {
    let topic = hub.topic::<u32>(topic).unwrap();
    let mut ids = Vec::new();
    for number in numbers {
        // A store that fails has not stored.
        ids.push(loop {
            if let Ok(id) = topic.publish(&number).await {
                break id;
            }
        });
    }
    ids
}

fn after(id: &EventId) -> LastEventId {
    LastEventId::Id(id.as_str().into())
}

fn with(first: &str, rest: std::ops::Range<u32>) -> Vec<String> {
    [vec![first.to_owned()], numbers(rest)].concat()
}

/// A store that answers at once, and several that answer as they like.
fn hubs() -> impl Iterator<Item = Hub> {
    let hostile = (0..20).map(|seed| {
        let store = HostileStore::new(MemoryStore::new(), seed, 25);
        Hub::with_store(store.with_certain_outcomes()).window(NonZeroUsize::new(3).unwrap())
    });
    [Hub::new()].into_iter().chain(hostile)
}

type Case = (LastEventId, Start, Vec<String>);

/// Follows in each case, then publishes one more event, which all get.
async fn check(hub: &Hub, not_before: &[NotBefore], cases: &[Case], next: u32) {
    let mut streams = Vec::new();
    for (last, start, expected) in cases {
        let subscription = hub.subscribe(&TOPIC, last.clone()).start(start.clone());
        let add = |subscription: tower_sse::Subscription, one: &NotBefore| {
            subscription.not_before(one.clone())
        };
        let mut events = not_before.iter().fold(subscription, add).events();
        let read = texts(&mut events).await;
        assert_eq!(&read, expected, "{last:?} {start:?} {not_before:?}");
        streams.push(events);
    }
    publish(hub, "topic", next..next + 1).await;
    for events in &mut streams {
        assert_eq!(
            texts(events).await,
            numbers(next..next + 1),
            "{not_before:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_at_or_before_an_id_is_sent() {
    for hub in hubs() {
        let ids = publish(&hub, "topic", 0..10).await;
        let id = |at: usize| NotBefore::Id(ids[at].clone());
        let absent = LastEventId::Absent;
        let junk = || LastEventId::Id("junk".into());
        let other = || LastEventId::Id("1-1".into());
        let cases = [
            (absent.clone(), Start::All, numbers(5..10)),
            (absent.clone(), Start::Newest(2), numbers(8..10)),
            (absent.clone(), Start::Newest(8), numbers(5..10)),
            (absent.clone(), Start::Live, vec![OPEN.to_owned()]),
            (absent.clone(), Start::After(ids[0].clone()), numbers(5..10)),
            (after(&ids[0]), Start::Live, numbers(5..10)),
            (after(&ids[4]), Start::Live, numbers(5..10)),
            (after(&ids[7]), Start::Live, numbers(8..10)),
            (after(&ids[9]), Start::Live, vec![]),
            // What is no place of this log is told, and the floor holds for what follows.
            (junk(), Start::All, with(UNKNOWN, 5..10)),
            (other(), Start::All, with(UNKNOWN, 5..10)),
            (other(), Start::Live, vec![UNKNOWN.to_owned()]),
        ];
        check(&hub, &[id(4)], &cases, 10).await;
        let all = [(absent, Start::All, numbers(7..11))];
        check(&hub, &[id(2), id(6), id(4)], &all, 11).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_of_another_life_leaves_what_comes_from_now_on() {
    for hub in hubs() {
        let ids = publish(&hub, "topic", 0..10).await;
        let open = || vec![OPEN.to_owned()];
        let other = LastEventId::Id("1-1".into());
        let cases = [
            (LastEventId::Absent, Start::All, open()),
            (LastEventId::Absent, Start::Newest(2), open()),
            (LastEventId::Absent, Start::Live, open()),
            (after(&ids[3]), Start::All, vec![]),
            (after(&ids[9]), Start::All, vec![]),
            (other, Start::All, vec![UNKNOWN.to_owned()]),
        ];
        let not_before = |id: &'static str| NotBefore::Id(EventId::from_static(id));
        check(&hub, &[not_before("7-3")], &cases, 10).await;
        let cases = [(after(&ids[3]), Start::All, vec![])];
        check(&hub, &[not_before("junk")], &cases, 11).await;
        let both = [NotBefore::Id(ids[1].clone()), not_before("7-3")];
        check(&hub, &both, &cases, 12).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_still_to_come_is_waited_for() {
    for hub in hubs() {
        let ids = publish(&hub, "topic", 0..5).await;
        let newest: Position = ids[4].as_str().parse().unwrap();
        let ahead = Position::new(newest.epoch(), newest.offset() + 3);
        let mut streams = Vec::new();
        for (last, start, expected) in [
            (LastEventId::Absent, Start::All, vec![OPEN.to_owned()]),
            (LastEventId::Absent, Start::Live, vec![OPEN.to_owned()]),
            (after(&ids[1]), Start::All, vec![]),
        ] {
            let subscription = hub.subscribe(&TOPIC, last).start(start);
            let not_before = NotBefore::Id(ahead.into());
            let mut events = subscription.not_before(not_before).events();
            assert_eq!(texts(&mut events).await, expected);
            streams.push(events);
        }
        publish(&hub, "topic", 5..7).await;
        for events in &mut streams {
            assert!(texts(events).await.is_empty());
        }
        publish(&hub, "topic", 7..10).await;
        for events in &mut streams {
            assert_eq!(texts(events).await, numbers(8..10));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_begun_again_shows_nothing_old() {
    let store = FaultyStore::new(MemoryStore::new());
    let hub = Hub::with_store(store.clone());
    let ids = publish(&hub, "topic", 0..3).await;
    let times = [NotBefore::Time(UNIX_EPOCH), NotBefore::Id(ids[0].clone())];
    let mut streams = Vec::new();
    for not_before in times {
        let subscription = hub.subscribe(&TOPIC, LastEventId::Absent);
        let subscription = subscription.start(Start::All).not_before(not_before);
        let mut events = subscription.events();
        assert!(texts(&mut events).await.ends_with(&numbers(1..3)));
        streams.push(events);
    }
    // A copy is put back, whose events nobody knows.
    let wipe = Append::new([]).gone_after(Duration::ZERO);
    store.append_elsewhere(&TOPIC, wipe).await;
    let copy = Append::new(["old", "older"].map(|data| NewRecord::event(None, data)));
    store.append_elsewhere(&TOPIC, copy).await;
    for events in &mut streams {
        assert_eq!(texts(events).await, [UNKNOWN]);
    }
    publish(&hub, "topic", 3..4).await;
    for events in &mut streams {
        assert_eq!(texts(events).await, numbers(3..4));
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_topics_each_has_its_own_place() {
    let hub = Hub::new();
    let follow = |names: &[&str]| {
        let names = names.iter().map(|name| TopicName::new(name).unwrap());
        hub.subscribe_many(names, LastEventId::Absent).unwrap()
    };
    for topic in ["a", "b", "c"] {
        publish(&hub, topic, 0..2).await;
    }
    let mut events = follow(&["a", "b"]).events();
    let open = events.next().await.unwrap();
    let id = EventId::new(open.last_event_id().unwrap()).unwrap();
    let single = publish(&hub, "a", 2..4).await.remove(0);
    for topic in ["b", "c"] {
        publish(&hub, topic, 2..4).await;
    }
    let sorted = async |names: &[&str], id: &EventId| {
        let subscription = follow(names).start(Start::All);
        let mut events = subscription.not_before(NotBefore::Id(id.clone())).events();
        let mut read = texts(&mut events).await;
        read.sort();
        read
    };
    assert_eq!(sorted(&["a", "b"], &id).await, ["2", "2", "3", "3"]);
    assert_eq!(sorted(&["a", "c"], &id).await, ["2", "3"], "c from now on");
    assert_eq!(sorted(&["a", "b"], &single).await, [OPEN]);
}

/// Says of each record that it was appended so many seconds after 1970 as its offset is, or nothing.
struct Times {
    are_known: bool,
}

impl Reads for Times {
    async fn read(&self, asked: Asked<'_>) -> Result<Read, StoreError> {
        let timed = |record: Record| {
            let offset = record.offset();
            let untimed = Record::new(offset, record.content().clone());
            match self.are_known {
                true => untimed.time(UNIX_EPOCH + SECOND * u32::try_from(offset).unwrap()),
                false => untimed,
            }
        };
        Ok(match asked.answer().await? {
            Read::Page(page) => Read::Page(Page {
                records: page.records.into_iter().map(timed).collect(),
                ..page
            }),
            other => other,
        })
    }
}

fn timed(are_known: bool) -> Hub {
    Hub::with_store(Altered::new(MemoryStore::new(), Times { are_known }))
}

#[tokio::test(start_paused = true)]
async fn nothing_from_before_a_time_is_sent() {
    let hub = timed(true);
    let ids = publish(&hub, "topic", 0..10).await;
    let at = |second: u64| NotBefore::Time(UNIX_EPOCH + Duration::from_secs(second));
    let absent = LastEventId::Absent;
    // The event `n` is of the second `n + 1`.
    let cases = [
        (absent.clone(), Start::All, numbers(5..10)),
        (absent.clone(), Start::Newest(7), numbers(5..10)),
        (absent.clone(), Start::Newest(2), numbers(8..10)),
        (absent.clone(), Start::Live, vec![OPEN.to_owned()]),
        (after(&ids[1]), Start::Live, numbers(5..10)),
        (after(&ids[7]), Start::Live, numbers(8..10)),
    ];
    check(&hub, &[at(6)], &cases, 10).await;
    let later = [(absent.clone(), Start::All, numbers(7..11))];
    let both = [at(6), at(8), NotBefore::Id(ids[2].clone())];
    check(&hub, &both, &later, 11).await;
    let both = [at(2), NotBefore::Id(ids[6].clone())];
    let later = [(absent, Start::All, numbers(7..12))];
    check(&hub, &both, &later, 12).await;

    // What is still to come is waited for, in the window too.
    for start in [Start::All, Start::Live] {
        let subscription = hub.subscribe(&TOPIC, LastEventId::Absent).start(start);
        let head = hub.topic::<u32>("topic").unwrap().publish(&0).await;
        let head: Position = head.unwrap().as_str().parse().unwrap();
        let mut events = subscription.not_before(at(head.offset() + 3)).events();
        assert_eq!(texts(&mut events).await, [OPEN]);
        publish(&hub, "topic", 0..5).await;
        assert_eq!(texts(&mut events).await, numbers(2..5));
    }
}

/// The data of the blocks that are there now.
async fn data(body: &mut (impl Body<Data = Bytes, Error: Debug> + Unpin)) -> Vec<String> {
    let mut text = String::new();
    while let Ok(Some(frame)) = timeout(SECOND, body.frame()).await {
        let bytes = frame.unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn blocks_are_held_back_like_events() {
    let hub = timed(true);
    let ids = publish(&hub, "topic", 0..10).await;
    for not_before in [
        NotBefore::Time(UNIX_EPOCH + 6 * SECOND),
        NotBefore::Id(ids[4].clone()),
    ] {
        let subscription = hub.subscribe(&TOPIC, after(&ids[0])).not_before(not_before);
        let mut body = pin!(Sse::new(subscription).into_http_response().into_body());
        let first = data(&mut body).await;
        assert_eq!(first[..5], numbers(5..10));
        publish(&hub, "topic", 10..13).await;
        assert_eq!(data(&mut body).await, numbers(10..13));
    }
}

#[tokio::test(start_paused = true)]
async fn blocks_of_the_window_are_held_back_too() {
    let hub = timed(true);
    let ids = publish(&hub, "topic", 0..3).await;
    let subscription = hub.subscribe(&TOPIC, after(&ids[2]));
    let subscription = subscription.not_before(NotBefore::Time(UNIX_EPOCH + 6 * SECOND));
    let mut body = pin!(Sse::new(subscription).into_http_response().into_body());
    assert!(data(&mut body).await.is_empty());
    publish(&hub, "topic", 3..8).await;
    assert_eq!(data(&mut body).await, numbers(5..8));
}

#[tokio::test(start_paused = true)]
async fn a_store_without_times_shows_nothing() {
    let hub = timed(false);
    publish(&hub, "topic", 0..5).await;
    let subscription = hub.subscribe(&TOPIC, LastEventId::Absent);
    let not_before = NotBefore::Time(UNIX_EPOCH);
    let subscription = subscription.start(Start::All).not_before(not_before);
    let mut events = subscription.events();
    assert_eq!(texts(&mut events).await, [OPEN]);
    publish(&hub, "topic", 5..6).await;
    assert!(texts(&mut events).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_knows_the_time() {
    let hub = Hub::new();
    publish(&hub, "topic", 0..3).await;
    // A time that is after what is there, whatever the clock can tell apart.
    let before = SystemTime::now();
    let time = loop {
        let now = SystemTime::now();
        if now > before {
            break now;
        }
    };
    publish(&hub, "topic", 3..5).await;
    let cases = [(LastEventId::Absent, Start::All, numbers(3..5))];
    check(&hub, &[NotBefore::Time(time)], &cases, 5).await;
}

#[tokio::test(start_paused = true)]
async fn an_evicted_place_is_no_gap_for_a_new_client() {
    let few = NonZeroUsize::new(3).unwrap();
    let hub = Hub::with_store(MemoryStore::new().max_events(few));
    let ids = publish(&hub, "topic", 0..10).await;
    let evicted = r#"sse.gap {"reason":"evicted","missed":5}"#;
    let cases = [
        (LastEventId::Absent, Start::All, numbers(7..10)),
        // It had a right to what came after the floor.
        (after(&ids[0]), Start::All, with(evicted, 7..10)),
    ];
    check(&hub, &[NotBefore::Id(ids[1].clone())], &cases, 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_says_what_it_follows() {
    let hub = Hub::new();
    let names = ["b", "a", "b"].map(|name| TopicName::new(name).unwrap());
    let one = hub.subscribe("topic", LastEventId::Absent);
    let several = hub.subscribe_many(&names, LastEventId::Absent).unwrap();
    for (subscription, expected) in [(one, vec!["topic"]), (several, vec!["a", "b"])] {
        let followed: Vec<_> = subscription.topics().map(TopicName::as_str).collect();
        assert_eq!(followed, expected);
    }
}
