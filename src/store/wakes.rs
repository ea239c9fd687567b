//! Wake-ups from a store to its readers.

use std::{fmt, sync::Arc};

use crate::topic_name::TopicName;

/// Where a store tells which topics were appended to.
///
/// A clone tells the same readers. Waking is cheap, never waits for a reader, and does nothing for a
/// topic that nobody follows.
#[derive(Clone)]
pub struct Wakes(Arc<Wake>);

/// Takes the topic, or `None` for all.
type Wake = dyn Fn(Option<&TopicName>) + Send + Sync;

impl Wakes {
    /// Makes a receiver of wake-ups that calls `wake` with the topic, or with `None` for all.
    ///
    /// A hub makes its own. This is for a store that wraps another one, and for tests.
    pub fn new(wake: impl Fn(Option<&TopicName>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Tells that something may have been appended to `topic`.
    pub fn wake(&self, topic: &TopicName) {
        (self.0)(Some(topic));
    }

    /// Tells that something may have been appended to any topic.
    pub fn wake_all(&self) {
        (self.0)(None);
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wakes")
    }
}
