//! The store in memory: its limits, positions and answers.

use std::{num::NonZeroUsize, time::Duration};

use tokio::time::advance;
use tower_sse::{
    TopicName,
    store::{
        Append, Appended, EventStore, Evicted, MemoryStore, NewRecord, Page, Position, Read,
        ReadFrom, RecordKind, StoreErrorKind,
    },
};

const ALL: NonZeroUsize = NonZeroUsize::MAX;

fn topic() -> TopicName {
    TopicName::from_static("topic")
}

fn size(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).unwrap()
}

fn event(data: &str) -> NewRecord {
    NewRecord::event(None, data)
}

async fn append(store: &MemoryStore, topic: &TopicName, texts: &[&str]) -> Position {
    let records: Vec<_> = texts.iter().map(|text| event(text)).collect();
    match store.append(topic, Append::new(records)).await {
        Ok(Appended::Stored(position)) => position,
        other => panic!("{other:?}"),
    }
}

async fn head(store: &MemoryStore, topic: &TopicName) -> Position {
    store.heads(std::slice::from_ref(topic)).await.unwrap()[0]
}

async fn page(store: &MemoryStore, topic: &TopicName, from: ReadFrom, max: NonZeroUsize) -> Page {
    match store.read(topic, from, max).await {
        Ok(Read::Page(page)) => page,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn texts(page: &Page) -> Vec<&str> {
    let mut previous = page.start.offset();
    for record in &page.records {
        assert_eq!(record.previous_offset(), previous);
        previous = record.offset();
    }
    page.records
        .iter()
        .map(|record| &**record.content().data())
        .collect()
}

#[tokio::test]
async fn reads_begin_where_they_are_asked_to_and_stop_at_the_page() {
    let (store, topic) = (MemoryStore::new(), topic());
    let start = head(&store, &topic).await;
    let third = append(&store, &topic, &["a", "b", "c"]).await;
    append(&store, &topic, &["d", "eeee"]).await;
    let cases = [
        (ReadFrom::Oldest, ALL, vec!["a", "b", "c", "d", "eeee"]),
        (ReadFrom::After(start), size(3), vec!["a", "b", "c"]),
        (ReadFrom::After(third), size(1), vec!["d"]),
        (ReadFrom::Newest(0), ALL, vec![]),
        (ReadFrom::Newest(1), size(1), vec!["eeee"]),
        (ReadFrom::Newest(2), ALL, vec!["d", "eeee"]),
        (ReadFrom::Newest(9), size(2), vec!["a", "b"]),
    ];
    for (from, max, expected) in cases {
        assert_eq!(
            texts(&page(&store, &topic, from, max).await),
            expected,
            "{from:?}"
        );
    }
    let at_head = head(&store, &topic).await;
    let empty = page(&store, &topic, ReadFrom::After(at_head), ALL).await;
    assert_eq!(
        (empty.start, empty.records.len(), empty.head),
        (at_head, 0, at_head)
    );
}

#[tokio::test]
async fn positions_that_cannot_go_on_are_told_apart() {
    let (store, topic) = (MemoryStore::new().max_events(size(2)), topic());
    let start = head(&store, &topic).await;
    let end = append(&store, &topic, &["a", "b", "c", "d", "e"]).await;
    let at = |offset| Position::new(end.epoch(), offset);
    let evicted = Evicted {
        oldest: at(3),
        middle: at(4),
        missed: Some(3),
    };
    let read = async |position| {
        store
            .read(&topic, ReadFrom::After(position), ALL)
            .await
            .unwrap()
    };
    assert_eq!(read(start).await, Read::Evicted(evicted));
    assert_eq!(read(at(6)).await, Read::Ahead(end));
    let elsewhere = head(&MemoryStore::new(), &topic).await;
    assert_eq!(read(elsewhere).await, Read::UnknownEpoch(end));
    let other = head(&store, &TopicName::from_static("other")).await;
    assert_eq!(
        read(other).await,
        Read::UnknownEpoch(end),
        "a position is of one topic"
    );
    assert_eq!(
        texts(&page(&store, &topic, ReadFrom::After(at(3)), ALL).await),
        ["d", "e"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_past_its_age_is_not_read_and_the_head_stays() {
    let (store, topic) = (MemoryStore::new().max_age(Duration::from_secs(10)), topic());
    let first = append(&store, &topic, &["a"]).await;
    advance(Duration::from_secs(6)).await;
    let second = append(&store, &topic, &["b"]).await;
    advance(Duration::from_secs(4)).await;
    assert_eq!(
        texts(&page(&store, &topic, ReadFrom::Oldest, ALL).await),
        ["b"]
    );
    advance(Duration::from_secs(6)).await;
    assert!(texts(&page(&store, &topic, ReadFrom::Oldest, ALL).await).is_empty());
    assert!(texts(&page(&store, &topic, ReadFrom::After(second), ALL).await).is_empty());
    let answer = store
        .read(&topic, ReadFrom::After(first), ALL)
        .await
        .unwrap();
    assert!(matches!(answer, Read::Evicted(evicted) if evicted.oldest == second));
}

#[tokio::test]
async fn a_topic_retains_no_more_bytes_than_it_may() {
    let (store, topic) = (MemoryStore::new().max_bytes(size(10)), topic());
    append(&store, &topic, &["aaaa", "bbbb", "cccc"]).await;
    assert_eq!(
        texts(&page(&store, &topic, ReadFrom::Oldest, ALL).await),
        ["bbbb", "cccc"]
    );
    let before = head(&store, &topic).await;
    let too_large = Append::new([event("d"), event("eeeeeeeeeee")]);
    let error = store.append(&topic, too_large).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::TooLarge);
    assert_eq!(
        head(&store, &topic).await,
        before,
        "nothing of it was stored"
    );
}

#[tokio::test]
async fn the_topic_that_was_appended_to_least_recently_goes_whole() {
    let store = MemoryStore::new().max_total_bytes(size(4608));
    let names: Vec<_> = ["a", "b", "c"].map(TopicName::from_static).into();
    let text = "x".repeat(1000);
    let mut before = Vec::new();
    for name in &names {
        before.push(append(&store, name, &[&text]).await);
    }
    append(&store, &names[0], &["again"]).await;
    append(&store, &TopicName::from_static("d"), &[&text]).await;
    let epochs: Vec<_> = store
        .heads(&names)
        .await
        .unwrap()
        .iter()
        .map(|head| head.epoch())
        .collect();
    let same: Vec<_> = before
        .iter()
        .zip(epochs)
        .map(|(before, now)| before.epoch() == now)
        .collect();
    assert_eq!(same, [true, false, true]);
    // One that came back does not take the old positions for its own.
    append(&store, &names[1], &["new"]).await;
    let answer = store
        .read(&names[1], ReadFrom::After(before[1]), ALL)
        .await
        .unwrap();
    assert!(matches!(answer, Read::UnknownEpoch(_)), "{answer:?}");
}

#[tokio::test]
async fn a_position_of_a_topic_without_a_log_stays_valid_for_its_first() {
    let (store, topic) = (MemoryStore::new(), topic());
    let nothing = head(&store, &topic).await;
    assert!(texts(&page(&store, &topic, ReadFrom::After(nothing), ALL).await).is_empty());
    append(&store, &topic, &["a"]).await;
    assert_eq!(
        texts(&page(&store, &topic, ReadFrom::After(nothing), ALL).await),
        ["a"]
    );
}

#[tokio::test]
async fn an_append_may_depend_on_the_head() {
    let (store, topic) = (MemoryStore::new(), topic());
    let nothing = head(&store, &topic).await;
    let only_at = |position| Append::new([event("x")]).while_head(position);
    let stored = store.append(&topic, only_at(nothing)).await.unwrap();
    let Appended::Stored(first) = stored else {
        panic!("{stored:?}")
    };
    let conflict = store.append(&topic, only_at(nothing)).await.unwrap();
    assert_eq!(conflict, Appended::Conflict(first));
    assert_eq!(head(&store, &topic).await, first, "nothing was stored");
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_gone_after_its_end_of_life_and_an_append_takes_that_back() {
    let (store, topic) = (MemoryStore::new(), topic());
    let minute = Duration::from_secs(60);
    append(&store, &topic, &["a"]).await;
    let _ = store
        .append(&topic, Append::new([event("b")]).gone_after(minute))
        .await
        .unwrap();
    advance(minute - Duration::from_millis(1)).await;
    let kept = append(&store, &topic, &["c"]).await;
    advance(2 * minute).await;
    assert_eq!(head(&store, &topic).await, kept);
    let _ = store
        .append(&topic, Append::new([]).gone_after(minute))
        .await
        .unwrap();
    advance(minute).await;
    let answer = store
        .read(&topic, ReadFrom::After(kept), ALL)
        .await
        .unwrap();
    assert!(matches!(answer, Read::UnknownEpoch(_)), "{answer:?}");
    assert!(texts(&page(&store, &topic, ReadFrom::Oldest, ALL).await).is_empty());
}

#[tokio::test]
async fn other_kinds_are_read_in_their_place_and_not_counted() {
    let (store, topic) = (MemoryStore::new().max_events(size(2)), topic());
    let lease = || NewRecord::of_kind(RecordKind::Lease, "lease");
    let end = NewRecord::of_kind(RecordKind::End, "end");
    let records = [
        event("a"),
        lease(),
        event("b"),
        lease(),
        lease(),
        event("c"),
        end,
    ];
    let _ = store.append(&topic, Append::new(records)).await.unwrap();
    let all = page(&store, &topic, ReadFrom::Oldest, ALL).await;
    assert_eq!(texts(&all), ["lease", "b", "lease", "lease", "c", "end"]);
    let newest = page(&store, &topic, ReadFrom::Newest(1), ALL).await;
    assert_eq!(texts(&newest), ["c", "end"]);
    assert_eq!(newest.records[1].content().kind(), RecordKind::End);
}
