//! How a subscription begins.

use super::{
    Following, NotBefore, Start,
    feeds::Feeds,
    follow::{Begin, Follower},
    not_before::floors,
    positions::Tag,
    several::{self, Several},
    topics::Topics,
};
use crate::{last_event_id::LastEventId, store::Position, sync::Arc, topic_name::TopicName};

/// What is known before the first poll.
pub(super) struct Plan {
    feeds: Arc<Feeds>,
    pub(super) topics: Topics,
    pub(super) last: LastEventId,
    pub(super) start: Start,
    pub(super) not_before: Vec<NotBefore>,
    pub(super) priming: bool,
}

impl Plan {
    pub(super) fn new(feeds: Arc<Feeds>, topics: Topics, last: LastEventId) -> Self {
        Self {
            feeds,
            topics,
            last,
            start: Start::Live,
            not_before: Vec::new(),
            priming: true,
        }
    }

    pub(super) fn begin(&self) -> Following {
        let last = match (&self.last, &self.start) {
            (LastEventId::Absent, Start::After(id)) => &LastEventId::Id(id.as_str().into()),
            (last, _) => last,
        };
        let begin = match self.start {
            Start::Live | Start::After(_) => Begin::Live,
            // Nobody retains more.
            Start::Newest(events) => u32::try_from(events).map_or(Begin::Oldest, Begin::Newest),
            Start::All => Begin::Oldest,
        };
        let follower = |(name, head): &(TopicName, Option<Position>), resume, floor| {
            let mut follower = Follower::new(&self.feeds, name, resume, begin, *head, floor);
            if !self.priming {
                follower.without_priming();
            }
            follower
        };
        match &self.topics {
            Topics::One(topic) => {
                let tagged = [(topic.0.clone(), Tag::of(&topic.0))];
                let resume = several::resume(last, &tagged)[0];
                let floor = floors(&self.not_before, &tagged)[0];
                Following::One(follower(topic, resume, floor))
            }
            Topics::Several(topics) => {
                let tagged: Vec<_> = topics
                    .iter()
                    .map(|(name, _)| (name.clone(), Tag::of(name)))
                    .collect();
                let resumes = several::resume(last, &tagged);
                let floors = floors(&self.not_before, &tagged);
                let followers = topics.iter().zip(resumes).zip(floors);
                let followers =
                    followers.map(|((topic, resume), floor)| follower(topic, resume, floor));
                Following::Several(Box::new(Several::new(followers, tagged)))
            }
        }
    }
}
