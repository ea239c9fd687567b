//! Publish and subscribe over a store.

mod publish;
mod topic;

use std::{fmt, num::NonZeroUsize, time::Duration};

use crate::{
    last_event_id::LastEventId,
    store::{EventStore, MemoryStore},
    subscription::{Feeds, IntoTopicName, InvalidTopics, SlowClient, Subscription, Topics},
    sync::Arc,
    topic_name::{InvalidTopicName, TopicName},
};

pub use publish::{PublishError, PublishErrorKind};
pub use topic::Topic;

/// Topics to publish to and to subscribe to, over an [`EventStore`].
///
/// A clone is the same hub. Make it once, outside of any closure that a server runs for each of its
/// workers. The store is chosen at run time and leaves no type parameter behind:
///
/// ```
/// use serde::Serialize;
/// use tower_sse::{Hub, LastEventId};
///
/// #[derive(Serialize)]
/// #[serde(rename_all = "camelCase")]
/// enum Update {
///     Alert { level: u8, text: String },
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = Hub::new();
/// let subscription = hub.subscribe("alerts", LastEventId::Absent);
/// let update = Update::Alert { level: 3, text: "disk is full".into() };
/// let id = hub.topic::<Update>("alerts")?.publish(&update).await?;
///
/// let mut events = subscription.events();
/// let event = futures_util::StreamExt::next(&mut events).await.expect("the stream goes on");
/// assert_eq!(event.event_type(), "alert");
/// assert_eq!(event.data(), r#"{"level":3,"text":"disk is full"}"#);
/// assert_eq!(event.last_event_id(), Some(id.as_str()));
/// # Ok(())
/// # }
/// ```
///
/// While the store does not answer, streams stay open and try again with growing pauses.
///
/// One task per hub reads what others are to be sent, on the runtime of whoever polls a subscription
/// first; if that runtime ends, on another's. It ends with the hub and its subscriptions.
#[derive(Clone)]
pub struct Hub {
    feeds: Arc<Feeds>,
}

