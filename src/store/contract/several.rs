//! Several stores over the same logs, as in several processes.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{
    Subject,
    check::{
        Broken, PASSED, Place, TOPIC, Verdict, append, ensure, ensure_eq, event, head, numbers,
        skipped, texts,
    },
    wakes::{Told, watching},
};
use crate::store::{Append, Appended, EventStore, ReadFrom};

const ONE_AT_A_TIME: &str = "one store at a time";

pub(super) async fn stores_append_to_one_log<S: Subject>(place: &Place<'_, S>) -> Verdict {
    if !S::SHARED {
        return skipped(ONE_AT_A_TIME);
    }
    const EACH: u64 = 100;
    let mut publishers = JoinSet::new();
    for publisher in 0..4 {
        let store = Arc::new(place.open().await);
        publishers.spawn(async move {
            for number in 0..EACH {
                append(&*store, [publisher * 1000 + number]).await?;
            }
            Ok::<_, Broken>(())
        });
    }
    for done in publishers.join_all().await {
        done?;
    }
    let store = place.open().await;
    let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
    ensure_eq!(read.len(), 400, "the number of events");
    for publisher in 0..4 {
        let of_publisher: Vec<String> = read
            .iter()
            .flat_map(|text| text.parse::<u64>())
            .filter(|number| number / 1000 == publisher)
            .map(|number| number.to_string())
            .collect();
        let first = publisher * 1000;
        ensure_eq!(
            of_publisher,
            numbers(first..first + EACH),
            "events of one publisher"
        );
    }
    PASSED
}

pub(super) async fn one_store_reads_what_another_has_appended<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    if !S::SHARED {
        return skipped(ONE_AT_A_TIME);
    }
    let (one, another) = (place.open().await, place.open().await);
    let mut before = head(&another, &TOPIC).await?;
    ensure_eq!(
        head(&one, &TOPIC).await?,
        before,
        "the beginning of a topic in two stores"
    );
    for number in 0..20 {
        let (writer, reader) = match number % 2 {
            0 => (&one, &another),
            _ => (&another, &one),
        };
        let position = append(writer, [number]).await?;
        ensure_eq!(
            head(reader, &TOPIC).await?,
            position,
            "the head in another store"
        );
        let read = texts(reader, &TOPIC, ReadFrom::After(before)).await?;
        ensure_eq!(read, numbers([number]), "what another store has appended");
        before = position;
    }
    PASSED
}

pub(super) async fn a_condition_holds_over_stores<S: Subject>(place: &Place<'_, S>) -> Verdict {
    if !S::SHARED {
        return skipped(ONE_AT_A_TIME);
    }
    let stores = join_all((0..4).map(|_| place.open())).await;
    for round in 0..10 {
        let seen = head(&stores[0], &TOPIC).await?;
        let append = Append::new([event(round)]).while_head(seen);
        let racers = stores
            .iter()
            .map(async |store| store.append(&TOPIC, append.clone()).await);
        let answers = join_all(racers).await;
        let mut won = 0;
        for answer in answers {
            won += usize::from(matches!(answer?, Appended::Stored(_)));
        }
        ensure_eq!(won, 1, "winners of a race of stores");
    }
    PASSED
}

pub(super) async fn a_store_wakes_the_watchers_of_another<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    if !S::SHARED {
        return skipped(ONE_AT_A_TIME);
    }
    if !S::WATCHES {
        return skipped("the store tells nobody");
    }
    let (one, another) = (place.open().await, place.open().await);
    let told = Told::default();
    watching(&another, &told, async {
        told.begins().await?;
        for number in 0..5 {
            append(&one, [number]).await?;
            told.of(&TOPIC).await?;
        }
        Ok(())
    })
    .await?;
    ensure!(
        head(&another, &TOPIC).await?.offset() > 0,
        "nothing was appended"
    );
    PASSED
}
