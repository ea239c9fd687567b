//! What is granted.

use std::{
    any::{Any, TypeId},
    collections::{BTreeSet, HashMap},
    error::Error,
    fmt,
    sync::Arc,
    time::SystemTime,
};

use crate::{
    subscription::{IntoTopicName, NotBefore, Subscription},
    topic_name::TopicName,
};

/// What an [`Authorize`](super::Authorize) hook grants; an extractor in axum and in actix-web.
///
/// A clone shares what it holds. As an extractor it fails with `500` on a route without a hook.
///
/// # Topics
///
/// Whoever may follow a topic may read all that it retains. A grant that names [topics](Self::topics)
/// is for no others, and of those for nothing from before [a moment](Self::not_before) if it says so.
/// [`admit`](Self::admit) holds a subscription to that before anything is read:
///
/// ```
/// use tower_sse::{Grant, Hub, LastEventId, Sse, Subscription, TopicDenied, TopicName};
///
/// fn follow(
///     hub: &Hub,
///     grant: &Grant,
///     topic: TopicName,
///     last: LastEventId,
/// ) -> Result<Sse<Subscription>, TopicDenied> {
///     Ok(Sse::new(grant.admit(hub.subscribe(topic, last))?))
/// }
///
/// let hub = Hub::new();
/// let alice = Grant::new().subject("alice").topics(["news", "user/alice"]);
/// let news = TopicName::from_static("news");
/// assert!(follow(&hub, &alice, news, LastEventId::Absent).is_ok());
/// let other = TopicName::from_static("user/bob");
/// assert!(follow(&hub, &alice, other, LastEventId::Absent).is_err());
/// ```
///
/// Nothing else looks at that, but [`allows`](Self::allows) at the topics: a handler that calls neither
/// has decided by itself.
#[derive(Clone, Default)]
pub struct Grant(Arc<Granted>);

#[derive(Clone, Default)]
struct Granted {
    subject: Option<String>,
    id: Option<String>,
    expiry: Option<SystemTime>,
    /// `None` for all.
    topics: Option<Topics>,
    not_before: Vec<NotBefore>,
    values: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

/// One that is in the list, or that a rule is true for.
#[derive(Clone, Default)]
struct Topics {
    names: BTreeSet<TopicName>,
    rules: Vec<Rule>,
}

type Rule = Arc<dyn Fn(&TopicName) -> bool + Send + Sync>;

impl Grant {
    /// Makes a grant to nobody in particular, for all topics and without an end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says to whom it is granted.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.granted().subject = Some(subject.into());
        self
    }

    /// Gives the grant an id of its own, such as the `jti` of a token, by which it can be revoked.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.granted().id = Some(id.into());
        self
    }

    /// Says when it ends, such as the `exp` of a token: at this moment it holds no more.
    #[must_use]
    pub fn expires_at(mut self, moment: SystemTime) -> Self {
        self.granted().expiry = Some(moment);
        self
    }

    /// Restricts it to these topics, and those that were named before.
    ///
    /// After an empty list it is for none.
    #[must_use]
    pub fn topics<T: IntoTopicName>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        let names = names.into_iter().map(|name| name.into_topic_name());
        self.named().names.extend(names);
        self
    }

    /// Restricts it to topics for which `rule` is true, and those that were named before.
    #[must_use]
    pub fn topics_where(
        mut self,
        rule: impl Fn(&TopicName) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.named().rules.push(Arc::new(rule));
        self
    }

    /// Keeps from it what is from before an event or a time. Of several, all hold.
    #[must_use]
    pub fn not_before(mut self, not_before: NotBefore) -> Self {
        self.granted().not_before.push(not_before);
        self
    }

    /// Adds a value for the handler, in place of an earlier one of the same type.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        let values = &mut self.granted().values;
        values.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    fn granted(&mut self) -> &mut Granted {
        Arc::make_mut(&mut self.0)
    }

    fn named(&mut self) -> &mut Topics {
        self.granted().topics.get_or_insert_default()
    }

    /// The subject, if it is known.
    #[must_use]
    pub fn subject_name(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// The id of the grant itself, if it has one.
    #[must_use]
    pub fn id_text(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// When it ends, if ever.
    #[must_use]
    pub fn expiry(&self) -> Option<SystemTime> {
        self.0.expiry
    }

    /// The value of this type that the hook has added.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.values.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// Whether it is for this topic.
    #[must_use]
    pub fn allows(&self, topic: &TopicName) -> bool {
        self.0.topics.as_ref().is_none_or(|topics| {
            topics.names.contains(topic) || topics.rules.iter().any(|rule| rule(topic))
        })
    }

    /// Returns the subscription, held to what the grant is [not before](Self::not_before), if it is for
    /// all of its topics.
    ///
    /// # Errors
    ///
    /// When it is not for one of them: then none is followed.
    pub fn admit(&self, subscription: Subscription) -> Result<Subscription, TopicDenied> {
        let mut topics = subscription.topics();
        let denied = topics.find(|topic| !self.allows(topic)).cloned();
        drop(topics);
        match denied {
            Some(topic) => Err(TopicDenied(topic)),
            None => {
                let limits = self.0.not_before.iter().cloned();
                Ok(limits.fold(subscription, Subscription::not_before))
            }
        }
    }

    #[cfg(feature = "tickets")]
    pub(super) fn limits(&self) -> &[NotBefore] {
        &self.0.not_before
    }

    /// The topics that it names, if it is not for all; `Err` where a rule decides.
    #[cfg(feature = "tickets")]
    pub(super) fn named_topics(&self) -> Result<Option<&BTreeSet<TopicName>>, DecidedByRule> {
        match &self.0.topics {
            None => Ok(None),
            Some(topics) if topics.rules.is_empty() => Ok(Some(&topics.names)),
            Some(_) => Err(DecidedByRule),
        }
    }
}

/// The topics of a grant are not all named.
#[cfg(feature = "tickets")]
pub(super) struct DecidedByRule;

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Grant");
        debug
            .field("subject", &self.0.subject)
            .field("id", &self.0.id)
            .field("expiry", &self.0.expiry)
            .field("not_before", &self.0.not_before);
        if let Some(topics) = &self.0.topics {
            debug.field("topics", &topics.names);
            debug.field("rules", &topics.rules.len());
        }
        debug.finish_non_exhaustive()
    }
}

/// The error of a topic that a [`Grant`] is not for.
///
/// As a response it is `403`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDenied(TopicName);

impl TopicDenied {
    /// The topic, or the first of several.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.0
    }
}

impl fmt::Display for TopicDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the grant is not for the topic {}", self.0)
    }
}

impl Error for TopicDenied {}
