//! What a hub over the store delivers when things go wrong in between.

use std::{num::NonZeroUsize, time::Duration};

use futures_util::{Stream, StreamExt};
use tokio::time::{sleep, timeout};

use super::{
    Subject,
    check::{
        Broken, PASSED, PATIENCE, Place, TOPIC, Verdict, append, append_each, ensure, ensure_eq,
        in_time, numbers, skipped,
    },
};
use crate::{
    event::Event,
    hub::Hub,
    last_event_id::LastEventId,
    store::{
        Append, Appended, EventStore, Position, Read, ReadFrom, StoreError, StoreErrorKind, Wakes,
    },
    sync::{Arc, Mutex, lock},
    topic_name::TopicName,
};

/// What becomes of the wake-ups of a store.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    DoubledAndLate,
}

struct Twisted<E> {
    store: Arc<E>,
    fate: Fate,
}

impl<E: EventStore> EventStore for Twisted<E> {
    fn append(
        &self,
        topic: &TopicName,
        append: Append,
    ) -> impl Future<Output = Result<Appended, StoreError>> + Send {
        self.store.append(topic, append)
    }

    fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> impl Future<Output = Result<Read, StoreError>> + Send {
        self.store.read(topic, from, max_bytes)
    }

    fn heads(
        &self,
        topics: &[TopicName],
    ) -> impl Future<Output = Result<Vec<Position>, StoreError>> + Send {
        self.store.heads(topics)
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        let Fate::DoubledAndLate = self.fate else {
            return std::future::pending().await;
        };
        let held = Arc::new(Mutex::new(Vec::new()));
        let hold = Arc::clone(&held);
        let holding = Wakes::new(move |topic| lock(&hold).push(topic.cloned()));
        let let_go = async {
            loop {
                sleep(Duration::from_millis(50)).await;
                let late = std::mem::take(&mut *lock(&held));
                for topic in late.iter().chain(&late) {
                    match topic {
                        Some(topic) => wakes.wake(topic),
                        None => wakes.wake_all(),
                    }
                }
            }
        };
        tokio::select! {
            error = self.store.watch(holding) => error,
            () = let_go => StoreErrorKind::Unavailable.into(),
        }
    }
}

async fn next(events: &mut (impl Stream<Item = Event> + Unpin)) -> Result<Event, Broken> {
    let event = timeout(PATIENCE, events.next()).await.ok().flatten();
    event.ok_or_else(|| Broken(format!("no event within {PATIENCE:?}")))
}

/// Appends behind the hub's back, and has the hub deliver.
async fn delivers<S: Subject>(place: &Place<'_, S>, fate: Fate) -> Verdict {
    let store = Arc::new(place.open().await);
    let hub = Hub::with_store(Twisted {
        store: Arc::clone(&store),
        fate,
    });
    let mut events = hub.subscribe(&TOPIC, LastEventId::Absent).events();
    let open = next(&mut events).await?;
    ensure_eq!(
        open.event_type(),
        "sse.open",
        "the first event of a topic without a log"
    );
    for range in [0..3, 3..40] {
        let positions = append_each(&*store, range.clone()).await?;
        for (number, position) in range.zip(positions) {
            let event = next(&mut events).await?;
            ensure!(
                event.data() == number.to_string()
                    && event.last_event_id() == Some(&position.to_string()),
                "instead of {number} at {position} came {event:?}"
            );
        }
    }
    PASSED
}

pub(super) async fn nothing_is_missing_where_wakes_are_lost<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    delivers(place, Fate::Lost).await
}

pub(super) async fn nothing_is_doubled_where_wakes_are<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    delivers(place, Fate::DoubledAndLate).await
}

pub(super) async fn an_outage_is_no_gap<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = Arc::new(place.open().await);
    let before = append(&*store, 0..3).await?;
    let hub = Hub::with_store(Arc::clone(&store)).unavailable_after(PATIENCE * 2);
    let last = LastEventId::Id(before.to_string().into());
    let mut events = hub.subscribe(&TOPIC, last).events();
    append(&*store, 3..5).await?;
    for number in 3..5 {
        ensure_eq!(
            next(&mut events).await?.data(),
            number.to_string(),
            "before the outage"
        );
    }

    if !place.subject.cut().await {
        return skipped("the engine cannot be made unreachable");
    }
    let kinds = [StoreErrorKind::Unavailable, StoreErrorKind::OutcomeUnknown];
    let lost = append_or_error(&*store).await;
    let read = timeout(
        PATIENCE,
        store.read(&TOPIC, ReadFrom::Oldest, NonZeroUsize::MIN),
    )
    .await;
    place.subject.heal().await;
    match lost {
        Ok(answer) => {
            return Err(Broken(format!(
                "an append during an outage is answered {answer:?}"
            )));
        }
        Err(error) => ensure!(
            kinds.contains(&error.kind()),
            "the kind of an error during an outage is {:?}",
            error.kind()
        ),
    }
    ensure!(
        !matches!(read, Ok(Ok(_))),
        "a read during an outage is answered {read:?}"
    );

    let back = in_time("an append succeeds after the outage", async || {
        Ok(append(&*store, [100]).await.ok())
    });
    let back = back.await?;
    let mut came = Vec::new();
    loop {
        let event = next(&mut events).await?;
        ensure!(
            event.gap().is_none(),
            "an outage is told as a gap: {event:?}"
        );
        came.push(event.data().to_owned());
        if event.last_event_id() == Some(&back.to_string()) {
            break;
        }
    }
    // The one whose outcome is unknown, and attempts that were not answered, may be there.
    came.retain(|data| data != "99");
    came.dedup();
    ensure_eq!(came, numbers([100]), "after the outage");
    PASSED
}

async fn append_or_error(store: &impl EventStore) -> Result<Appended, StoreError> {
    let append = Append::new([super::check::event(99)]);
    let answer = timeout(PATIENCE, store.append(&TOPIC, append)).await;
    answer.unwrap_or_else(|late| Err(StoreError::new(StoreErrorKind::OutcomeUnknown, late)))
}
