//! Which topics a subscription follows.

use std::{collections::BTreeSet, error::Error, fmt};

use super::{Feeds, Subscription};
use crate::{store::Position, topic_name::TopicName};

/// Topics with the heads that they had when they were subscribed to, where the store knows those
/// without waiting.
#[derive(Debug)]
pub(crate) enum Topics {
    One((TopicName, Option<Position>)),
    /// Sorted by name, each once.
    Several(Box<[(TopicName, Option<Position>)]>),
}

impl Topics {
    pub(super) fn names(&self) -> impl Iterator<Item = &TopicName> {
        let topics = match self {
            Self::One(topic) => std::slice::from_ref(topic),
            Self::Several(topics) => topics,
        };
        topics.iter().map(|(name, _)| name)
    }

    pub(crate) fn one(name: TopicName, feeds: &Feeds) -> Self {
        let head = feeds.store.head_now(&name);
        Self::One((name, head))
    }

    pub(crate) fn several(
        names: impl Iterator<Item = TopicName>,
        feeds: &Feeds,
    ) -> Result<Self, InvalidTopics> {
        let mut sorted = BTreeSet::new();
        for name in names {
            sorted.insert(name);
            if sorted.len() > Subscription::MAX_TOPICS {
                return Err(InvalidTopics { none: false });
            }
        }
        if sorted.is_empty() {
            return Err(InvalidTopics { none: true });
        }
        let with_head = |name| {
            let head = feeds.store.head_now(&name);
            (name, head)
        };
        Ok(Self::Several(sorted.into_iter().map(with_head).collect()))
    }
}

/// What [`Hub::subscribe`](crate::Hub::subscribe) takes for a topic: a literal, a [`TopicName`] or a reference to one.
///
/// This trait is sealed.
pub trait IntoTopicName: sealed::Sealed {}

impl IntoTopicName for &'static str {}
impl IntoTopicName for TopicName {}
impl IntoTopicName for &TopicName {}

mod sealed {
    use super::TopicName;

    pub trait Sealed {
        fn into_topic_name(self) -> TopicName;
    }

    impl Sealed for &'static str {
        #[track_caller]
        fn into_topic_name(self) -> TopicName {
            TopicName::from_static(self)
        }
    }

    impl Sealed for TopicName {
        fn into_topic_name(self) -> TopicName {
            self
        }
    }

    impl Sealed for &TopicName {
        fn into_topic_name(self) -> TopicName {
            self.clone()
        }
    }
}

/// The error of a list that has no topic, or too many for one subscription.
///
/// As a response it is `400`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTopics {
    none: bool,
}

impl fmt::Display for InvalidTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.none {
            true => f.write_str("there is no topic to follow"),
            false => write!(f, "more than {} topics to follow", Subscription::MAX_TOPICS),
        }
    }
}

impl Error for InvalidTopics {}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::{Hub, LastEventId};

    #[tokio::test]
    async fn names_are_the_same_before_and_after_the_first_poll() {
        let hub = Hub::new();
        let names = ["b", "a"].map(TopicName::from_static);
        let one = hub.subscribe("topic", LastEventId::Absent);
        let several = hub.subscribe_many(&names, LastEventId::Absent);
        let several = several.expect("two topics");
        for (mut subscription, expected) in [(one, vec!["topic"]), (several, vec!["a", "b"])] {
            for _ in 0..2 {
                let names: Vec<_> = subscription.topics().map(TopicName::as_str).collect();
                assert_eq!(names, expected);
                let _ = subscription.poll_blocks(&mut Context::from_waker(Waker::noop()));
            }
        }
    }
}
