//! What a read promises.

use std::{
    num::NonZeroUsize,
    time::{Duration, SystemTime},
};

use super::{
    Subject,
    check::{
        ALL, OTHER, PASSED, Place, TOPIC, Verdict, append, append_each, ensure, ensure_eq, event,
        head, limits, numbers, page, read_on, skipped, stored, texts,
    },
};
use crate::{
    store::{Append, EventStore, NewRecord, ReadFrom, Record, RecordKind},
    topic_name::TopicName,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const fn bytes(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).expect("not zero")
}

pub(super) async fn a_read_goes_on_behind_every_position<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let beginning = head(&store, &TOPIC).await?;
    let mut positions = vec![beginning];
    positions.extend(append_each(&store, 0..30).await?);
    for (number, position) in (0..).zip(positions) {
        let read = texts(&store, &TOPIC, ReadFrom::After(position)).await?;
        ensure_eq!(read, numbers(number..30), "behind {position}");
    }
    PASSED
}

pub(super) async fn a_page_is_bounded_in_bytes<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    let name = crate::event::EventName::from_static("name");
    let records: Vec<NewRecord> = (0..60)
        .map(|number| {
            let length = if number % 20 == 7 { 5000 } else { number };
            NewRecord::event(Some(name.clone()), "x".repeat(length))
        })
        .collect();
    stored(&store, &TOPIC, Append::new(records.clone())).await?;
    for max in [
        bytes(1),
        bytes(10),
        bytes(100),
        bytes(1000),
        bytes(20_000),
        ALL,
    ] {
        let pages = read_on(&store, &TOPIC, ReadFrom::Oldest, max).await?;
        let read: Vec<&NewRecord> = pages
            .iter()
            .flat_map(|page| page.records.iter().map(Record::content))
            .collect();
        ensure!(
            read.iter().copied().eq(&records),
            "pages of {max} bytes are not the log"
        );
    }
    PASSED
}

pub(super) async fn the_newest_are_counted_in_events<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    append(&store, 0..10).await?;
    for (count, expected) in [
        (0, 10..10),
        (1, 9..10),
        (4, 6..10),
        (10, 0..10),
        (u64::MAX, 0..10),
    ] {
        let read = texts(&store, &TOPIC, ReadFrom::Newest(count)).await?;
        ensure_eq!(read, numbers(expected), "the newest {count}");
    }
    // A few of another kind among them.
    let mut records = Vec::new();
    for number in 0..10_u64 {
        records.push(event(number));
        for _ in 0..number % 3 {
            records.push(NewRecord::of_kind(RecordKind::Lease, "lease"));
        }
    }
    stored(&store, &OTHER, Append::new(records)).await?;
    for count in [1, 2, 3, 7, 10, 99] {
        let pages = read_on(&store, &OTHER, ReadFrom::Newest(count), ALL).await?;
        let events: Vec<String> = pages
            .iter()
            .flat_map(|page| &page.records)
            .filter(|record| record.content().kind() == RecordKind::Event)
            .map(|record| record.content().data().to_string())
            .collect();
        let expected = numbers(10_u64.saturating_sub(count)..10);
        ensure_eq!(events, expected, "the newest {count} among others");
    }
    PASSED
}

pub(super) async fn kinds_keep_their_place<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    let lease = NewRecord::of_kind(RecordKind::Lease, "alive");
    let end = NewRecord::of_kind(RecordKind::End, "finished");
    let mut expected = Vec::new();
    for (record, also) in [(event(1), &lease), (event(2), &lease), (event(3), &end)] {
        let batch = [record, also.clone()];
        expected.extend(batch.clone());
        stored(&store, &TOPIC, Append::new(batch)).await?;
    }
    let page = page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    let read: Vec<&NewRecord> = page.records.iter().map(Record::content).collect();
    ensure!(
        read.into_iter().eq(&expected),
        "records of several kinds: {page:?}"
    );
    PASSED
}

/// Where the store keeps that.
pub(super) async fn a_record_tells_when_it_was_appended<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    append(&store, 0..10).await?;
    let page = page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    let times = page.records.iter().filter_map(Record::appended_at);
    let times: Vec<SystemTime> = times.collect();
    ensure!(times.is_sorted(), "times go backwards: {times:?}");
    // The clock of the store may be another.
    let now = SystemTime::now();
    let (from, to) = (now - DAY, now + DAY);
    ensure!(
        times.iter().all(|time| (from..to).contains(time)),
        "these are not the times of appends: {times:?}"
    );
    PASSED
}

pub(super) async fn heads_come_in_the_order_of_the_topics<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let mut topics: Vec<TopicName> = (0..300)
        .flat_map(|number| TopicName::new(format!("topic-{number}")))
        .collect();
    let mut expected = Vec::new();
    for (number, topic) in topics.iter().enumerate() {
        expected.push(match number % 3 {
            0 => head(&store, topic).await?,
            _ => stored(&store, topic, Append::new([event(number), event("again")])).await?,
        });
    }
    topics.reverse();
    expected.reverse();
    // Twice the same topic is allowed, too.
    topics.push(topics[0].clone());
    expected.push(expected[0]);
    let heads = store.heads(&topics).await?;
    ensure!(
        heads == expected,
        "heads of many topics are {heads:?}, not {expected:?}"
    );
    ensure!(store.heads(&[]).await?.is_empty(), "heads of no topics");
    PASSED
}

pub(super) async fn one_behind_is_no_more_work_in_a_large_log<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let subject = place.subject;
    if subject.work().await.is_none() {
        return skipped("nobody counts its work");
    }
    let large = subject.large_log();
    let room = usize::try_from(large).unwrap_or(usize::MAX);
    let store = place
        .open_with(limits(room.saturating_add(2000), room.saturating_mul(100)))
        .await;
    let mut appended = 0;
    let mut work = Vec::new();
    for size in [1000, large] {
        let mut last = head(&store, &TOPIC).await?;
        while appended < size {
            let batch = appended..size.min(appended + 1000);
            appended = batch.end;
            append(&store, batch.start..batch.end - 1).await?;
            last = head(&store, &TOPIC).await?;
            append(&store, [batch.end - 1]).await?;
        }
        let before = subject.work().await;
        for _ in 0..20 {
            let page = page(&store, &TOPIC, ReadFrom::After(last), ALL).await?;
            ensure_eq!(
                page.records.len(),
                1,
                "records for a client that is one behind"
            );
        }
        let newest = page(&store, &TOPIC, ReadFrom::Newest(1), ALL).await?;
        ensure_eq!(newest.start, last, "the place of the newest event");
        let after = subject.work().await;
        work.push(
            after
                .zip(before)
                .map_or(0, |(after, before)| after - before),
        );
    }
    let (small, large) = (work[0], work[1]);
    ensure!(
        large <= 4 * small.max(1),
        "one behind costs {small} in a log of a thousand and {large} in one of {appended}"
    );
    PASSED
}
