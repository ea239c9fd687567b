//! What a subscriber of several topics can rely on.

use std::{
    collections::BTreeMap, num::NonZeroUsize, ops::RangeInclusive, pin::pin, time::Duration,
};

use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower_sse::{
    Decoder, Event, EventName, Hub, LastEventId, Sse, Start, Subscription, TopicName,
    store::{Append, MemoryStore, NewRecord, Position},
};

use crate::{
    faulty::{Fault, FaultyStore},
    hostile::HostileStore,
    sizes,
};

const SECOND: Duration = Duration::from_secs(1);

fn topics(names: &[&str]) -> Vec<TopicName> {
    names.iter().flat_map(TopicName::new).collect()
}

fn follow(hub: &Hub, names: &[&str], last: LastEventId) -> Subscription {
    hub.subscribe_many(topics(names), last).unwrap()
}

async fn publish(hub: &Hub, topic: &str, text: &str) {
    hub.topic::<str>(topic)
        .unwrap()
        .publish(text)
        .await
        .unwrap();
}

fn id(event: &Event) -> LastEventId {
    LastEventId::Id(event.last_event_id().unwrap().into())
}

/// The events that are there now, as `topic data`, or `name data` where the event is one of ours.
async fn now(events: &mut (impl Stream<Item = Event> + Unpin)) -> (Vec<String>, LastEventId) {
    let mut texts = Vec::new();
    let mut last = LastEventId::Absent;
    while let Ok(Some(event)) = timeout(60 * SECOND, events.next()).await {
        if event.last_event_id().is_some() {
            last = id(&event);
        }
        texts.push(match event.is_control() {
            true => format!("{} {}", event.event_type(), event.data()),
            false => format!("{} {}", event.topic().unwrap(), event.data()),
        });
    }
    texts.sort();
    (texts, last)
}

