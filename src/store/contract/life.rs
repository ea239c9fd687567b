//! The end of life of a topic.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Subject,
    check::{
        ALL, Broken, OTHER, PASSED, Place, TOPIC, Verdict, after, append, append_each, ensure,
        ensure_eq, event, head, in_time, numbers, page, stored, texts,
    },
};
use crate::store::{Append, EventStore, Position, Read, ReadFrom};

const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(3600);

/// Waits until the topic is gone, and returns the head that it has then.
pub(super) async fn gone(store: &impl EventStore, last: Position) -> Result<Position, Broken> {
    in_time("a topic goes at its end of life", async || {
        let head = head(store, &TOPIC).await?;
        Ok((head.epoch() != last.epoch()).then_some(head))
    })
    .await
}

pub(super) async fn a_topic_that_is_gone_reads_as_unknown<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    stored(&store, &OTHER, Append::new([event("other")])).await?;
    let mut old = append_each(&store, 0..3).await?;
    let last = stored(&store, &TOPIC, Append::new([event(3)]).gone_after(SOON)).await?;
    old.push(last);
    let beginning = gone(&store, last).await?;
    for &position in &old {
        let answer = after(&store, position).await?;
        ensure_eq!(
            answer,
            Read::UnknownEpoch(beginning),
            "{position} of a topic that is gone"
        );
    }
    let empty = page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    ensure!(empty.records.is_empty(), "a topic that is gone has events");
    let new = append_each(&store, 4..9).await?;
    ensure!(
        new.iter().all(|position| !old.contains(position)),
        "a position is used again: {new:?} after {old:?}"
    );
    for &position in &old {
        let answer = after(&store, position).await?;
        let told = matches!(answer, Read::UnknownEpoch(_));
        ensure!(
            told,
            "{position} is of an earlier life, and the answer is {answer:?}"
        );
    }
    let read = texts(&store, &TOPIC, ReadFrom::After(beginning)).await?;
    ensure_eq!(read, numbers(4..9), "the new log");
    let others = texts(&store, &OTHER, ReadFrom::Oldest).await?;
    ensure_eq!(others, ["other"], "another topic");
    PASSED
}

pub(super) async fn a_later_append_takes_the_end_back<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    stored(&store, &TOPIC, Append::new([event(0)]).gone_after(SOON * 2)).await?;
    append(&store, [1]).await?;
    stored(&store, &OTHER, Append::new([event(0)]).gone_after(SOON * 2)).await?;
    stored(&store, &OTHER, Append::new([event(1)]).gone_after(LATE)).await?;
    sleep(SOON * 3).await;
    for topic in [&TOPIC, &OTHER] {
        let read = texts(&store, topic, ReadFrom::Oldest).await?;
        ensure_eq!(read, numbers(0..2), "a topic whose end was put off");
    }
    PASSED
}

pub(super) async fn an_end_can_be_set_without_an_event<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let last = append(&store, 0..2).await?;
    let answer = stored(&store, &TOPIC, Append::new([]).gone_after(SOON)).await?;
    ensure_eq!(answer, last, "an append of nothing returns the head");
    let beginning = gone(&store, last).await?;
    let answer = after(&store, last).await?;
    ensure_eq!(
        answer,
        Read::UnknownEpoch(beginning),
        "a position of a topic that is gone"
    );
    PASSED
}

pub(super) async fn a_position_before_a_log_that_is_gone_is_unknown<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let beginning = head(&store, &TOPIC).await?;
    let last = stored(&store, &TOPIC, Append::new([event(0)]).gone_after(SOON)).await?;
    let again = in_time("a topic goes at its end of life", async || {
        let read = page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
        Ok(read.records.is_empty().then_some(read.head))
    })
    .await?;
    ensure!(
        again != last && again != beginning,
        "{again} is the head again"
    );
    let answer = after(&store, beginning).await?;
    ensure_eq!(
        answer,
        Read::UnknownEpoch(again),
        "a log came and went behind {beginning}"
    );
    append(&store, 1..3).await?;
    let answer = after(&store, beginning).await?;
    let told = matches!(answer, Read::UnknownEpoch(_));
    ensure!(
        told,
        "a log came and went behind {beginning}, and the answer is {answer:?}"
    );
    PASSED
}
