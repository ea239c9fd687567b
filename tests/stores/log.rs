//! One topic of a store: appending to it, and reading it.

// Not the tests of every store need all of it.
#![allow(dead_code)]

use std::{error::Error, num::NonZeroUsize, ops::Range, time::Duration};

use tokio::time::{sleep, timeout};
use tower_sse::{
    TopicName,
    store::{Append, Appended, EventStore, NewRecord, Page, Position, Read, ReadFrom, StoreError},
};

pub(crate) const TOPIC: TopicName = TopicName::from_static("topic");
pub(crate) const ALL: NonZeroUsize = NonZeroUsize::MAX;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn event(data: impl ToString) -> NewRecord {
    NewRecord::event(None, data.to_string())
}

pub(crate) async fn try_append(
    store: &impl EventStore,
    data: impl ToString,
) -> Result<Appended, StoreError> {
    store.append(&TOPIC, Append::new([event(data)])).await
}

pub(crate) async fn append(store: &impl EventStore, data: impl ToString) -> Position {
    stored(store, &TOPIC, Append::new([event(data)])).await
}

pub(crate) async fn append_each(store: &impl EventStore, numbers: Range<u64>) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(append(store, number).await);
    }
    positions
}

/// Appends until it succeeds.
pub(crate) async fn append_again(store: &impl EventStore, data: &str) -> Position {
    let again = async {
        loop {
            match try_append(store, data).await {
                Ok(Appended::Stored(position)) => return position,
                Ok(conflict) => panic!("{conflict:?}"),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, again)
        .await
        .expect("it is stored in time")
}

pub(crate) async fn stored(store: &impl EventStore, topic: &TopicName, append: Append) -> Position {
    match store.append(topic, append).await.unwrap() {
        Appended::Stored(position) => position,
        conflict => panic!("{conflict:?}"),
    }
}

pub(crate) async fn head(store: &impl EventStore) -> Position {
    store.heads(&[TOPIC]).await.unwrap()[0]
}

pub(crate) async fn after(store: &impl EventStore, position: Position) -> Result<Read, StoreError> {
    store.read(&TOPIC, ReadFrom::After(position), ALL).await
}

pub(crate) async fn page(store: &impl EventStore, from: ReadFrom) -> Page {
    page_of(store, &TOPIC, from).await
}

pub(crate) async fn page_of(store: &impl EventStore, topic: &TopicName, from: ReadFrom) -> Page {
    match store.read(topic, from, ALL).await.unwrap() {
        Read::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn texts(page: &Page) -> Vec<String> {
    let data = page.records.iter().map(|record| record.content().data());
    data.map(ToString::to_string).collect()
}

/// What is read page by page, up to the head or a gap.
pub(crate) async fn all(store: &impl EventStore) -> Vec<String> {
    let mut read = page(store, ReadFrom::Oldest).await;
    let mut all = texts(&read);
    while read.end() != read.head {
        match after(store, read.end()).await.unwrap() {
            Read::Page(next) => read = next,
            _ => break,
        }
        all.extend(texts(&read));
    }
    all
}

/// The kind of an error and all that it says.
pub(crate) fn told(error: &StoreError) -> String {
    let mut text = format!("{error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
