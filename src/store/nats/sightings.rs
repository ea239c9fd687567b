//! What a process has seen of the logs, to notice one that went backwards, and not to ask again.

use std::sync::{Mutex, PoisonError};

use hashlink::LruCache;

use super::link::Shape;
use crate::{store::Position, topic_name::TopicName};

/// As many topics as a process is likely to have to do with at a time.
const TOPICS: usize = 1 << 16;

/// What was seen of each topic, of those that were asked for most recently.
pub(super) struct Sightings(Mutex<LruCache<TopicName, Sighting>>);

struct Sighting {
    /// The highest position of the life that was seen last.
    highest: Option<Position>,
    /// What the head was while the stream was like this.
    head: Option<(Shape, Head)>,
}

/// A head, and how long it stays.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) position: Position,
    /// When the topic is gone, in milliseconds.
    pub(super) ends_at: Option<u64>,
}

impl Sightings {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(TOPICS)))
    }

    fn with<T>(&self, topic: &TopicName, what: impl FnOnce(&mut Sighting) -> T) -> T {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sighting) = seen.get_mut(topic) {
            return what(sighting);
        }
        let mut sighting = Sighting {
            highest: None,
            head: None,
        };
        let done = what(&mut sighting);
        seen.insert(topic.clone(), sighting);
        done
    }

    /// Whether more of this life was seen than `head`, so that an older copy was put back.
    pub(super) fn is_behind(&self, topic: &TopicName, head: Position) -> bool {
        self.with(topic, |seen| {
            seen.highest.is_some_and(|highest| {
                highest.epoch() == head.epoch() && head.offset() < highest.offset()
            })
        })
    }

    /// Notes the head of a log.
    pub(super) fn note(&self, topic: &TopicName, head: Position) {
        self.with(topic, |seen| {
            // An answer may come after that to a later request.
            if seen.highest.is_none_or(|highest| {
                highest.epoch() != head.epoch() || highest.offset() < head.offset()
            }) {
                seen.highest = Some(head);
            }
        });
    }

    pub(super) fn remember(&self, topic: &TopicName, shape: Shape, head: Head) {
        self.with(topic, |seen| seen.head = Some((shape, head)));
    }

    /// What the head is, where nothing in the stream has changed since it was looked for.
    pub(super) fn recall(&self, topic: &TopicName, shape: Shape, now: u64) -> Option<Position> {
        self.with(topic, |seen| {
            let (then, head) = seen.head?;
            let is_gone = head.ends_at.is_some_and(|end| end <= now);
            (then == shape && !is_gone).then_some(head.position)
        })
    }
}
