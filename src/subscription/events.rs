//! What a subscription brings, as events: filtered, and each with the id of its place.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use smol_str::SmolStr;

use super::{Following, Subscription, budget::Out, follow::Step, window};
use crate::{
    event::{Event, bye, gap, open},
    store::Position,
    sync::Arc,
};

/// After this many events in a row that the filter has kept from a client, it is told its position.
const MAX_SKIPPED: usize = window::MAX_EVENTS.get() / 2;

pub(super) struct Filter {
    pub(super) map: Box<dyn FnMut(Event) -> Option<Event> + Send>,
    /// How many events in a row were kept back; `None` while the client has no position.
    pub(super) skipped: Option<usize>,
    pub(super) priming: bool,
}

impl Subscription {
    /// Hands on the events of a step, filtered.
    pub(super) fn on_step(&mut self, topic: usize, step: Step, mut take: impl FnMut(Event)) {
        let name = match &self.following {
            Following::NotYet(_) => return,
            Following::One(follower) => follower.topic(),
            Following::Several(several) => several.topic(topic),
        };
        let name = name.clone();
        match step {
            Step::Line => {}
            Step::Joined(..) => debug_assert!(false, "blocks are not asked for here"),
            Step::Open(at) => {
                self.sent();
                take(self.control(open(), topic, at));
            }
            Step::Gap(missing, at) => {
                self.sent();
                let several = matches!(self.following, Following::Several(_));
                let gap = gap(missing, several.then_some(&name)).of_topic(name);
                let id = self.id(topic, at);
                take(match &self.following {
                    Following::Several(several) if !several.has_told_gaps() => gap,
                    _ => gap.id_text(id),
                });
            }
            Step::End(reason, at) => {
                self.farewell = Some(reason);
                let id = match &self.following {
                    Following::Several(several) => several.last_id(),
                    _ => at.map(Position::to_text),
                };
                let bye = bye(reason);
                take(match id {
                    Some(id) => bye.id_text(id),
                    None => bye,
                });
            }
            Step::Frames(frames, to, _) => {
                for frame in frames.iter().filter(|frame| frame.is_event()) {
                    let id = self.id(topic, Position::new(to.epoch(), frame.offset));
                    let event = frame.event(&name, id);
                    match &mut self.filter {
                        Some(filter) => filter.keep(event).map_or((), &mut take),
                        None => take(event),
                    }
                }
                if self.filter.as_deref().is_some_and(Filter::is_position_due) {
                    self.sent();
                    take(self.control(open(), topic, to));
                } else if let Following::Several(several) = &mut self.following {
                    several.moved(topic, to);
                }
            }
        }
    }

    /// Notes that the client has been sent where it is.
    fn sent(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.skipped = Some(0);
        }
    }

    fn control(&mut self, event: Event, topic: usize, at: Position) -> Event {
        event.id_text(self.id(topic, at))
    }

    /// The id of a place in a topic.
    fn id(&mut self, topic: usize, at: Position) -> SmolStr {
        match &mut self.following {
            Following::Several(several) => several.id(topic, at),
            Following::NotYet(_) | Following::One(_) => at.to_text(),
        }
    }
}

impl Filter {
    fn keep(&mut self, event: Event) -> Option<Event> {
        let original = event.clone();
        let Some(event) = (self.map)(event) else {
            self.skipped = self.skipped.map(|skipped| skipped + 1);
            return None;
        };
        self.skipped = Some(0);
        Some(event.at_place_of(&original))
    }

    /// Whether the client is far behind what it knows, or new and knows nothing yet.
    fn is_position_due(&self) -> bool {
        self.skipped
            .map_or(self.priming, |skipped| skipped >= MAX_SKIPPED)
    }
}

pub(super) struct Events {
    subscription: Subscription,
    ready: VecDeque<Event>,
    /// What counts of those until all are given out.
    out: Option<Arc<Out>>,
}

impl Events {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            ready: VecDeque::new(),
            out: None,
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let Self {
            subscription,
            ready,
            out,
        } = self.get_mut();
        loop {
            if let Some(event) = ready.pop_front() {
                if ready.is_empty() {
                    *out = None;
                }
                return Poll::Ready(Some(event));
            }
            match ready!(subscription.poll_step(cx, false)) {
                Some((topic, step)) => {
                    *out = step.out();
                    subscription.on_step(topic, step, |event| ready.push_back(event));
                    if ready.is_empty() {
                        *out = None;
                    }
                }
                None => return Poll::Ready(None),
            }
        }
    }
}
