//! The keys of a store.

use crate::topic_name::TopicName;

/// Names of topics have no `#`.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) prefix: String,
}

impl Keys {
    pub(super) fn stream(&self, topic: &TopicName) -> String {
        format!("{}:{}", self.prefix, topic.as_str())
    }

    pub(super) fn log(&self, topic: &TopicName) -> String {
        format!("{}:{}#", self.prefix, topic.as_str())
    }

    pub(super) fn store(&self) -> String {
        format!("{}#", self.prefix)
    }

    pub(super) fn births(&self) -> String {
        format!("{}#births", self.prefix)
    }

    pub(super) fn channel(&self) -> String {
        self.store()
    }

    /// Topics of a bucket share what counts the lives of their logs. The same as `bucket` of the
    /// library.
    pub(super) fn bucket(topic: &TopicName) -> u32 {
        let hash = topic.as_str().bytes().fold(0_u32, |hash, byte| {
            hash.wrapping_mul(65599).wrapping_add(byte.into())
        });
        hash.wrapping_add(hash >> 16) & 0xffff
    }
}
