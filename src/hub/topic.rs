//! The typed handle for publishing.

use std::{fmt, marker::PhantomData};

use super::{PublishError, PublishErrorKind};
use crate::{
    event::{EventId, IntoEvent},
    last_event_id::LastEventId,
    store::{Append, Appended, NewRecord},
    subscription::{Feeds, Subscription, Topics},
    sync::Arc,
    topic_name::TopicName,
};

/// The largest event that can be published, in bytes of name and data.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A topic of a [`Hub`](crate::Hub), for events made of `T`.
///
/// `T` is any `Serialize` type, or [`Event`](crate::Event) for events made by hand, of which the name
/// and the data are kept. Following a topic needs no type; [`Event::decode`](crate::Event::decode)
/// reads a `T` back.
pub struct Topic<T: ?Sized> {
    feeds: Arc<Feeds>,
    name: TopicName,
    value: PhantomData<fn(&T)>,
}

impl<T: ?Sized> Topic<T> {
    pub(super) fn new(feeds: Arc<Feeds>, name: TopicName) -> Self {
        Self {
            feeds,
            name,
            value: PhantomData,
        }
    }

    /// The name of the topic.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Follows the topic, as [`Hub::subscribe`](crate::Hub::subscribe) does.
    pub fn subscribe(&self, last: LastEventId) -> Subscription {
        let topics = Topics::one(self.name.clone(), &self.feeds);
        Subscription::new(Arc::clone(&self.feeds), topics, last)
    }
}

impl<T: IntoEvent + ?Sized> Topic<T> {
    /// Appends an event to the topic and returns the id that it was stored under.
    ///
    /// When this returns, the event is as durable as the store promises, and every subscription gets
    /// it. Events of one task that awaits each publish keep their order; of events published
    /// concurrently, all readers see the same order. `value` is encoded before the first await, once
    /// for all clients.
    ///
    /// Not cancel safe: if the future is dropped early, the event may or may not be stored.
    ///
    /// # Errors
    ///
    /// When the event cannot be encoded or is larger than 1 MiB, or the store fails; the
    /// [kind](PublishError::kind) tells whether it may be stored nevertheless.
    pub fn publish(
        &self,
        value: &T,
    ) -> impl Future<Output = Result<EventId, PublishError>> + Send + use<T> {
        let encoded = encode(value).map(|record| Append::new([record]));
        let (feeds, name) = (Arc::clone(&self.feeds), self.name.clone());
        async move { append(&feeds, &name, encoded?).await }
    }

    /// Appends several events with nothing in between, all or none, and returns the id of the last.
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish), and when there is no event.
    pub fn publish_all<'a>(
        &self,
        values: impl IntoIterator<Item = &'a T>,
    ) -> impl Future<Output = Result<EventId, PublishError>> + Send
    where
        T: 'a,
    {
        let records: Result<Vec<_>, _> = values.into_iter().map(encode).collect();
        let (feeds, name) = (Arc::clone(&self.feeds), self.name.clone());
        async move {
            let records = records?;
            if records.is_empty() {
                return Err(PublishErrorKind::Empty.into());
            }
            append(&feeds, &name, Append::new(records)).await
        }
    }
}

fn encode<T: IntoEvent + ?Sized>(value: &T) -> Result<NewRecord, PublishError> {
    let (name, data) = value.to_parts()?;
    let record = NewRecord::event(name, data);
    match record.size() > MAX_EVENT_BYTES {
        true => Err(PublishErrorKind::TooLarge.into()),
        false => Ok(record),
    }
}

async fn append(feeds: &Feeds, topic: &TopicName, append: Append) -> Result<EventId, PublishError> {
    let appended = feeds.store.append(topic, append).await?;
    // A store may tell its watchers, too, but only this needs no round trip.
    feeds.wake(topic);
    match appended {
        Appended::Stored(position) => Ok(position.into()),
        // No condition was set.
        Appended::Conflict(_) => Err(PublishErrorKind::NotStored.into()),
    }
}

impl<T: ?Sized> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.feeds), self.name.clone())
    }
}

impl<T: ?Sized> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
