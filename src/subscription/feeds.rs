//! All topics of a hub that somebody follows, and what their one reader has to do.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify, task::AbortHandle};

use super::{budget::Budget, feed::Feed, reader, slow::SlowClient, window::MAX_EVENTS};
use crate::{
    store::{DynStore, Page, Wakes},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
        lock,
    },
    topic_name::TopicName,
};

/// In how many parts the feeds are locked, so that going through all of them holds up nobody who
/// publishes.
pub(super) const SHARDS: usize = 64;

/// What those who catch up may read at once, unless the application says otherwise.
const REPLAY_READS: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
const REPLAY_BYTES: NonZeroUsize = NonZeroUsize::new(32 * 1024 * 1024).expect("not zero");

type Shard = Mutex<HashMap<TopicName, Weak<Feed>>>;

/// The feeds of one hub, its store, and the reader that fills them.
pub(crate) struct Feeds {
    pub(crate) store: Arc<dyn DynStore>,
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// Topics to read, each at most once, so that it is no longer than there are feeds.
    queue: Mutex<VecDeque<Weak<Feed>>>,
    queued: std::sync::Arc<Notify>,
    reader_runs: AtomicBool,
    reader: Mutex<Option<AbortHandle>>,
    settings: Mutex<Settings>,
}

struct Settings {
    budget: Arc<Budget>,
    unavailable_after: Duration,
    window_events: NonZeroUsize,
    flush_window: Option<OfTopic<Duration>>,
    slow_client: Option<OfTopic<SlowClient>>,
}

/// A setting that the application makes for each topic.
type OfTopic<T> = std::sync::Arc<dyn Fn(&TopicName) -> T + Send + Sync>;