impl Hub {
    /// Makes a hub over a [`MemoryStore`] with its default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_store(MemoryStore::new())
    }

    /// Makes a hub over `store`.
    #[must_use]
    pub fn with_store(store: impl EventStore) -> Self {
        Self {
            feeds: Feeds::new(Arc::new(store)),
        }
    }

    /// Sets for how long the store may fail to answer until a stream that waits for it ends, with an
    /// `sse.bye` that makes its client come back; 30 s by default. It holds for all clones.
    #[must_use]
    pub fn unavailable_after(self, after: Duration) -> Self {
        self.feeds.set_unavailable_after(after);
        self
    }

    /// Sets how many of the newest events of a followed topic are kept encoded for its live clients;
    /// 1,024 by default, and never more than 256 KiB. A client that is further behind reads from the
    /// store. It holds for all clones, for topics that nobody follows yet.
    #[must_use]
    pub fn window(self, events: NonZeroUsize) -> Self {
        self.feeds.set_window_events(events);
        self
    }

    /// Sets for how long events of a topic may wait, so that what comes meanwhile is sent with them in
    /// one piece; zero, which is not at all, by default.
    ///
    /// The first event after a silence goes at once. Then, while there are more, they go once in so
    /// long, which saves most of the CPU of a topic with hundreds of events a second and many clients,
    /// and is what it adds to their latency at most.
    ///
    /// `window` is called when the first client of a topic comes. It holds for all clones, and for what
    /// is sent by this process; clients that catch up get their history at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_sse::Hub;
    ///
    /// let hub = Hub::new().flush_window(|topic| match topic.as_str() {
    ///     "prices" => Duration::from_millis(10),
    ///     _ => Duration::ZERO,
    /// });
    /// ```
    #[must_use]
    pub fn flush_window(
        self,
        window: impl Fn(&TopicName) -> Duration + Send + Sync + 'static,
    ) -> Self {
        self.feeds.set_flush_window(window);
        self
    }

    /// Sets what becomes of live clients of a topic that read too slowly; by default they
    /// [catch up](SlowClient::CatchUp).
    ///
    /// `slow_client` is called when the first client of a topic comes. It holds for all clones.
    ///
    /// ```
    /// use tower_sse::{Hub, SlowClient};
    ///
    /// let hub = Hub::new().slow_clients(|topic| match topic.as_str() {
    ///     "prices" => SlowClient::SkipToNewest,
    ///     _ => SlowClient::CatchUp,
    /// });
    /// ```
    #[must_use]
    pub fn slow_clients(
        self,
        slow_client: impl Fn(&TopicName) -> SlowClient + Send + Sync + 'static,
    ) -> Self {
        self.feeds.set_slow_clients(slow_client);
        self
    }

    /// Sets how much clients that catch up may read from the store at once, all together: so many reads
    /// under way, and so many bytes read and not yet written by the server; 16 and 32 MiB by default.
    ///
    /// The others wait their turn, first come, first served, and hold nothing meanwhile. Clients that
    /// are live never wait for those that catch up. A read is a page of 64 KiB, or one event where that
    /// is larger, and counts twice that while it is under way.
    ///
    /// What its client has not taken within a second does not count any more, so that a client that
    /// takes nothing holds up no others. Where that happens to many at once, each client reads its next
    /// page when the server has written the last: beside the budget there is a page for each client, of
    /// each of its topics. Only what keeps a page for 30 seconds may have more, up to what its server
    /// holds for a connection (hyper about 450 KiB, over HTTP/1). It holds for all clones, for reads that
    /// begin from now on.
    #[must_use]
    pub fn replay_budget(self, reads: NonZeroUsize, bytes: NonZeroUsize) -> Self {
        self.feeds.set_replay_budget(reads, bytes);
        self
    }

    /// Returns the topic of this name, for events made of `T`.
    ///
    /// # Errors
    ///
    /// When `name` is no [`TopicName`].
    pub fn topic<T: ?Sized>(&self, name: impl AsRef<str>) -> Result<Topic<T>, InvalidTopicName> {
        let name = TopicName::new(name)?;
        Ok(Topic::new(Arc::clone(&self.feeds), name))
    }

    /// Follows a topic from where the client was.
    ///
    /// `last` is what the client sent ([`LastEventId`] is an extractor in axum and actix-web); where it
    /// is absent, the [start](Subscription::start) counts, which is live. Does no I/O and cannot fail.
    /// The topic need not have any events yet.
    ///
    /// # Panics
    ///
    /// When `topic` is a literal that is no [`TopicName`]. Names that a client chose are made with
    /// [`TopicName::new`].
    #[track_caller]
    pub fn subscribe(&self, topic: impl IntoTopicName, last: LastEventId) -> Subscription {
        let topics = Topics::one(topic.into_topic_name(), &self.feeds);
        Subscription::new(Arc::clone(&self.feeds), topics, last)
    }

    /// Follows several topics at once, from where the client was in each.
    ///
    /// Their order, and whether one is there twice, does not matter, nor whether `last` is of the same
    /// list ([several topics](Subscription#several-topics)). Does no I/O.
    ///
    /// ```
    /// use tower_sse::{Hub, InvalidTopics, LastEventId, Subscription, TopicName};
    ///
    /// /// `GET /stream?topic=orders&topic=stock`
    /// fn stream(hub: &Hub, names: Vec<TopicName>, last: LastEventId) -> Result<Subscription, InvalidTopics> {
    ///     hub.subscribe_many(names, last)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no topic, or more than [64](Subscription::MAX_TOPICS).
    ///
    /// # Panics
    ///
    /// When a topic is a literal that is no [`TopicName`].
    #[track_caller]
    pub fn subscribe_many(
        &self,
        topics: impl IntoIterator<Item = impl IntoTopicName>,
        last: LastEventId,
    ) -> Result<Subscription, InvalidTopics> {
        let topics = topics.into_iter().map(|topic| topic.into_topic_name());
        let topics = Topics::several(topics, &self.feeds)?;
        Ok(Subscription::new(Arc::clone(&self.feeds), topics, last))
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("feeds", &self.feeds)
            .finish_non_exhaustive()
    }
}
