//! The one reader of a hub: from the store into the windows.

use std::{future::pending, num::NonZeroUsize, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, Semaphore},
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

use super::{
    feed::Feed,
    feeds::{Feeds, SHARDS},
};
use crate::{
    store::{DynStore, Read, ReadFrom, StoreError, StoreErrorKind},
    sync::{Arc, Weak},
};

/// How much is read from the store at once.
pub(crate) const PAGE_BYTES: NonZeroUsize = NonZeroUsize::new(64 * 1024).expect("not zero");

/// After this long without an answer a read counts as failed.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How often heads are compared, in case a wake-up was lost.
const SLOW_ROUND: Duration = Duration::from_secs(10);

/// How many topics are compared at once.
const MAX_HEADS: usize = 2048;

/// How many reads of different topics are under way at once.
const MAX_READS: usize = 16;

/// For how long something may be held from followers until those who were woken before are polled.
const MAX_ROUND: Duration = Duration::from_millis(50);

/// The longest pause between attempts.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The pauses between attempts while the store does not answer.
pub(crate) fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(MAX_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Reads topics that were appended to until the hub is gone.
///
/// Owned by [`Feeds`], which aborts it when it is dropped. It holds no strong reference to them or
/// to a feed while it waits, so that it keeps neither alive.
pub(super) async fn run(
    feeds: Weak<Feeds>,
    store: Arc<dyn DynStore>,
    queued: std::sync::Arc<Notify>,
) {
    let permits = Semaphore::new(MAX_READS);
    let mut reads = FuturesUnordered::new();
    let mut held = FuturesUnordered::new();
    let watch = watch(&feeds, &*store);
    let rounds = rounds(&feeds, &*store);
    tokio::pin!(watch, rounds);
    while let Some(strong) = feeds.upgrade() {
        while let Some(feed) = strong.pop_queue() {
            reads.push(read(
                feeds.clone(),
                Arc::downgrade(&feed),
                &*store,
                &permits,
            ));
        }
        drop(strong);
        tokio::select! {
            () = queued.notified() => {}
            Some(read) = reads.next() => {
                held.extend(read.map(|(feed, waking)| release(feed, waking)));
            }
            Some(()) = held.next() => {}
            () = &mut watch => {}
            () = &mut rounds => {}
        }
    }
}

/// Listens to the store, again and again.
async fn watch(feeds: &Weak<Feeds>, store: &dyn DynStore) {
    let mut outage = Outage::new();
    loop {
        let Some(wakes) = feeds.upgrade().map(|feeds| feeds.wakes()) else {
            return pending().await;
        };
        let begun = Instant::now();
        let error = store.watch(wakes).await;
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "listening to the store has ended"
        );
        if begun.elapsed() > SLOW_ROUND {
            outage = Outage::new();
        }
        sleep(outage.pause()).await;
    }
}

/// Compares heads every so often, and has those topics read whose head is not the tail.
///
/// It also finds out when the store does not answer at all while nothing is appended.
async fn rounds(feeds: &Weak<Feeds>, store: &dyn DynStore) {
    let mut ticks = interval(SLOW_ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut outage: Option<Outage> = None;
    loop {
        match &mut outage {
            None => drop(ticks.tick().await),
            Some(outage) => sleep(outage.pause()).await,
        }
        let round = round(feeds, store).await;
        let Some(feeds) = feeds.upgrade() else { return };
        match round {
            Ok(()) => {
                if outage.take().is_some() {
                    feeds.all().iter().for_each(|feed| feed.recover());
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "heads could not be read"
                );
                if outage
                    .get_or_insert_with(Outage::new)
                    .is_over(feeds.unavailable_after())
                {
                    feeds.all().iter().for_each(|feed| feed.give_up());
                }
            }
        }
    }
}

/// Goes through all topics, so many at a time that neither this task nor the store is held up.
async fn round(feeds: &Weak<Feeds>, store: &dyn DynStore) -> Result<(), StoreError> {
    let mut followed = Vec::new();
    for shard in 0..SHARDS {
        let Some(feeds) = feeds.upgrade() else {
            return Ok(());
        };
        followed.extend(feeds.some(shard).iter().map(Arc::downgrade));
        drop(feeds);
        yield_now().await;
    }
    for some in followed.chunks(MAX_HEADS) {
        compare(some, store).await?;
        yield_now().await;
    }
    Ok(())
}

/// Has those of the topics read whose head is not the tail.
async fn compare(feeds: &[Weak<Feed>], store: &dyn DynStore) -> Result<(), StoreError> {
    let read = feeds.iter().filter_map(|feed| {
        let strong = feed.upgrade()?;
        Some(((feed, strong.tail()?), strong.topic.clone()))
    });
    let (feeds, topics): (Vec<_>, Vec<_>) = read.unzip();
    if topics.is_empty() {
        return Ok(());
    }
    let heads = in_time(store.heads(&topics)).await?;
    for ((feed, tail), head) in feeds.into_iter().zip(heads) {
        if tail != head
            && let Some(feed) = feed.upgrade()
        {
            feed.feeds.read_soon(&feed);
        }
    }
    Ok(())
}

/// A time in which the store does not answer.
#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    pauses: ExponentialBackoff,
}

