//! What is retained.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Limits, Subject,
    check::{
        ALL, Broken, PASSED, Place, TOPIC, Verdict, after, append, append_each, ensure, ensure_eq,
        event, evicted, head, in_time, limits, numbers, page, roomy, skipped, stored, texts, whole,
    },
};
use crate::store::{Append, EventStore, NewRecord, Position, Read, ReadFrom, RecordKind};

/// Checks all that holds when `retained` is what is left of events that stand at `positions`.
async fn check_eviction<E: EventStore>(
    store: &E,
    positions: &[Position],
    retained: std::ops::Range<u64>,
) -> Result<(), Broken> {
    let Some(&newest) = positions.last() else {
        return Ok(());
    };
    let read = texts(store, &TOPIC, ReadFrom::Oldest).await?;
    ensure_eq!(read, numbers(retained.clone()), "what is retained");
    let everything = texts(store, &TOPIC, ReadFrom::Newest(u64::MAX)).await?;
    ensure_eq!(everything, numbers(retained.clone()), "the newest of all");
    let page = page(store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    ensure_eq!(page.head, newest, "the head");
    for (number, &position) in (0..).zip(positions) {
        // This one and the next are retained, or it is the last of what went.
        if number + 1 >= retained.start || position == newest {
            let read = texts(store, &TOPIC, ReadFrom::After(position)).await?;
            ensure_eq!(read, numbers(number + 1..retained.end), "behind {position}");
            continue;
        }
        let evicted = evicted(after(store, position).await?)?;
        ensure_eq!(evicted.oldest, page.start, "the oldest position");
        let middle = evicted.middle.offset();
        ensure!(
            (page.start.offset()..=newest.offset()).contains(&middle),
            "the middle is {}, of {} to {newest}",
            evicted.middle,
            page.start,
        );
        for position in [evicted.oldest, evicted.middle] {
            let answer = after(store, position).await?;
            ensure!(
                matches!(answer, Read::Page(_)),
                "{position} is retained: {answer:?}"
            );
        }
        let missed = retained.start - number - 1;
        ensure!(
            evicted.missed.is_none_or(|told| told == missed),
            "{missed} events are missing, told are {:?}",
            evicted.missed
        );
    }
    Ok(())
}

pub(super) async fn events_beyond_the_number_are_evicted<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open_with(limits(4, 100_000)).await;
    let mut positions = append_each(&store, 0..4).await?;
    check_eviction(&store, &positions, 0..4).await?;
    positions.extend(append_each(&store, 4..11).await?);
    check_eviction(&store, &positions, 7..11).await?;
    PASSED
}

pub(super) async fn events_beyond_the_bytes_are_evicted<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open_with(limits(1000, 1000)).await;
    let sized = |number: u64, size: usize| event(format!("{number:0size$}"));
    let mut last = Vec::new();
    for (number, size) in (1..).zip([100, 300, 600, 200, 1, 1000, 500, 500, 1, 999]) {
        last.push((number, size));
        stored(&store, &TOPIC, Append::new([sized(number, size)])).await?;
        let mut bytes = 0;
        let fitting = last.iter().rev().take_while(|(_, size)| {
            bytes += size;
            bytes <= 1000
        });
        let mut expected: Vec<u64> = fitting.map(|(number, _)| *number).collect();
        expected.reverse();
        let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
        let read: Vec<u64> = read.iter().flat_map(|text| text.parse()).collect();
        ensure_eq!(read, expected, "of 1,000 bytes");
    }
    PASSED
}

pub(super) async fn events_past_their_age_are_evicted<S: Subject>(place: &Place<'_, S>) -> Verdict {
    const AGE: Duration = Duration::from_secs(2);
    let aged = |age| Limits {
        age: Some(age),
        ..roomy()
    };
    let young = Place::new(place.subject, "young");
    let store = young.open_with(aged(Duration::from_secs(3600))).await;
    let positions = append_each(&store, 0..3).await?;
    check_eviction(&store, &positions, 0..3).await?;
    place.subject.close(store).await;

    let store = place.open_with(aged(AGE)).await;
    let begun = Instant::now();
    let mut positions = append_each(&store, 0..2).await?;
    let at_once = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
    ensure!(
        at_once.len() == 2 || begun.elapsed() >= AGE,
        "an event was evicted before its time"
    );
    sleep(AGE * 3 / 4).await;
    let later = Instant::now();
    positions.extend(append_each(&store, 2..4).await?);
    let newest = positions[3];
    let first_go = in_time(
        "events past their age go, though nothing is appended",
        async || {
            let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
            Ok((!read.contains(&"1".to_owned())).then_some(read))
        },
    );
    let read = first_go.await?;
    ensure!(
        later.elapsed() >= AGE || read == numbers(2..4),
        "an event has gone before its time: {read:?} are left"
    );
    in_time("all events past their age go", async || {
        let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
        Ok(read.is_empty().then_some(()))
    })
    .await?;
    ensure_eq!(
        head(&store, &TOPIC).await?,
        newest,
        "the head of a log that has no events left"
    );
    let gone = evicted(after(&store, positions[0]).await?)?;
    ensure_eq!(
        gone.oldest,
        newest,
        "the oldest position where no event is left"
    );
    let answer = after(&store, newest).await?;
    let is_empty = matches!(&answer, Read::Page(page) if page.records.is_empty());
    ensure!(
        is_empty,
        "nothing is missing behind the head, and the answer is {answer:?}"
    );
    let next = append(&store, [4]).await?;
    ensure!(next.epoch() == newest.epoch(), "the log has begun again");
    let read = texts(&store, &TOPIC, ReadFrom::After(newest)).await?;
    ensure!(
        read == numbers(4..5) || later.elapsed() > AGE,
        "behind the old head comes {read:?}"
    );
    PASSED
}

