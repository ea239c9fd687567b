//! What a position promises.

use futures_util::future::try_join_all;

use super::{
    Subject,
    check::{
        ALL, OTHER, PASSED, Place, TOPIC, Verdict, after, append, append_each, ensure, ensure_eq,
        event, head, is_told, numbers, page, stored, texts,
    },
};
use crate::{
    store::{Append, Epoch, EventStore, Position, Read, ReadFrom},
    topic_name::TopicName,
};

pub(super) async fn topics_are_apart<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    let long = "x".repeat(TopicName::MAX_LEN);
    let names = [
        "a",
        "A",
        "a:",
        "a:b",
        "a/b",
        "a.b",
        "a-b",
        "a_b",
        "a/",
        "/a",
        "..",
        ".",
        "a..b",
        ":",
        "-",
        "0",
        "a:meta",
        "topic:1",
        "topic/1",
        "topic.1",
        "topic1",
        &long,
        &long[1..],
    ];
    let topics: Vec<TopicName> = names.iter().flat_map(TopicName::new).collect();
    ensure_eq!(topics.len(), names.len(), "valid names");
    for round in 0..2 {
        for topic in &topics {
            stored(&store, topic, Append::new([event(topic), event(round)])).await?;
        }
    }
    for topic in &topics {
        let name = topic.as_str();
        let expected = [name, "0", name, "1"];
        let read = texts(&store, topic, ReadFrom::Oldest).await?;
        ensure!(read == expected, "in topic {name:?} stands {read:?}");
    }
    PASSED
}

pub(super) async fn offsets_tell_events_of_one_moment_apart<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let mut positions = Vec::new();
    for hundred in 0..20 {
        let first = hundred * 100;
        let batch = append(&store, first..first + 50).await?;
        let rest = first + 50..first + 100;
        let each = try_join_all(rest.map(|number| append(&store, [number]))).await?;
        positions.push(batch);
        positions.extend(each);
    }
    let read = page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    ensure_eq!(read.records.len(), 2000, "the number of events");
    for position in positions {
        let index = read
            .records
            .partition_point(|record| record.offset() <= position.offset());
        let rest = page(&store, &TOPIC, ReadFrom::After(position), ALL).await?;
        ensure!(
            rest.records == read.records[index..],
            "something else follows {position}"
        );
    }
    PASSED
}

pub(super) async fn a_topic_without_a_log_has_a_beginning<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let beginning = head(&store, &TOPIC).await?;
    let empty = page(&store, &TOPIC, ReadFrom::After(beginning), ALL).await?;
    ensure_eq!(empty.start, beginning, "the start of the page");
    for from in [ReadFrom::Oldest, ReadFrom::Newest(5), ReadFrom::Newest(0)] {
        let empty = page(&store, &TOPIC, from, ALL).await?;
        ensure_eq!(empty.head, beginning, "the head of a topic without a log");
    }
    // Other topics do not change what it means.
    stored(&store, &OTHER, Append::new([event("other")])).await?;
    append_each(&store, 0..3).await?;
    let first = page(&store, &TOPIC, ReadFrom::After(beginning), ALL).await?;
    let oldest = page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    ensure!(
        first == oldest,
        "behind the beginning comes {first:?}, and oldest is {oldest:?}"
    );
    let read = texts(&store, &TOPIC, ReadFrom::After(beginning)).await?;
    ensure_eq!(read, numbers(0..3), "what follows the beginning");
    PASSED
}

pub(super) async fn reading_stores_nothing<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    let topics: Vec<TopicName> = (0..100)
        .flat_map(|number| TopicName::new(format!("topic-{number}")))
        .collect();
    let heads = store.heads(&topics).await?;
    for (topic, head) in topics.iter().zip(&heads) {
        let _ = store.read(topic, ReadFrom::Oldest, ALL).await?;
        let _ = store.read(topic, ReadFrom::After(*head), ALL).await?;
        let now = store.head_now(topic);
        ensure!(
            now.is_none_or(|now| now == *head),
            "{now:?} is the head now, not {head}"
        );
    }
    let again = store.heads(&topics).await?;
    ensure!(
        again == heads,
        "reading a topic without a log has changed its head"
    );
    PASSED
}

pub(super) async fn a_position_of_another_life_is_unknown<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let beginning = head(&store, &TOPIC).await?;
    let of_another_life =
        |position: Position, offset| Position::new(Epoch::new(position.epoch().get() ^ 1), offset);
    for offset in [0, 1, 7] {
        let answer = after(&store, of_another_life(beginning, offset)).await?;
        ensure_eq!(
            answer,
            Read::UnknownEpoch(beginning),
            "no log, and a position of another life"
        );
    }
    let last = append(&store, 0..5).await?;
    for offset in [0, 1, last.offset(), last.offset() + 1, u64::MAX] {
        let answer = after(&store, of_another_life(last, offset)).await?;
        ensure_eq!(
            answer,
            Read::UnknownEpoch(last),
            "a position of another life"
        );
    }
    PASSED
}

pub(super) async fn a_position_beyond_the_head_is_ahead<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let beginning = head(&store, &TOPIC).await?;
    let beyond = Position::new(beginning.epoch(), u64::MAX);
    let answer = after(&store, beyond).await?;
    ensure!(
        is_told(&answer),
        "beyond the head of no log, and the answer is {answer:?}"
    );
    let last = append(&store, 0..5).await?;
    for offset in [last.offset() + 1, last.offset() + 1000, u64::MAX] {
        let answer = after(&store, Position::new(last.epoch(), offset)).await?;
        ensure_eq!(answer, Read::Ahead(last), "a position beyond the head");
    }
    PASSED
}
