//! Following a topic.

mod budget;
mod events;
mod feed;
mod feeds;
mod follow;
mod frame;
#[cfg(all(test, shuttle))]
mod interleavings;
mod not_before;
mod plan;
mod positions;
mod reader;
mod several;
mod slow;
mod topics;
mod window;

use std::{
    fmt,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use smol_str::SmolStr;

use crate::{
    event::{EndReason, Event, EventId},
    last_event_id::LastEventId,
    sent::{Sent, Standing},
    store::Position,
    sync::Arc,
    topic_name::TopicName,
    wire::COMMENT_LINE,
};
pub(crate) use budget::piece;
use events::{Events, Filter};
pub(crate) use feeds::Feeds;
pub(crate) use follow::{Begin, Floor, Follower, Resume, Step};
pub(crate) use frame::Frame;
pub use not_before::NotBefore;
use plan::Plan;
pub(crate) use reader::{MAX_PAUSE, PAGE_BYTES, in_time, pauses};
use several::Several;
pub use slow::SlowClient;
pub(crate) use topics::Topics;
pub use topics::{IntoTopicName, InvalidTopics};

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

/// The events of one topic or several for one client: what it missed, then live.
///
/// After a usable `Last-Event-ID` that is every retained event behind it, once and in order. Where
/// that cannot be, the first event is an `sse.gap` that says why, and the stream goes on behind the
/// gap. A client that reads slowly costs nobody else anything: a subscription is a place in the log,
/// not a queue. What becomes of it is up to its topic ([`Hub::slow_clients`](crate::Hub::slow_clients)).
///
/// Made by [`Hub::subscribe`](crate::Hub::subscribe); given to [`Sse::new`](crate::Sse::new), which
/// sends the encoded events that all clients share, or read as a [stream of events](Self::events).
/// Nothing is read before it is polled, and dropping it at any time loses nothing: the ids say where
/// the client was.
///
/// # Several topics
///
/// With [`Hub::subscribe_many`](crate::Hub::subscribe_many) the order is that of each topic; between
/// topics there is none. Every id has the positions of all topics, so it resumes them all. A topic
/// that was not followed when the id was made starts as for a new client, and one that is no longer
/// followed is passed over; neither is a gap.
///
/// # Panics
///
/// Polling it outside of a Tokio runtime panics, as Tokio's own types do.
#[must_use]
pub struct Subscription {
    following: Following,
    filter: Option<Box<Filter>>,
    farewell: Option<EndReason>,
}

/// An open stream is mostly one follower at its window, so all else is boxed.
enum Following {
    NotYet(Box<Plan>),
    One(Follower),
    Several(Box<Several>),
}

impl Subscription {
    /// How many topics one subscription can follow.
    pub const MAX_TOPICS: usize = 64;

    pub(crate) fn new(feeds: Arc<Feeds>, topics: Topics, last: LastEventId) -> Self {
        Self {
            following: Following::NotYet(Box::new(Plan::new(feeds, topics, last))),
            filter: None,
            farewell: None,
        }
    }

    /// Sets where a client begins that has no usable last event id.
    pub fn start(mut self, start: Start) -> Self {
        if let Following::NotYet(plan) = &mut self.following {
            plan.start = start;
        }
        self
    }

    /// Sends nothing from before an event or a time, whatever the client's last event id and the
    /// [start](Self::start); what it misses by that is no gap. Of several, all hold.
    ///
    /// It is for those who may read what a topic retains from some moment on only. Without such a limit
    /// whoever may follow a topic may read all of it.
    pub fn not_before(mut self, not_before: NotBefore) -> Self {
        if let Following::NotYet(plan) = &mut self.following {
            plan.not_before.push(not_before);
        }
        self
    }

    /// The topics that it follows, each once, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        let (one, plan, several) = match &self.following {
            Following::NotYet(plan) => (None, Some(plan.topics.names()), None),
            Following::One(follower) => (Some(follower.topic()), None, None),
            Following::Several(several) => (None, None, Some(several.names())),
        };
        let plan = plan.into_iter().flatten();
        one.into_iter()
            .chain(plan)
            .chain(several.into_iter().flatten())
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
        let map: Box<dyn FnMut(Event) -> Option<Event> + Send> = match self.filter.take() {
            Some(first) => {
                let mut first = first.map;
                Box::new(move |event| first(event).and_then(&mut map))
            }
            None => Box::new(map),
        };
        if let Following::NotYet(plan) = &self.following {
            self.filter = Some(Box::new(Filter {
                map,
                skipped: (plan.last != LastEventId::Absent).then_some(0),
                priming: plan.priming,
            }));
        }
        self
    }

    /// Sends no `sse.open` to a client that begins where there is nothing to send yet.
    ///
    /// If it loses its connection before the first event, it begins anew instead of resuming.
    pub fn without_priming(mut self) -> Self {
        if let Following::NotYet(plan) = &mut self.following {
            plan.priming = false;
        }
        if let Some(filter) = &mut self.filter {
            filter.priming = false;
        }
        self
    }

    /// The events one by one, for reading them in this process; `sse.open`, `sse.gap` and `sse.bye`
    /// among them.
    ///
    /// Cancel safe: an event is either returned or still to come.
    pub fn events(self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        Events::new(self)
    }

    /// Returns the next blocks, as many as fit into one piece.
    pub(crate) fn poll_blocks(&mut self, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        let joined = self.filter.is_none();
        loop {
            let Some((topic, step)) = ready!(self.poll_step(cx, joined)) else {
                return Poll::Ready(None);
            };
            let gap = step.gap();
            let (bytes, events) = match (step, &mut self.following) {
                (Step::Joined(blocks, events), _) => (blocks, events),
                (Step::Line, _) => (Bytes::from_static(COMMENT_LINE), 0),
                (Step::Frames(frames, to, out), Following::Several(several)) if joined => {
                    let events = frames.iter().filter(|frame| frame.is_event()).count();
                    (piece(several.blocks(topic, &frames, to), out), events)
                }
                (step, _) => {
                    let out = step.out();
                    let mut blocks = Vec::new();
                    let mut events = 0;
                    self.on_step(topic, step, |event| {
                        events += usize::from(!event.is_control());
                        event.block().write(&mut blocks);
                    });
                    (piece(blocks, out), events)
                }
            };
            if !bytes.is_empty() {
                return Poll::Ready(Some(Sent { bytes, events, gap }));
            }
        }
    }

    /// The id that the client would come back with, where it is known and a gap is not still to be told.
    pub(crate) fn last_id(&self) -> Option<SmolStr> {
        match &self.following {
            Following::NotYet(_) => None,
            Following::One(follower) => follower.told().map(Position::to_text),
            Following::Several(several) => several.last_id(),
        }
    }

    /// Why it has ended, once it has.
    pub(crate) fn farewell(&self) -> Option<EndReason> {
        self.farewell
    }

    /// What is known of where the client is, once that was looked for.
    pub(crate) fn standing(&self) -> Option<Standing> {
        match &self.following {
            Following::NotYet(_) => None,
            Following::One(follower) => Some(follower.standing()),
            Following::Several(several) => Some(several.standing()),
        }
    }

    /// Returns what comes next, with the number of its topic.
    fn poll_step(&mut self, cx: &mut Context<'_>, joined: bool) -> Poll<Option<(usize, Step)>> {
        if let Following::NotYet(plan) = &self.following {
            self.following = plan.begin();
        }
        match &mut self.following {
            Following::NotYet(_) => Poll::Ready(None),
            Following::One(follower) => {
                let step = ready!(follower.poll_step(cx, joined));
                Poll::Ready(step.map(|step| (0, step)))
            }
            Following::Several(several) => several.poll_step(cx),
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Subscription");
        match &self.following {
            Following::NotYet(plan) => debug.field("topics", &plan.topics),
            Following::One(follower) => debug.field("following", follower),
            Following::Several(several) => debug.field("following", several),
        };
        debug.finish_non_exhaustive()
    }
}
