//! Following several topics for one client.
//!
//! Each topic has a follower of its own, so order and gaps are those of the topic. What they share is
//! the id: the positions of all topics, of which every event moves one. So nothing is sent before all
//! positions are known. An id that lacked one would make that topic begin anew for a client that
//! comes back, and lose what was appended meanwhile. For the same reason gaps that are known from the
//! beginning are told first, and none but the last of them has an id: who drops between them comes back
//! with what it had, and is told of all again.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use futures_util::stream::{SelectAll, StreamExt};
use smol_str::SmolStr;

use super::{
    follow::{Follower, Resume, Step},
    frame::Frame,
    positions::{self, Tag},
};
use crate::{last_event_id::LastEventId, sent::Standing, store::Position, topic_name::TopicName};

/// The followers of one client.
#[derive(Debug)]
pub(super) struct Several {
    topics: Vec<(TopicName, Tag)>,
    /// Where the client is, once that is known of all topics.
    cursors: Vec<Position>,
    beginning: Vec<Follower>,
    /// What of an id that is of no use is to be told first, one for each topic.
    gaps: VecDeque<(usize, Step)>,
    following: SelectAll<Steps>,
    priming: Priming,
    ended: bool,
    /// When it has ended.
    last_standing: Standing,
}

/// Whether the client has been sent a position, which is always that of all topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Priming {
    None,
    Waits,
    Done,
}

impl Several {
    pub(super) fn new(
        followers: impl Iterator<Item = Follower>,
        topics: Vec<(TopicName, Tag)>,
    ) -> Self {
        Self {
            topics,
            cursors: Vec::new(),
            beginning: followers.collect(),
            gaps: VecDeque::new(),
            following: SelectAll::new(),
            priming: Priming::None,
            ended: false,
            last_standing: Standing {
                resume: None,
                live: false,
            },
        }
    }

    /// Returns what comes next, with the number of its topic.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Step)>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(end) = ready!(self.poll_begin(cx)) {
            self.end();
            return Poll::Ready(Some(end));
        }
        if let Some(gap) = self.gaps.pop_front() {
            self.priming = Priming::Done;
            return Poll::Ready(Some(gap));
        }
        loop {
            let Poll::Ready(step) = self.following.poll_next_unpin(cx) else {
                if self.priming != Priming::Waits {
                    return Poll::Pending;
                }
                self.priming = Priming::Done;
                // All positions are known, so any topic's will do.
                return Poll::Ready(Some((0, Step::Open(self.cursors[0]))));
            };
            match &step {
                // Held back until it is clear that no topic has something to send at once.
                Some((_, Step::Open(_))) => {
                    if self.priming == Priming::None {
                        self.priming = Priming::Waits;
                    }
                    continue;
                }
                Some((_, Step::End(..))) | None => self.end(),
                Some(_) => self.priming = Priming::Done,
            }
            return Poll::Ready(step);
        }
    }

    fn end(&mut self) {
        self.last_standing = self.standing();
        self.ended = true;
        self.beginning.clear();
        self.following.clear();
    }

    /// Waits until all positions are known. Returns a step where the stream ends instead.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Step)>> {
        let mut waits = false;
        for (topic, follower) in self.beginning.iter_mut().enumerate() {
            match follower.poll_begin(cx) {
                Poll::Ready(Some(step)) => return Poll::Ready(Some((topic, step))),
                Poll::Ready(None) => {}
                Poll::Pending => waits = true,
            }
        }
        if waits {
            return Poll::Pending;
        }
        for (topic, mut follower) in self.beginning.drain(..).enumerate() {
            self.cursors.extend(follower.cursor());
            if follower.has_gap()
                && let Poll::Ready(Some(gap)) = follower.poll_step(cx, false)
            {
                self.gaps.push_back((topic, gap));
            }
            self.following.push(Steps { topic, follower });
        }
        Poll::Ready(None)
    }

    /// Moves the position of a topic and returns the id of that place.
    pub(super) fn id(&mut self, topic: usize, at: Position) -> SmolStr {
        self.moved(topic, at);
        self.id_of_all().into()
    }

    fn id_of_all(&self) -> String {
        let tags = self.topics.iter().map(|(_, tag)| *tag);
        positions::encode(tags.zip(self.cursors.iter().copied()))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.iter().map(|(name, _)| name)
    }

    /// The name of a topic.
    pub(super) fn topic(&self, topic: usize) -> &TopicName {
        &self.topics[topic].0
    }

    /// Moves the position of a topic, over records that are no events, too.
    pub(super) fn moved(&mut self, topic: usize, at: Position) {
        self.cursors[topic] = at;
    }

    /// The blocks of records, each with the id of its place.
    pub(super) fn blocks(&mut self, topic: usize, frames: &[Frame], to: Position) -> Vec<u8> {
        let mut blocks = Vec::new();
        for frame in frames.iter().filter(|frame| frame.is_event()) {
            self.moved(topic, Position::new(to.epoch(), frame.offset));
            frame.write_with_id(&mut blocks, &self.id_of_all());
        }
        self.moved(topic, to);
        blocks
    }

    /// What is known of where the client is: with a gap in one topic it has not all.
    pub(super) fn standing(&self) -> Standing {
        let following = self.following.iter().map(|steps| &steps.follower);
        let followers = self.beginning.iter().chain(following);
        let all = followers.map(Follower::standing);
        all.reduce(Standing::and).unwrap_or(self.last_standing)
    }

    /// Whether the client was told of all that its id has not brought it.
    pub(super) fn has_told_gaps(&self) -> bool {
        self.gaps.is_empty()
    }

    /// The id of the place where the client is, if it has one.
    pub(super) fn last_id(&self) -> Option<SmolStr> {
        (!self.cursors.is_empty() && self.has_told_gaps()).then(|| self.id_of_all().into())
    }
}

