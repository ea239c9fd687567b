//! What a client is not to see, whatever it asks for.

use std::time::SystemTime;

use super::{
    follow::{Floor, Place, Resume},
    positions::Tag,
    several,
};
use crate::{event::EventId, last_event_id::LastEventId, topic_name::TopicName};

/// Before what nothing is sent to a client: [`Subscription::not_before`](crate::Subscription::not_before).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotBefore {
    /// Only events behind the one that has this id.
    ///
    /// Where the log has begun a new life since (it was wiped, or an older copy was put back), and for
    /// an id that is none of the topic, only what comes from now on: nothing tells which of the events
    /// of that log were there before. Of several topics, those count as such that the id does not have;
    /// the id of one topic is none of several.
    Id(EventId),
    /// Only events that were appended at that time or later, by the clock of the store
    /// ([`Record::appended_at`](crate::store::Record::appended_at)).
    ///
    /// To find the first of them, history is read from where the client begins. A store that keeps no
    /// times sends nothing.
    Time(SystemTime),
}

/// What holds for each of the topics.
pub(super) fn floors(all: &[NotBefore], topics: &[(TopicName, Tag)]) -> Vec<Floor> {
    let mut floors = vec![Floor::default(); topics.len()];
    for one in all {
        match one {
            NotBefore::Id(id) => {
                let id = LastEventId::Id(id.as_str().into());
                for (floor, place) in floors.iter_mut().zip(several::resume(&id, topics)) {
                    floor.add_place(match place {
                        Resume::After(position) => Place::At(position),
                        Resume::Nothing | Resume::Unusable => Place::Now,
                    });
                }
            }
            NotBefore::Time(time) => floors.iter_mut().for_each(|floor| floor.add_time(*time)),
        }
    }
    floors
}