impl Outage {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            pauses: pauses(),
        }
    }

    /// Whether it is time to give up.
    pub(super) fn is_over(&self, limit: Duration) -> bool {
        self.since.elapsed() >= limit
    }

    /// The pause until the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(MAX_PAUSE)
    }
}

pub(crate) async fn in_time<T>(
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |late| Err(StoreError::new(StoreErrorKind::Unavailable, late));
    timeout(READ_TIMEOUT, answer).await.unwrap_or_else(late)
}

/// Reads one topic up to its head, however often that takes. Returns the topic, and since which waking
/// what was read is held.
async fn read(
    feeds: Weak<Feeds>,
    feed: Weak<Feed>,
    store: &dyn DynStore,
    permits: &Semaphore,
) -> Option<(Weak<Feed>, u32)> {
    let mut outage: Option<Outage> = None;
    if let Some(until) = feed.upgrade().and_then(|feed| feed.waits_until()) {
        sleep_until(until).await;
        if let Some(feed) = feed.upgrade() {
            // Wake-ups that came meanwhile are for what is read now.
            feed.begin_read();
        }
    }
    loop {
        let permit = permits.acquire().await;
        let step = in_time(read_page(&feed, store)).await;
        drop(permit);
        if let Ok(Progress::Done) = step {
            break;
        }
        if let Some(feed) = feed.upgrade()
            && let Some(waking) = feed.watch_held()
        {
            // What comes next may take as long as the store likes.
            feed.release(waking);
        }
        let Err(error) = step else {
            outage = None;
            continue;
        };
        let (feeds, feed) = (feeds.upgrade()?, feed.upgrade()?);
        tracing::warn!(
            topic = feed.topic.as_str(),
            error = &error as &dyn std::error::Error,
            "topic could not be read",
        );
        let outage = outage.get_or_insert_with(Outage::new);
        if outage.is_over(feeds.unavailable_after()) {
            feed.give_up();
        }
        drop((feeds, feed));
        sleep(outage.pause()).await;
    }
    let (feeds, read) = (feeds.upgrade()?, feed.upgrade()?);
    if read.end_read() {
        feeds.push_queue(&read);
    }
    Some((feed, read.watch_held()?))
}

/// Tells followers of what is held, where those who were woken before are not polled.
async fn release(feed: Weak<Feed>, waking: u32) {
    sleep(MAX_ROUND).await;
    if let Some(feed) = feed.upgrade() {
        feed.release(waking);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Done,
}

/// Reads what follows the tail of the feed's window into it, as much as one page has.
///
/// The window stays a contiguous run of the log: the page begins at its tail, and any other answer
/// makes it begin anew.
pub(super) async fn read_page(
    feed: &Weak<Feed>,
    store: &dyn DynStore,
) -> Result<Progress, StoreError> {
    let Some((topic, tail)) = feed.upgrade().map(|feed| (feed.topic.clone(), feed.tail())) else {
        return Ok(Progress::Done);
    };
    let Some(tail) = tail else {
        let heads = store.heads(std::slice::from_ref(&topic)).await?;
        let head = heads.first().copied().ok_or(StoreErrorKind::Damaged)?;
        if let Some(feed) = feed.upgrade() {
            feed.reset(head);
        }
        return Ok(Progress::More);
    };
    let read = store
        .read(&topic, ReadFrom::After(tail), PAGE_BYTES)
        .await?;
    let Some(feed) = feed.upgrade() else {
        return Ok(Progress::Done);
    };
    Ok(match read {
        Read::Page(page) if page.records.is_empty() => {
            feed.recover();
            Progress::Done
        }
        Read::Page(page) => {
            feed.push(&page);
            if page.end() == page.head {
                Progress::Done
            } else {
                Progress::More
            }
        }
        Read::Evicted(evicted) => {
            feed.reset(evicted.oldest);
            Progress::More
        }
        Read::UnknownEpoch(head) | Read::Ahead(head) => {
            feed.reset(head);
            Progress::Done
        }
    })
}
