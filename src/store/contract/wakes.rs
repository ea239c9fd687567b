//! What a watcher is told.

use super::{
    Subject,
    check::{
        Broken, OTHER, PASSED, Place, TOPIC, Verdict, append, event, in_time, skipped, stored,
    },
};
use crate::{
    store::{Append, EventStore, Wakes},
    sync::{Arc, Mutex, lock},
    topic_name::TopicName,
};

/// What one watcher was told so far.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Vec<Option<TopicName>>>>);

impl Told {
    pub(super) fn wakes(&self) -> Wakes {
        let told = self.clone();
        Wakes::new(move |topic| lock(&told.0).push(topic.cloned()))
    }

    fn take(&self) -> Vec<Option<TopicName>> {
        std::mem::take(&mut *lock(&self.0))
    }

    /// Waits until all topics were woken, as they are when a watcher begins.
    pub(super) async fn begins(&self) -> Result<(), Broken> {
        in_time(
            "a watcher is told to read all topics when it begins",
            async || Ok(self.take().contains(&None).then_some(())),
        )
        .await
    }

    pub(super) async fn of(&self, topic: &TopicName) -> Result<(), Broken> {
        in_time("a watcher is told of an append", async || {
            let told = self.take();
            let woken = told.contains(&None) || told.contains(&Some(topic.clone()));
            Ok(woken.then_some(()))
        })
        .await
    }
}

/// Does something while the store is watched.
pub(super) async fn watching<E: EventStore, T>(
    store: &E,
    told: &Told,
    work: impl Future<Output = Result<T, Broken>>,
) -> Result<T, Broken> {
    tokio::select! {
        done = work => done,
        error = store.watch(told.wakes()) => Err(Broken(format!("watching has ended: {error:?}"))),
    }
}

pub(super) async fn a_watcher_is_told<S: Subject>(place: &Place<'_, S>) -> Verdict {
    if !S::WATCHES {
        return skipped("the store tells nobody");
    }
    let store = place.open().await;
    let told = Told::default();
    watching(&store, &told, async {
        told.begins().await?;
        for number in 0..3 {
            append(&store, [number]).await?;
            told.of(&TOPIC).await?;
            stored(&store, &OTHER, Append::new([event(number), event(number)])).await?;
            told.of(&OTHER).await?;
        }
        Ok(())
    })
    .await?;
    PASSED
}

pub(super) async fn watchers_come_and_go<S: Subject>(place: &Place<'_, S>) -> Verdict {
    if !S::WATCHES {
        return skipped("the store tells nobody");
    }
    let store = place.open().await;
    let (one, another) = (Told::default(), Told::default());
    for number in 0..3 {
        // The first is dropped each time; the others go on or come anew.
        watching(&store, &one, async {
            one.begins().await?;
            watching(&store, &another, async {
                another.begins().await?;
                append(&store, [number]).await?;
                one.of(&TOPIC).await?;
                another.of(&TOPIC).await
            })
            .await?;
            append(&store, [number]).await?;
            one.of(&TOPIC).await
        })
        .await?;
    }
    PASSED
}
