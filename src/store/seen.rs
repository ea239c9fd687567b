//! What a process has seen of the logs, to notice one that went backwards.

use std::sync::{Mutex, PoisonError};

use hashlink::LruCache;

use crate::{store::Position, topic_name::TopicName};

/// As many topics as a process is likely to have to do with at a time.
const TOPICS: usize = 1 << 16;

/// What was seen of each topic, of those that were asked for most recently.
pub(super) struct Seen(Mutex<LruCache<TopicName, Sight>>);

struct Sight {
    /// The highest position of the life that was seen last.
    head: Position,
    /// The bytes of an average event, to ask for about as many as are wanted.
    average: Option<u64>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(TOPICS)))
    }

    pub(super) fn head(&self, topic: &TopicName) -> Option<Position> {
        self.look(topic, |sight| sight.head)
    }

    #[cfg(feature = "redis")]
    pub(super) fn average(&self, topic: &TopicName) -> Option<u64> {
        self.look(topic, |sight| sight.average).flatten()
    }

    fn look<T>(&self, topic: &TopicName, what: impl Fn(&Sight) -> T) -> Option<T> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(topic).map(what)
    }

    pub(super) fn note(&self, topic: &TopicName, head: Position, average: Option<u64>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get_mut(topic) {
            // An answer may come after that to a later request.
            if known.head.epoch() != head.epoch() || known.head.offset() < head.offset() {
                known.head = head;
            }
            known.average = average.or(known.average);
            return;
        }
        seen.insert(topic.clone(), Sight { head, average });
    }
}