pub(super) async fn other_kinds_do_not_count<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open_with(limits(3, 100)).await;
    for number in 0..3 {
        append(&store, [number]).await?;
        for _ in 0..5 {
            let lease = NewRecord::of_kind(RecordKind::Lease, "x".repeat(50));
            stored(&store, &TOPIC, Append::new([lease])).await?;
        }
    }
    let page = page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    let events = |page: &crate::store::Page| {
        let records = page.records.iter();
        records
            .filter(|record| record.content().kind() == RecordKind::Event)
            .count()
    };
    ensure_eq!(events(&page), 3, "events beside leases");
    ensure_eq!(page.records.len(), 18, "records");
    append(&store, [3]).await?;
    let after_one_more = super::check::page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    ensure_eq!(events(&after_one_more), 3, "events after one more");
    PASSED
}

pub(super) async fn a_batch_may_be_larger_than_the_log<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open_with(limits(4, 100_000)).await;
    let beginning = head(&store, &TOPIC).await?;
    let last = append(&store, 0..10).await?;
    ensure_eq!(head(&store, &TOPIC).await?, last, "the head");
    let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
    ensure_eq!(read, numbers(6..10), "what is retained");
    evicted(after(&store, beginning).await?)?;
    PASSED
}

pub(super) async fn a_log_retains_what_the_store_says<S: Subject>(place: &Place<'_, S>) -> Verdict {
    const SIZE: u64 = 10;
    for (few, count) in [(limits(7, 100_000), 12), (limits(1000, 85), 12)] {
        let apart = Place::new(place.subject, "says");
        let store = apart.open_with(few).await;
        let Some(said) = store.retention() else {
            return skipped("the store does not say what it retains");
        };
        for number in 0..count {
            let text = format!("{number:010}");
            stored(&store, &TOPIC, Append::new([NewRecord::event(None, text)])).await?;
        }
        let events = said.events.unwrap_or(u64::MAX);
        let retained = events.min(said.bytes.unwrap_or(u64::MAX) / SIZE);
        let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
        ensure_eq!(
            read.len() as u64,
            retained.min(count),
            "events of {SIZE} bytes in a log said to retain {said:?}"
        );
        place.subject.close(store).await;
    }
    PASSED
}

pub(super) async fn a_page_has_no_hole_while_events_are_evicted<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    const EVENTS: u64 = 600;
    let store = Arc::new(place.open_with(limits(20, 100_000)).await);
    let mut cursor = head(&*store, &TOPIC).await?;
    let appending = tokio::spawn({
        let store = Arc::clone(&store);
        async move { append_each(&*store, 0..EVENTS).await }
    });
    let max_bytes = NonZeroUsize::new(10).unwrap_or(NonZeroUsize::MIN);
    let mut next: u64 = 0;
    let begun = Instant::now();
    while next < EVENTS {
        ensure!(
            begun.elapsed() < super::check::PATIENCE,
            "no progress behind {cursor}"
        );
        match store
            .read(&TOPIC, ReadFrom::After(cursor), max_bytes)
            .await?
        {
            Read::Page(page) => {
                whole(&page, max_bytes)?;
                if page.records.is_empty() {
                    sleep(Duration::from_millis(1)).await;
                }
                for record in &page.records {
                    let number: u64 = record.content().data().parse().unwrap_or(u64::MAX);
                    ensure_eq!(number, next, "a hole without a sign behind {cursor}");
                    next += 1;
                }
                cursor = page.end();
            }
            Read::Evicted(evicted) => {
                ensure!(
                    evicted.oldest.offset() > cursor.offset(),
                    "nothing is evicted behind {cursor}: {evicted:?}"
                );
                let missed = evicted.missed;
                match store
                    .read(&TOPIC, ReadFrom::After(evicted.oldest), max_bytes)
                    .await?
                {
                    Read::Page(page) if !page.records.is_empty() => {
                        let first = &page.records[0];
                        let number = first.content().data().parse().unwrap_or(0);
                        ensure!(
                            missed.is_none_or(|missed| next + missed == number),
                            "{} events are missing, told are {missed:?}",
                            number - next
                        );
                        next = number + 1;
                        cursor = Position::new(page.start.epoch(), first.offset());
                    }
                    // Evicted again meanwhile; the next turn counts anew.
                    _ => {}
                }
            }
            other => return Err(Broken(format!("{cursor} is of this log: {other:?}"))),
        }
        tokio::task::yield_now().await;
    }
    match appending.await {
        Ok(appended) => drop(appended?),
        Err(_) => return Err(Broken("an append has panicked".to_owned())),
    }
    PASSED
}