/// What one follower brings.
#[derive(Debug)]
struct Steps {
    topic: usize,
    follower: Follower,
}

impl Stream for Steps {
    type Item = (usize, Step);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let step = ready!(self.follower.poll_step(cx, false));
        Poll::Ready(step.map(|step| (self.topic, step)))
    }
}

/// What each of `topics` resumes from. They are sorted, and none is there twice.
pub(super) fn resume(last: &LastEventId, topics: &[(TopicName, Tag)]) -> Vec<Resume> {
    let all = |resume| vec![resume; topics.len()];
    match last {
        LastEventId::Absent => all(Resume::Nothing),
        LastEventId::Id(id) if positions::is_several(id) => match positions::decode(id) {
            Some(positions) => {
                let of_topic =
                    |(name, tag): &(TopicName, Tag)| of_tag(&positions, topics, name, *tag);
                topics.iter().map(of_topic).collect()
            }
            None => all(Resume::Unusable),
        },
        LastEventId::Id(id) if topics.len() == 1 => {
            all(id.parse().map_or(Resume::Unusable, Resume::After))
        }
        // The position of one topic does not say which.
        LastEventId::Id(_) | LastEventId::Unusable => all(Resume::Unusable),
    }
}

/// Topics whose names have the same tag are told apart by their order, if they all are still here.
fn of_tag(
    positions: &[(Tag, Position)],
    topics: &[(TopicName, Tag)],
    name: &TopicName,
    tag: Tag,
) -> Resume {
    let found = positions.iter().filter(|(of, _)| *of == tag);
    let mut same = topics.iter().filter(|(_, of)| *of == tag);
    match found.clone().count() {
        0 => Resume::Nothing,
        count if count == same.clone().count() => {
            let place = same.position(|(of, _)| of == name).unwrap_or(0);
            let position = found.map(|(_, position)| *position).nth(place);
            position.map_or(Resume::Unusable, Resume::After)
        }
        _ => Resume::Unusable,
    }
}
