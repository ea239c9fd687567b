//! Following a topic.

mod feed;
mod feeds;
mod follow;
mod frame;
#[cfg(all(test, shuttle))]
mod interleavings;
mod reader;
mod window;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;

use crate::{
    event::{ByeReason, Event, EventId, bye, gap, open},
    last_event_id::LastEventId,
    store::Position,
    sync::Arc,
    topic_name::TopicName,
};
pub(crate) use feeds::Feeds;
use follow::{Begin, Follower, Resume, Step};

/// After this many events in a row that the filter has kept from a client, it is told its position.
const MAX_SKIPPED: usize = window::MAX_EVENTS.get() / 2;

/// Where a subscription begins for a client that has no last event id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what is appended from now on: after the first event that the stream produces (`sse.open`,
    /// if nothing else), and on a [`MemoryStore`](crate::store::MemoryStore) after the subscription
    /// was made.
    #[default]
    Live,
    /// With this many of the newest events, then live.
    Newest(u64),
    /// With all that is retained, then live.
    All,
    /// After the event that has this id, then live.
    After(EventId),
}

/// The events of a topic for one client: what it missed, then live.
///
/// After a usable `Last-Event-ID` that is every retained event behind it, once and in order. Where
/// that cannot be, the first event is an `sse.gap` that says why, and the stream goes on behind the
/// gap. A client that reads slowly costs nobody else anything: a subscription is a place in the log,
/// not a queue.
///
/// Made by [`Hub::subscribe`](crate::Hub::subscribe); given to [`Sse::new`](crate::Sse::new), which
/// sends the encoded events that all clients share, or read as a [stream of events](Self::events).
/// Nothing is read before it is polled, and dropping it at any time loses nothing: the ids say where
/// the client was.
///
/// # Panics
///
/// Polling it outside of a Tokio runtime panics, as Tokio's own types do.
#[must_use]
pub struct Subscription {
    feeds: Arc<Feeds>,
    topic: TopicName,
    last: LastEventId,
    start: Start,
    /// The head when the subscription was made, where the store knows it without waiting.
    head: Option<Position>,
    priming: bool,
    filter: Option<Filter>,
    skipped: usize,
    follower: Option<Follower>,
}

type Filter = Box<dyn FnMut(Event) -> Option<Event> + Send>;

impl Subscription {
    pub(crate) fn new(feeds: Arc<Feeds>, topic: TopicName, last: LastEventId) -> Self {
        Self {
            head: feeds.store.head_now(&topic),
            feeds,
            topic,
            last,
            start: Start::Live,
            priming: true,
            filter: None,
            skipped: 0,
            follower: None,
        }
    }

    /// Sets where a client begins that has no usable last event id.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Keeps events from this client for which `keep` is false.
    ///
    /// They still move the client's position: after a good many in a row it is sent an `sse.open`
    /// with the new one, so that it does not read them all again when it comes back.
    pub fn filter(self, mut keep: impl FnMut(&Event) -> bool + Send + 'static) -> Self {
        self.filter_map(move |event| keep(&event).then_some(event))
    }

    /// Changes events for this client, or keeps them from it. The id of an event stays what it was.
    pub fn filter_map(
        mut self,
        mut map: impl FnMut(Event) -> Option<Event> + Send + 'static,
    ) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(mut first) => Box::new(move |event| first(event).and_then(&mut map)),
            None => Box::new(map),
        });
        self
    }

    /// Sends no `sse.open` to a client that begins where there is nothing to send yet.
    ///
    /// If it loses its connection before the first event, it begins anew instead of resuming.
    pub fn without_priming(mut self) -> Self {
        self.priming = false;
        self
    }

    /// The events one by one, for reading them in this process; `sse.open`, `sse.gap` and `sse.bye`
    /// among them.
    ///
    /// Cancel safe: an event is either returned or still to come.
    pub fn events(self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        Events {
            subscription: self,
            ready: VecDeque::new(),
        }
    }

    /// Returns the next blocks, as many as fit into one piece.
    pub(crate) fn poll_blocks(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let joined = self.filter.is_none();
        loop {
            let Some(step) = ready!(self.follower().poll_step(cx, joined)) else {
                return Poll::Ready(None);
            };
            let blocks = match step {
                Step::Joined(blocks) => blocks,
                step => {
                    let mut blocks = Vec::new();
                    self.on_step(step, |event| event.block().write(&mut blocks));
                    blocks.into()
                }
            };
            if !blocks.is_empty() {
                return Poll::Ready(Some(blocks));
            }
        }
    }

    fn follower(&mut self) -> &mut Follower {
        let (start, last, head, priming) = (&self.start, &self.last, self.head, self.priming);
        self.follower.get_or_insert_with(|| {
            let begin = match start {
                Start::Live | Start::After(_) => Begin::Live(head),
                Start::Newest(events) => Begin::Newest(*events),
                Start::All => Begin::Oldest,
            };
            let resume = match (last, start) {
                (LastEventId::Id(id), _) => resume(id),
                (LastEventId::Unusable, _) => Resume::Unusable,
                (LastEventId::Absent, Start::After(id)) => resume(id.as_str()),
                (LastEventId::Absent, _) => Resume::Nothing,
            };
            let mut follower =
                Follower::new(Arc::clone(&self.feeds), self.topic.clone(), resume, begin);
            if !priming {
                follower.without_priming();
            }
            follower
        })
    }

    /// Hands on the events of a step, filtered.
    fn on_step(&mut self, step: Step, mut take: impl FnMut(Event)) {
        let control = |event: Event, at: Option<Position>| {
            let event = event.of_topic(self.topic.clone());
            match at {
                Some(at) => event.id_text(at.to_string().into()),
                None => event,
            }
        };
        match step {
            Step::Joined(_) => debug_assert!(false, "blocks are not asked for here"),
            Step::Open(at) => take(control(open(), Some(at))),
            Step::Gap(missing, at) => take(control(gap(missing), Some(at))),
            Step::Unavailable(at) => take(control(bye(ByeReason::Unavailable), at)),
            Step::Events(events, at) => {
                for event in events {
                    match filtered(&mut self.filter, event) {
                        Some(event) => {
                            self.skipped = 0;
                            take(event);
                        }
                        None => self.skipped += 1,
                    }
                }
                if self.skipped >= MAX_SKIPPED {
                    self.skipped = 0;
                    take(control(open(), Some(at)));
                }
            }
        }
    }
}

fn resume(id: &str) -> Resume {
    id.parse().map_or(Resume::Unusable, Resume::After)
}

fn filtered(filter: &mut Option<Filter>, event: Event) -> Option<Event> {
    let Some(filter) = filter else {
        return Some(event);
    };
    let original = event.clone();
    filter(event).map(|event| event.at_place_of(&original))
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.topic)
            .field("follower", &self.follower)
            .finish_non_exhaustive()
    }
}

struct Events {
    subscription: Subscription,
    ready: VecDeque<Event>,
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let Self {
            subscription,
            ready,
        } = self.get_mut();
        loop {
            if let Some(event) = ready.pop_front() {
                return Poll::Ready(Some(event));
            }
            match ready!(subscription.follower().poll_step(cx, false)) {
                Some(step) => subscription.on_step(step, |event| ready.push_back(event)),
                None => return Poll::Ready(None),
            }
        }
    }
}
