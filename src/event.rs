//! One event, validated when it is made, so that it can always be written.

mod control;
mod decode;
mod encode;
mod id;
mod item;
mod name;

use std::{fmt, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, de::DeserializeOwned};
use smol_str::SmolStr;

use crate::{topic_name::TopicName, wire::Block};

pub use control::{EndReason, Gap, GapReason};
pub(crate) use control::{HEARTBEAT, busy, bye, gap, not_resumable, open};
pub use decode::DecodeError;
pub use encode::EncodeError;
use encode::with_json;
pub use id::{EventId, InvalidEventId};
pub use item::IntoEvent;
pub(crate) use item::sealed::Sealed;
pub use name::{EventName, InvalidEventName};

/// One event of a stream.
///
/// An event is valid from the moment it is made: whatever text it carries, a client that follows the
/// standard reads back exactly that, with CRLF and CR read as LF. A clone shares the texts.
///
/// ```
/// use tower_sse::{Event, EventId, EventName};
///
/// let event = Event::new("two\nlines")
///     .name(EventName::from_static("note"))
///     .id(EventId::from_static("7"));
/// assert_eq!(event.encode(), "event: note\ndata: two\ndata: lines\nid: 7\n\n");
/// ```
///
/// # Typed events
///
/// [`Event::json`], [`Sse::new`](crate::Sse::new) and [`Topic::publish`](crate::Topic::publish) take
/// any `Serialize` value. Its JSON is the data, and the variant of an enum becomes the name:
///
/// | serde shape | name | data |
/// |---|---|---|
/// | struct variant `Alert { level }` | variant | `{"level":3}` |
/// | newtype variant `Metrics(m)` | variant | JSON of `m` |
/// | tuple variant `Moved(1, 2)` | variant | `[1,2]` |
/// | unit variant `Done` | variant | `null` |
/// | `Option` or newtype struct around an enum | that of the enum | that of the enum |
/// | enum with `#[serde(tag = "..")]` or `untagged` | `message` | its JSON |
/// | anything else, a `String` too | `message` | its JSON |
///
/// `rename` and `rename_all` apply. A `Result` is refused.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    name: Option<EventName>,
    data: ByteString,
    id: Option<SmolStr>,
    retry: Option<Duration>,
    comment: Option<ByteString>,
    topic: Option<TopicName>,
    gap: Option<Box<Gap>>,
}

impl Event {
    /// Makes an event of the default type `message` that carries `data` as it is.
    #[must_use]
    pub fn new(data: impl Into<ByteString>) -> Self {
        Self {
            name: None,
            data: data.into(),
            id: None,
            retry: None,
            comment: None,
            topic: None,
            gap: None,
        }
    }

    /// Makes an event of any `Serialize` value, named by the variant of an enum
    /// ([shapes](Event#typed-events)).
    ///
    /// # Errors
    ///
    /// When `value` cannot be serialised as JSON, or the name of its variant is no [`EventName`].
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        let (name, data) = Sealed::to_parts(value)?;
        Ok(Self::from_parts(name, data))
    }

    pub(crate) fn from_parts(name: Option<EventName>, data: ByteString) -> Self {
        let event = Self::new(data);
        Self { name, ..event }
    }

    /// Names the event, which a client sees as its type.
    #[must_use]
    pub fn name(mut self, name: EventName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the id, which clients send back as `Last-Event-ID` when they reconnect.
    ///
    /// On a stream that a [`Subscription`](crate::Subscription) makes, ids are those of the log.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id.into_text());
        self
    }

    /// Makes the client forget its last event id.
    #[must_use]
    pub fn reset_id(mut self) -> Self {
        self.id = Some(SmolStr::default());
        self
    }

    pub(crate) fn id_text(mut self, id: SmolStr) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets how long the client waits before it reconnects, in whole milliseconds.
    ///
    /// Less than a millisecond counts as one, since zero makes clients reconnect without a pause;
    /// the most is 24 days.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Adds a comment, which clients ignore. Line breaks in it make several comment lines.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<ByteString>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    pub(crate) fn of_topic(mut self, topic: TopicName) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Gives the event the place in the log that `original` has.
    pub(crate) fn at_place_of(mut self, original: &Self) -> Self {
        self.id.clone_from(&original.id);
        self.topic.clone_from(&original.topic);
        self
    }

    fn of_gap(mut self, gap: Gap) -> Self {
        self.gap = Some(Box::new(gap));
        self
    }

    /// The type of the event as a client sees it: its name, or `message`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.name.as_ref().map_or("message", EventName::as_str)
    }

    /// The data, as it was given.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The id, if it has one; empty where the client is to forget its last event id.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The topic that the event was read from.
    #[must_use]
    pub fn topic(&self) -> Option<&TopicName> {
        self.topic.as_ref()
    }

    /// What is missing before the next event, if this is a gap event.
    #[must_use]
    pub fn gap(&self) -> Option<&Gap> {
        self.gap.as_deref()
    }

    /// Whether the event is one that this crate sends of its own (`sse.open`, `sse.gap`, `sse.bye`,
    /// `sse.heartbeat`).
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.event_type().starts_with(EventName::RESERVED)
    }

    /// Reads the event back as the value that it was made of.
    ///
    /// What serde itself cannot tell apart does not come back: a variant beside another one that is
    /// `untagged`, and a `None` that was given a name.
    ///
    /// # Errors
    ///
    /// When the data is not JSON of a `T`, or no variant of `T` has the name of the event.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode::from_event(self.name.as_ref().map(EventName::as_str), &self.data)
    }

    /// Returns the block of the event as it is sent, ended by its blank line.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let block = self.block();
        let mut out = Vec::with_capacity(block.len_hint());
        block.write(&mut out);
        out.into()
    }

    pub(crate) fn block(&self) -> Block<'_> {
        Block {
            comment: self.comment.as_deref(),
            retry: self.retry,
            name: self.name.as_ref().map(EventName::as_str),
            data: &self.data,
            id: self.id.as_deref(),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("type", &self.event_type())
            .field("data", &self.data)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
