//! What outlives the store that was opened over the logs.

use std::time::Duration;

use super::{
    Subject,
    check::{
        ALL, OTHER, PASSED, Place, TOPIC, Verdict, after, append, append_each, ensure, ensure_eq,
        event, evicted, head, limits, numbers, page, skipped, stored, texts,
    },
    life::gone,
};
use crate::store::{Append, NewRecord, Read, ReadFrom, RecordKind};

const NOT_DURABLE: &str = "logs end with the store";

pub(super) async fn a_client_resumes_before_the_first_append<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    if !S::DURABLE {
        return skipped(NOT_DURABLE);
    }
    let store = place.open().await;
    let mut positions = append_each(&store, 0..10).await?;
    let lease = NewRecord::of_kind(RecordKind::Lease, "alive");
    stored(&store, &OTHER, Append::new([event("other"), lease])).await?;
    let other = page(&store, &OTHER, ReadFrom::Oldest, ALL).await?;
    place.subject.close(store).await;
    for round in 1..4 {
        let store = place.open().await;
        let newest = positions[positions.len() - 1];
        let end = round * 10;
        for (next, position) in (1..).zip(&positions) {
            let read = texts(&store, &TOPIC, ReadFrom::After(*position)).await?;
            ensure_eq!(
                read,
                numbers(next..end),
                "behind {position} after a reopening"
            );
        }
        ensure_eq!(
            head(&store, &TOPIC).await?,
            newest,
            "the head after a reopening"
        );
        let read = page(&store, &OTHER, ReadFrom::Oldest, ALL).await?;
        ensure!(read == other, "after a reopening {other:?} is {read:?}");
        positions.extend(append_each(&store, end..end + 10).await?);
        let read = texts(&store, &TOPIC, ReadFrom::After(newest)).await?;
        ensure_eq!(
            read,
            numbers(end..end + 10),
            "behind the head before a reopening"
        );
        place.subject.close(store).await;
    }
    PASSED
}

pub(super) async fn limits_hold_over_a_reopening<S: Subject>(place: &Place<'_, S>) -> Verdict {
    if !S::DURABLE {
        return skipped(NOT_DURABLE);
    }
    let few = limits(4, 100);
    let mut oldest = None;
    for round in 0..5_u64 {
        let store = place.open_with(few).await;
        let first = round * 3;
        let positions = append_each(&store, first..first + 3).await?;
        let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
        ensure_eq!(
            read,
            numbers((first + 3).saturating_sub(4)..first + 3),
            "what is retained"
        );
        match oldest {
            None => oldest = positions.first().copied(),
            Some(oldest) => drop(evicted(after(&store, oldest).await?)?),
        }
        place.subject.close(store).await;
    }
    PASSED
}

pub(super) async fn the_beginning_of_a_topic_outlives_the_store<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    if !S::DURABLE {
        return skipped(NOT_DURABLE);
    }
    let store = place.open().await;
    stored(&store, &OTHER, Append::new([event("other")])).await?;
    let beginning = head(&store, &TOPIC).await?;
    place.subject.close(store).await;
    let store = place.open().await;
    ensure_eq!(
        head(&store, &TOPIC).await?,
        beginning,
        "the beginning after a reopening"
    );
    append_each(&store, 0..3).await?;
    place.subject.close(store).await;
    let store = place.open().await;
    let read = texts(&store, &TOPIC, ReadFrom::After(beginning)).await?;
    ensure_eq!(
        read,
        numbers(0..3),
        "behind the beginning after a reopening"
    );
    place.subject.close(store).await;
    PASSED
}

pub(super) async fn an_end_of_life_outlives_the_store<S: Subject>(place: &Place<'_, S>) -> Verdict {
    if !S::DURABLE {
        return skipped(NOT_DURABLE);
    }
    let store = place.open().await;
    append(&store, 0..3).await?;
    let soon = Append::new([event(3)]).gone_after(Duration::from_secs(1));
    let last = stored(&store, &TOPIC, soon).await?;
    place.subject.close(store).await;
    let store = place.open().await;
    let beginning = gone(&store, last).await?;
    place.subject.close(store).await;
    let store = place.open().await;
    let answer = after(&store, last).await?;
    ensure_eq!(
        answer,
        Read::UnknownEpoch(beginning),
        "a topic that is gone, after a reopening"
    );
    let again = append(&store, [4]).await?;
    ensure!(
        again.epoch() != last.epoch(),
        "{again} is of the life of {last}"
    );
    place.subject.close(store).await;
    PASSED
}
