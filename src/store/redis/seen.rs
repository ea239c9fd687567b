//! What a process has seen of the logs, to notice one that went backwards.

use std::sync::{Mutex, PoisonError};

use hashlink::LruCache;

use crate::{store::Position, topic_name::TopicName};

/// As many topics as a process is likely to have to do with at a time.
const TOPICS: usize = 1 << 16;

/// The highest position that was seen of each topic, of those that were asked for most recently.
pub(super) struct Seen(Mutex<LruCache<TopicName, Position>>);

impl Seen {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(TOPICS)))
    }

    pub(super) fn get(&self, topic: &TopicName) -> Option<Position> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(topic).copied()
    }

    pub(super) fn note(&self, topic: &TopicName, head: Position) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get_mut(topic) {
            // An answer may come after that to a later request.
            if known.epoch() != head.epoch() || known.offset() < head.offset() {
                *known = head;
            }
            return;
        }
        seen.insert(topic.clone(), head);
    }
}