#[tokio::test(start_paused = true)]
async fn one_id_resumes_all_topics() {
    let hub = Hub::new();
    let mut events = follow(&hub, &["a", "b", "c"], LastEventId::Absent).events();
    let (open, last) = now(&mut events).await;
    assert_eq!(open, ["sse.open {}"], "once for all topics");
    drop(events);
    for (topic, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
        publish(&hub, topic, text).await;
    }
    let mut events = follow(&hub, &["a", "b", "c"], last).events();
    let (read, last) = now(&mut events).await;
    assert_eq!(read, [r#"a "1""#, r#"a "3""#, r#"b "2""#]);
    publish(&hub, "c", "4").await;
    publish(&hub, "b", "5").await;
    assert_eq!(now(&mut events).await.0, [r#"b "5""#, r#"c "4""#]);
    let again = now(&mut follow(&hub, &["a", "b", "c"], last).events()).await;
    assert_eq!(again.0, [r#"b "5""#, r#"c "4""#]);
}

#[tokio::test(start_paused = true)]
async fn who_drops_between_two_gaps_is_told_of_both_again() {
    let hub = Hub::new();
    for topic in ["a", "b", "c"] {
        publish(&hub, topic, "1").await;
    }
    let unusable = LastEventId::Id("of another service".into());
    let mut events = follow(&hub, &["a", "b", "c"], unusable).events();
    let gaps: Vec<_> = events.by_ref().take(3).collect().await;
    for (gap, topic) in gaps.iter().zip(["a", "b", "c"]) {
        let expected = format!(r#"{{"topic":"{topic}","reason":"unknown"}}"#);
        assert_eq!((gap.event_type(), gap.data()), ("sse.gap", &*expected));
        // Only the last one moves its client.
        assert_eq!(gap.last_event_id().is_some(), topic == "c");
    }
    publish(&hub, "b", "2").await;
    let again = follow(&hub, &["a", "b", "c"], id(&gaps[2])).events();
    for mut events in [events, again] {
        assert_eq!(now(&mut events).await.0, [r#"b "2""#]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_list_of_topics_may_have_changed() {
    let hub = Hub::new();
    for number in 0..3 {
        for topic in ["a", "b", "c"] {
            publish(&hub, topic, &number.to_string()).await;
        }
    }
    let mut events = follow(&hub, &["a", "b"], LastEventId::Absent).events();
    let (_, last) = now(&mut events).await;
    for topic in ["a", "b", "c"] {
        publish(&hub, topic, "missed").await;
    }
    let cases: [(&[&str], &[&str]); 6] = [
        (&["a", "b"], &[r#"a "missed""#, r#"b "missed""#]),
        (&["b", "a", "b"], &[r#"a "missed""#, r#"b "missed""#]),
        (&["b"], &[r#"b "missed""#]),
        // A topic that the id lacks begins as for a new client, which is live.
        (&["a", "c"], &[r#"a "missed""#]),
        (&["c"], &["sse.open {}"]),
        (&["a", "b", "c"], &[r#"a "missed""#, r#"b "missed""#]),
    ];
    for (names, expected) in cases {
        let mut events = follow(&hub, names, last.clone()).events();
        assert_eq!(now(&mut events).await.0, expected, "{names:?}");
    }
    // One topic of the list, followed by itself.
    let single = hub.subscribe("a", last.clone());
    assert_eq!(now(&mut single.events()).await.0, [r#"a "missed""#]);
    let with_all = follow(&hub, &["a", "c"], last).start(Start::Newest(2));
    let (read, _) = now(&mut with_all.events()).await;
    assert_eq!(read, [r#"a "missed""#, r#"c "2""#, r#"c "missed""#]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_names_its_topic_and_costs_the_others_nothing() {
    let few = NonZeroUsize::new(2).unwrap();
    let hub = Hub::with_store(MemoryStore::new().max_events(few));
    let mut events = follow(&hub, &["a", "b"], LastEventId::Absent).events();
    let (_, last) = now(&mut events).await;
    drop(events);
    for number in 0..5 {
        publish(&hub, "a", &number.to_string()).await;
    }
    publish(&hub, "b", "0").await;
    let mut events = follow(&hub, &["a", "b"], last).events();
    let mut gap = events.next().await.unwrap();
    while gap.gap().is_none() {
        assert_eq!(gap.topic(), Some(&TopicName::from_static("b")));
        gap = events.next().await.unwrap();
    }
    assert_eq!(gap.data(), r#"{"topic":"a","reason":"evicted","missed":3}"#);
    assert_eq!(gap.topic(), Some(&TopicName::from_static("a")));
    drop(events);
    let mut events = follow(&hub, &["a", "b"], id(&gap)).events();
    let (read, _) = now(&mut events).await;
    let read: Vec<_> = read.iter().filter(|event| event.starts_with('a')).collect();
    assert_eq!(read, [r#"a "3""#, r#"a "4""#], "the gap is told once");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_none_of_ours_is_told_for_each_topic() {
    let hub = Hub::new();
    publish(&hub, "a", "0").await;
    let single: Vec<Event> = hub
        .subscribe("a", LastEventId::Absent)
        .start(Start::All)
        .events()
        .take(1)
        .collect()
        .await;
    let ids = [
        "junk",
        "~",
        "~junk",
        "1-1",
        single[0].last_event_id().unwrap(),
    ];
    let all = ids.map(|id| LastEventId::Id(id.into()));
    for last in all.into_iter().chain([LastEventId::Unusable]) {
        let mut events = follow(&hub, &["a", "b"], last.clone()).events();
        let told =
            ["a", "b"].map(|topic| format!(r#"sse.gap {{"topic":"{topic}","reason":"unknown"}}"#));
        assert_eq!(now(&mut events).await.0, told, "{last:?}");
    }
    // Where there is one topic only, its own id is as good.
    let mut events = follow(&hub, &["a"], id(&single[0])).events();
    assert!(now(&mut events).await.0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn there_are_one_to_64_topics() {
    let hub = Hub::new();
    let names: Vec<_> = (0..65)
        .map(|number| TopicName::new(format!("topic-{number}")).unwrap())
        .collect();
    let error = |names: &[TopicName]| {
        let error = hub.subscribe_many(names, LastEventId::Absent).unwrap_err();
        error.to_string()
    };
    assert_eq!(error(&[]), "there is no topic to follow");
    assert_eq!(error(&names), "more than 64 topics to follow");
    let twice = [&names[..64], &names[..64]].concat();
    let mut events = hub
        .subscribe_many(&twice, LastEventId::Absent)
        .unwrap()
        .events();
    let (open, last) = now(&mut events).await;
    assert_eq!(open, ["sse.open {}"]);
    for name in &names {
        publish(&hub, name.as_str(), "text").await;
    }
    assert_eq!(now(&mut events).await.0.len(), 64);
    let LastEventId::Id(text) = &last else {
        panic!("{last:?}")
    };
    assert!(text.len() <= 1024, "an id of {} bytes", text.len());
    let mut again = hub.subscribe_many(&twice, last).unwrap().events();
    assert_eq!(now(&mut again).await.0.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_is_what_the_stream_of_events_has() {
    let hub = Hub::new();
    let names = ["a", "b", "c"];
    for number in 0..200 {
        let text = format!("line {number}\nand\r\nanother");
        let record = Event::new(text).name(EventName::from_static("update"));
        hub.topic::<Event>(names[number % 3])
            .unwrap()
            .publish(&record)
            .await
            .unwrap();
    }
    let subscription = || follow(&hub, &names, LastEventId::Absent).start(Start::All);
    let mut expected = BTreeMap::new();
    let mut events = subscription().events();
    while let Ok(Some(event)) = timeout(60 * SECOND, events.next()).await {
        let topic = event.topic().unwrap().clone();
        let event = (
            event.event_type().to_owned(),
            event.data().replace("\r\n", "\n"),
        );
        expected.entry(topic).or_insert_with(Vec::new).push(event);
    }
    let mut body = pin!(Sse::new(subscription()).into_http_response().into_body());
    let mut decoder = Decoder::new();
    let mut read = BTreeMap::new();
    let mut last = LastEventId::Absent;
    while let Ok(Some(frame)) = timeout(5 * SECOND, body.frame()).await {
        let bytes = frame.unwrap().into_data().unwrap();
        let mut rest = &bytes[..];
        while let Some(event) = decoder.decode(&mut rest).unwrap() {
            last = LastEventId::Id(event.last_event_id().into());
            let (line, _) = event.data().split_once('\n').unwrap();
            let number: usize = line.strip_prefix("line ").unwrap().parse().unwrap();
            let topic = TopicName::from_static(names[number % 3]);
            let event = (event.event_type().to_owned(), event.data().to_owned());
            read.entry(topic).or_insert_with(Vec::new).push(event);
        }
    }
    assert_eq!(read.len(), 3);
    assert_eq!(read, expected, "each topic's events, once and in order");
    assert!(
        now(&mut follow(&hub, &names, last).events())
            .await
            .0
            .is_empty()
    );
}

/// Publishes, drops and resumes at random, with a list of topics that changes, on a store that
/// answers as it likes.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_repeated_at_random() {
    for seed in 0..sizes(150, 3000) {
        let mut random = fastrand::Rng::with_seed(seed);
        let store = HostileStore::new(MemoryStore::new(), seed, 20).with_certain_outcomes();
        let hubs = [
            Hub::with_store(store.clone()),
            Hub::with_store(store.clone()),
        ];
        let names = ["a", "b", "c", "d"].map(|name| TopicName::new(name).unwrap());
        let mut published = [0_u64; 4];
        // Of each topic that the client's id has: which numbers may come next.
        let mut next: [Option<RangeInclusive<u64>>; 4] = [const { None }; 4];
        let mut last = LastEventId::Absent;
        for _ in 0..8 {
            let mut followed: Vec<usize> = (0..4).filter(|_| random.bool()).collect();
            followed.push(random.usize(0..4));
            random.shuffle(&mut followed);
            let list = followed.iter().map(|topic| &names[*topic]);
            let hub = random.choice(&hubs).unwrap();
            let mut events = hub.subscribe_many(list, last.clone()).unwrap().events();
            let before = published;
            let mut first = true;
            for _ in 0..random.usize(1..30) {
                if random.u32(0..3) > 0 {
                    let topic = random.usize(0..4);
                    let record = NewRecord::event(None, published[topic].to_string());
                    let _ = store
                        .append_now(&names[topic], Append::new([record]))
                        .unwrap();
                    published[topic] += 1;
                    continue;
                }
                let Ok(Some(event)) = timeout(30 * SECOND, events.next()).await else {
                    continue;
                };
                last = id(&event);
                assert!(event.gap().is_none(), "seed {seed}: {event:?}");
                if std::mem::take(&mut first) {
                    for topic in 0..4 {
                        let known = next[topic].take();
                        // A new one begins somewhere between its subscription and the first event.
                        next[topic] = followed
                            .contains(&topic)
                            .then(|| known.unwrap_or(before[topic]..=published[topic]));
                    }
                }
                if event.is_control() {
                    continue;
                }
                let topic = names
                    .iter()
                    .position(|name| Some(name) == event.topic())
                    .unwrap();
                let number: u64 = event.data().parse().unwrap();
                let expected = next[topic].take().unwrap();
                assert!(
                    expected.contains(&number),
                    "seed {seed}: topic {topic} has {number} instead of {expected:?}"
                );
                next[topic] = Some(number + 1..=number + 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_stream_waits_and_then_says_so() {
    let store = FaultyStore::new(MemoryStore::new());
    let hub = Hub::with_store(store.clone()).unavailable_after(60 * SECOND);
    let mut events = follow(&hub, &["a", "b"], LastEventId::Absent).events();
    let (_, last) = now(&mut events).await;
    store.set(Fault::Fails);
    publish_quietly(&hub).await;
    let bye = timeout(200 * SECOND, events.next()).await.unwrap().unwrap();
    assert_eq!(bye.event_type(), "sse.bye");
    assert_eq!(id(&bye), last, "the client is where it was");
    assert!(events.next().await.is_none());

    let mut never = follow(&hub, &["c", "d"], LastEventId::Absent).events();
    let bye = timeout(200 * SECOND, never.next()).await.unwrap().unwrap();
    assert_eq!((bye.event_type(), bye.last_event_id()), ("sse.bye", None));
    store.set(Fault::None);
    let mut events = follow(&hub, &["a", "b"], last).events();
    publish(&hub, "b", "back").await;
    assert_eq!(now(&mut events).await.0, [r#"b "back""#]);
}

async fn publish_quietly(hub: &Hub) {
    let topic = hub.topic::<str>("a").unwrap();
    topic.publish("lost").await.unwrap_err();
}

/// A position is of one topic; the id of several never looks like one.
#[tokio::test(start_paused = true)]
async fn ids_of_one_and_of_several_are_told_apart() {
    let hub = Hub::new();
    let open = follow(&hub, &["a"], LastEventId::Absent)
        .events()
        .next()
        .await
        .unwrap();
    let text = open.last_event_id().unwrap();
    assert!(text.parse::<Position>().is_err(), "{text}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
}