impl Feeds {
    pub(crate) fn new(store: Arc<dyn DynStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            queue: Mutex::default(),
            queued: std::sync::Arc::default(),
            reader_runs: AtomicBool::new(false),
            reader: Mutex::default(),
            settings: Mutex::new(Settings {
                budget: Budget::new(REPLAY_READS, REPLAY_BYTES),
                unavailable_after: Duration::from_secs(30),
                window_events: MAX_EVENTS,
                flush_window: None,
                slow_client: None,
            }),
        })
    }

    pub(crate) fn set_unavailable_after(&self, after: Duration) {
        lock(&self.settings).unavailable_after = after;
    }

    pub(crate) fn set_window_events(&self, events: NonZeroUsize) {
        lock(&self.settings).window_events = events;
    }

    pub(crate) fn set_flush_window(
        &self,
        window: impl Fn(&TopicName) -> Duration + Send + Sync + 'static,
    ) {
        lock(&self.settings).flush_window = Some(std::sync::Arc::new(window));
    }

    pub(crate) fn set_slow_clients(
        &self,
        slow_client: impl Fn(&TopicName) -> SlowClient + Send + Sync + 'static,
    ) {
        lock(&self.settings).slow_client = Some(std::sync::Arc::new(slow_client));
    }

    pub(crate) fn set_replay_budget(&self, reads: NonZeroUsize, bytes: NonZeroUsize) {
        lock(&self.settings).budget = Budget::new(reads, bytes);
    }

    pub(super) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&lock(&self.settings).budget)
    }

    pub(super) fn unavailable_after(&self) -> Duration {
        lock(&self.settings).unavailable_after
    }

    pub(super) fn window_events(&self) -> NonZeroUsize {
        lock(&self.settings).window_events
    }

    /// For how long events of `topic` may wait to be sent together.
    pub(super) fn flush_window(&self, topic: &TopicName) -> Duration {
        let window = lock(&self.settings).flush_window.clone();
        window.map_or(Duration::ZERO, |window| window(topic))
    }

    /// What becomes of live clients of `topic` that fall behind.
    pub(super) fn slow_client(&self, topic: &TopicName) -> SlowClient {
        let slow_client = lock(&self.settings).slow_client.clone();
        slow_client.map_or(SlowClient::default(), |of| of(topic))
    }

    fn shard(&self, topic: &TopicName) -> &Shard {
        let hash = self.hasher.hash_one(topic) % SHARDS as u64;
        let number = usize::try_from(hash).expect("less than the number of shards");
        &self.shards[number]
    }

    /// Returns the feed of `topic`, new and queued if nobody follows it yet.
    pub(super) fn feed(self: &Arc<Self>, topic: &TopicName) -> Arc<Feed> {
        let known = |shard: &HashMap<_, Weak<Feed>>| shard.get(topic).and_then(Weak::upgrade);
        if let Some(feed) = known(&lock(self.shard(topic))) {
            return feed;
        }
        // Made without the lock, since it asks the application for its settings.
        let new = Arc::new(Feed::new(topic.clone(), self));
        let mut shard = lock(self.shard(topic));
        if let Some(feed) = known(&shard) {
            // Of two that were made at once, one goes; dropping it takes the lock.
            drop(shard);
            return feed;
        }
        shard.insert(topic.clone(), Arc::downgrade(&new));
        drop(shard);
        self.read_soon(&new);
        new
    }

    /// Removes the entry of a feed that is gone, unless there is another one already.
    pub(super) fn forget(&self, topic: &TopicName) {
        let mut shard = lock(self.shard(topic));
        if shard
            .get(topic)
            .is_some_and(|feed| feed.strong_count() == 0)
        {
            shard.remove(topic);
        }
    }

    /// The feeds of one shard.
    pub(super) fn some(&self, shard: usize) -> Vec<Arc<Feed>> {
        let feeds = lock(&self.shards[shard]);
        feeds.values().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Feed>> {
        (0..SHARDS).flat_map(|shard| self.some(shard)).collect()
    }

    /// Tells the reader that something may have been appended to `topic`.
    pub(crate) fn wake(&self, topic: &TopicName) {
        let feed = lock(self.shard(topic)).get(topic).and_then(Weak::upgrade);
        if let Some(feed) = feed {
            self.read_soon(&feed);
        }
    }

    /// Shows those who follow `topic` what this process has appended to it, which is in the store by now,
    /// so that they need not wait until it is read there.
    pub(crate) fn show(&self, topic: &TopicName, page: &Page) {
        let feed = lock(self.shard(topic)).get(topic).and_then(Weak::upgrade);
        if let Some(feed) = feed {
            feed.push(page);
            self.read_soon(&feed);
        }
    }

    fn wake_all(&self) {
        for feed in self.all() {
            self.read_soon(&feed);
        }
    }

    pub(super) fn read_soon(&self, feed: &Arc<Feed>) {
        if feed.note_append() {
            self.push_queue(feed);
        }
    }

    pub(super) fn push_queue(&self, feed: &Arc<Feed>) {
        lock(&self.queue).push_back(Arc::downgrade(feed));
        self.queued.notify_one();
    }

    /// Takes the next topic to read.
    pub(super) fn pop_queue(&self) -> Option<Arc<Feed>> {
        loop {
            // Dropping the last reference to a feed must not happen under a lock.
            let next = lock(&self.queue).pop_front()?;
            if let Some(feed) = next.upgrade() {
                feed.begin_read();
                return Some(feed);
            }
        }
    }

    pub(super) fn wakes(self: &Arc<Self>) -> Wakes {
        let feeds = Arc::downgrade(self);
        Wakes::new(move |topic| {
            let Some(feeds) = feeds.upgrade() else { return };
            match topic {
                Some(topic) => feeds.wake(topic),
                None => feeds.wake_all(),
            }
        })
    }

    /// Starts the reader on the runtime of the caller, unless it runs.
    ///
    /// A reader ends with its runtime. Its [`Stopped`] then wakes all followers, and the first that is
    /// polled on a runtime that lives comes here again.
    pub(super) fn ensure_reader(self: &Arc<Self>) {
        if cfg!(shuttle) || self.reader_runs.load(Ordering::Acquire) {
            return;
        }
        let runtime = Handle::current();
        let mut reader = lock(&self.reader);
        if self.reader_runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let stopped = Stopped(Arc::downgrade(self));
        let (store, queued) = (Arc::clone(&self.store), std::sync::Arc::clone(&self.queued));
        let run = reader::run(Arc::downgrade(self), store, queued);
        let task = runtime.spawn(async move {
            let _stopped = stopped;
            run.await;
        });
        *reader = Some(task.abort_handle());
    }
}

/// Notes that the reader has ended.
struct Stopped(Weak<Feeds>);

impl Drop for Stopped {
    fn drop(&mut self) {
        let Some(feeds) = self.0.upgrade() else {
            return;
        };
        let all = feeds.all();
        lock(&feeds.queue).clear();
        for feed in &all {
            // Its read, if there was one, went with the reader.
            feed.requeue();
            feeds.push_queue(feed);
        }
        feeds.reader_runs.store(false, Ordering::Release);
        all.iter().for_each(|feed| feed.stir());
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        if let Some(reader) = lock(&self.reader).take() {
            reader.abort();
        }
    }
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds")
            .field("replays", &self.budget())
            .finish_non_exhaustive()
    }
}
