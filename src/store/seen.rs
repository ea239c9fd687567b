//! What a process has seen of the logs, to notice one that went backwards.

use hashlink::LruCache;

use crate::{
    store::Position,
    sync::{Mutex, lock},
    topic_name::TopicName,
};

/// As many topics as a process is likely to have to do with at a time.
const TOPICS: usize = 1 << 16;

/// What was seen of each topic, of those that were asked for most recently: the highest position of
/// the life that was seen last, and what else a store keeps.
pub(super) struct Seen<Extra = ()>(Mutex<LruCache<TopicName, (Option<Position>, Extra)>>);

impl<Extra: Copy + Default> Seen<Extra> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(TOPICS)))
    }

    pub(super) fn head(&self, topic: &TopicName) -> Option<Position> {
        lock(&self.0).get(topic)?.0
    }

    /// Notes the head of a log.
    pub(super) fn note(&self, topic: &TopicName, head: Position) {
        self.change(topic, |(seen, _)| {
            // An answer may come after that to a later request.
            if !seen.is_some_and(|seen| head.is_behind(seen)) {
                *seen = Some(head);
            }
        });
    }

    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(super) fn extra(&self, topic: &TopicName) -> Extra {
        let mut seen = lock(&self.0);
        seen.get(topic).map_or_else(Extra::default, |seen| seen.1)
    }

    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(super) fn keep(&self, topic: &TopicName, extra: Extra) {
        self.change(topic, |seen| seen.1 = extra);
    }

    fn change(&self, topic: &TopicName, change: impl FnOnce(&mut (Option<Position>, Extra))) {
        let mut all = lock(&self.0);
        if let Some(seen) = all.get_mut(topic) {
            return change(seen);
        }
        let mut seen = Default::default();
        change(&mut seen);
        all.insert(topic.clone(), seen);
    }
}
