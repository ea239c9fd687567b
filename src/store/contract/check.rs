//! What the cases are written with.

use std::{num::NonZeroUsize, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Limits, Subject};
use crate::{
    store::{
        Append, Appended, EventStore, Evicted, NewRecord, Page, Position, Read, ReadFrom,
        StoreError,
    },
    topic_name::TopicName,
};

pub(super) const TOPIC: TopicName = TopicName::from_static("topic");
pub(super) const OTHER: TopicName = TopicName::from_static("other");

/// As much as there is.
pub(super) const ALL: NonZeroUsize = NonZeroUsize::MAX;

/// For how long the suite waits for what has to happen at some time.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The end of a case that the store has come through, or that does not apply to it.
pub(super) type Verdict = Result<Option<Skipped>, Broken>;

/// A rule that the store breaks.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

#[derive(Debug)]
pub(super) struct Skipped(pub(super) &'static str);

pub(super) const PASSED: Verdict = Ok(None);

pub(super) const fn skipped(reason: &'static str) -> Verdict {
    Ok(Some(Skipped(reason)))
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("a call failed without need: {error:?}"))
    }
}

/// Ends the case as failed unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::store::contract::check::Broken(format!($($message)+)));
        }
    };
}

/// Ends the case as failed unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {{
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    return Err($crate::store::contract::check::Broken(format!(
                        "{}: {left:?}, not {right:?}",
                        format_args!($($message)+),
                    )));
                }
            }
        }
    }};
}

pub(super) use {ensure, ensure_eq};

/// Where the logs of one case are kept.
pub(super) struct Place<'a, S> {
    pub(super) subject: &'a S,
    name: String,
}

impl<'a, S: Subject> Place<'a, S> {
    pub(super) fn new(subject: &'a S, case: &str) -> Self {
        let unique = fastrand::u64(..);
        Self {
            subject,
            name: format!("{}-{unique:x}", case.replace('_', "-")),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Opens a store with limits that no case reaches by chance.
    pub(super) async fn open(&self) -> S::Store {
        self.open_with(roomy()).await
    }

    pub(super) async fn open_with(&self, limits: Limits) -> S::Store {
        self.subject.open(&self.name, limits).await
    }
}

/// Limits for ten thousand small events.
pub(super) fn roomy() -> Limits {
    limits(10_000, 4 * 1024 * 1024)
}

pub(super) fn limits(events: usize, bytes: usize) -> Limits {
    let at_least_one = |limit| NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN);
    Limits {
        events: at_least_one(events),
        bytes: at_least_one(bytes),
        age: None,
    }
}

pub(super) fn event(data: impl ToString) -> NewRecord {
    NewRecord::event(None, data.to_string())
}

/// Appends events that carry these numbers, in one piece.
pub(super) async fn append(
    store: &impl EventStore,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<Position, Broken> {
    stored(store, &TOPIC, Append::new(numbers.into_iter().map(event))).await
}

/// Appends them one by one, and returns the position of each.
pub(super) async fn append_each(
    store: &impl EventStore,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<Vec<Position>, Broken> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(append(store, [number]).await?);
    }
    Ok(positions)
}

pub(super) async fn stored(
    store: &impl EventStore,
    topic: &TopicName,
    append: Append,
) -> Result<Position, Broken> {
    match store.append(topic, append).await? {
        Appended::Stored(position) => Ok(position),
        Appended::Conflict(head) => Err(Broken(format!(
            "an append answered `Conflict({head})` although its condition held"
        ))),
    }
}

pub(super) async fn head(store: &impl EventStore, topic: &TopicName) -> Result<Position, Broken> {
    let heads = store.heads(std::slice::from_ref(topic)).await?;
    match heads[..] {
        [head] => Ok(head),
        _ => Err(Broken(format!("one topic has {} heads", heads.len()))),
    }
}

pub(super) async fn after(store: &impl EventStore, position: Position) -> Result<Read, Broken> {
    Ok(store.read(&TOPIC, ReadFrom::After(position), ALL).await?)
}

/// Reads a page that has to be there, and checks what holds for every page.
pub(super) async fn page(
    store: &impl EventStore,
    topic: &TopicName,
    from: ReadFrom,
    max_bytes: NonZeroUsize,
) -> Result<Page, Broken> {
    let page = match store.read(topic, from, max_bytes).await? {
        Read::Page(page) => page,
        other => return Err(Broken(format!("{from:?} is answered {other:?}"))),
    };
    whole(&page, max_bytes)?;
    Ok(page)
}

/// Checks what holds for every page.
pub(super) fn whole(page: &Page, max_bytes: NonZeroUsize) -> Result<(), Broken> {
    let mut before = page.start.offset();
    for record in &page.records {
        ensure_eq!(record.previous_offset(), before, "a page has a hole");
        ensure!(record.offset() > before, "offsets do not grow: {page:?}");
        before = record.offset();
    }
    ensure_eq!(page.start.epoch(), page.head.epoch(), "a page of two lives");
    ensure!(
        before <= page.head.offset(),
        "a page beyond its head: {page:?}"
    );
    ensure!(
        !page.records.is_empty() || page.start == page.head,
        "an empty page before the head: {page:?}"
    );
    let bytes: usize = page.records.iter().map(super::super::Record::size).sum();
    ensure!(
        bytes <= max_bytes.get() || page.records.len() == 1,
        "{bytes} bytes in a page of {max_bytes}"
    );
    Ok(())
}

/// Reads page after page up to the head; an empty last page is not needed to find it.
pub(super) async fn read_on(
    store: &impl EventStore,
    topic: &TopicName,
    from: ReadFrom,
    max_bytes: NonZeroUsize,
) -> Result<Vec<Page>, Broken> {
    let mut pages = vec![page(store, topic, from, max_bytes).await?];
    loop {
        let last = &pages[pages.len() - 1];
        let (end, head) = (last.end(), last.head);
        if end == head {
            return Ok(pages);
        }
        let next = page(store, topic, ReadFrom::After(end), max_bytes).await?;
        ensure_eq!(next.start, end, "a page does not begin where it should");
        ensure!(
            next.end().offset() > end.offset(),
            "nothing follows {end}, though {head} is the head"
        );
        pages.push(next);
    }
}

/// The data of the events behind a place, over as many pages as it takes.
pub(super) async fn texts(
    store: &impl EventStore,
    topic: &TopicName,
    from: ReadFrom,
) -> Result<Vec<String>, Broken> {
    let pages = read_on(store, topic, from, ALL).await?;
    let records = pages.iter().flat_map(|page| &page.records);
    Ok(records
        .map(|record| record.content().data().to_string())
        .collect())
}

pub(super) fn numbers(range: impl IntoIterator<Item = u64>) -> Vec<String> {
    range.into_iter().map(|number| number.to_string()).collect()
}

pub(super) fn evicted(read: Read) -> Result<Evicted, Broken> {
    match read {
        Read::Evicted(evicted) => Ok(evicted),
        other => Err(Broken(format!(
            "evicted events lie behind the position, and the answer is {other:?}"
        ))),
    }
}

/// Whether the answer tells that the position is none of this log.
pub(super) fn is_told(read: &Read) -> bool {
    matches!(read, Read::UnknownEpoch(_) | Read::Ahead(_))
}

/// Tries again until `attempt` returns something.
pub(super) async fn in_time<T>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<Option<T>, Broken>,
) -> Result<T, Broken> {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt().await? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
