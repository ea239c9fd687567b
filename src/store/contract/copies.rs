//! What becomes of positions when logs are put back to an older copy.

use super::{
    Subject,
    check::{
        Broken, PASSED, Place, TOPIC, Verdict, after, append, append_each, ensure, head, is_told,
        numbers, skipped, texts,
    },
};
use crate::store::{EventStore, Position, ReadFrom};

const NO_COPIES: &str = "logs cannot be put back";

/// Puts the logs back. The store stays open where it can.
async fn put_back<S: Subject>(place: &Place<'_, S>, store: S::Store, copy: S::Copy) -> S::Store {
    if S::SHARED {
        place.subject.restore(place.name(), copy).await;
        return store;
    }
    place.subject.close(store).await;
    place.subject.restore(place.name(), copy).await;
    place.open().await
}

/// Copies the logs. The store stays open where it can.
async fn copied<S: Subject>(place: &Place<'_, S>, store: S::Store) -> (S::Store, Option<S::Copy>) {
    if S::SHARED {
        let copy = place.subject.copy(place.name()).await;
        return (store, copy);
    }
    place.subject.close(store).await;
    let copy = place.subject.copy(place.name()).await;
    (place.open().await, copy)
}

/// Checks that nobody who was in the lost future is led on as if nothing had happened.
async fn lost_future_is_told<E: EventStore>(
    store: &E,
    lost: &[Position],
    acknowledged: &[Position],
) -> Result<(), Broken> {
    for &position in lost {
        let answer = after(store, position).await?;
        ensure!(
            is_told(&answer),
            "{position} is of a future that was lost, and the answer is {answer:?}"
        );
        ensure!(
            !acknowledged.contains(&position),
            "{position} is used again"
        );
    }
    Ok(())
}

pub(super) async fn positions_of_a_lost_future_are_told<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    append_each(&store, 0..10).await?;
    let (store, copy) = copied(place, store).await;
    let Some(copy) = copy else {
        return skipped(NO_COPIES);
    };
    let lost = append_each(&store, 10..15).await?;
    let store = put_back(place, store, copy).await;
    lost_future_is_told(&store, &lost, &[]).await?;
    let acknowledged = append_each(&store, 20..28).await?;
    lost_future_is_told(&store, &lost, &acknowledged).await?;
    let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
    ensure!(
        read.ends_with(&numbers(20..28)),
        "after a copy was put back stands {read:?}"
    );
    for (number, position) in (21..).zip(&acknowledged) {
        let read = texts(&store, &TOPIC, ReadFrom::After(*position)).await?;
        ensure!(
            read == numbers(number..28),
            "behind {position} comes {read:?}"
        );
    }
    place.subject.close(store).await;
    PASSED
}

pub(super) async fn a_reader_notices_what_was_put_back<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    if !S::SHARED {
        return skipped("one store at a time");
    }
    let (writer, reader) = (place.open().await, place.open().await);
    append_each(&writer, 0..10).await?;
    let (writer, copy) = copied(place, writer).await;
    let Some(copy) = copy else {
        return skipped(NO_COPIES);
    };
    let lost = append_each(&writer, 10..15).await?;
    // It has only read, and whoever appends next has seen nothing.
    texts(&reader, &TOPIC, ReadFrom::Oldest).await?;
    drop(writer);
    place.subject.restore(place.name(), copy).await;
    head(&reader, &TOPIC).await?;
    let stranger = place.open().await;
    append(&stranger, 20..28).await?;
    let read = texts(&reader, &TOPIC, ReadFrom::Oldest).await?;
    ensure!(
        read.ends_with(&numbers(20..28)),
        "after a copy was put back stands {read:?}"
    );
    lost_future_is_told(&reader, &lost, &[]).await?;
    lost_future_is_told(&stranger, &lost, &[]).await?;
    PASSED
}
