//! What is granted.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::Arc,
    time::SystemTime,
};

/// What an [`Authorize`](super::Authorize) hook grants; an extractor in axum and in actix-web.
///
/// A clone shares what it holds. As an extractor it fails with `500` on a route without a hook.
#[derive(Clone, Default)]
pub struct Grant(Arc<Granted>);

#[derive(Clone, Default)]
struct Granted {
    subject: Option<String>,
    id: Option<String>,
    expiry: Option<SystemTime>,
    values: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Grant {
    /// Makes a grant to nobody in particular.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says to whom it is granted.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).subject = Some(subject.into());
        self
    }

    /// Gives the grant an id of its own, such as the `jti` of a token, by which it can be revoked.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).id = Some(id.into());
        self
    }

    /// Says when it ends, such as the `exp` of a token: at this moment it holds no more.
    #[must_use]
    pub fn expires_at(mut self, moment: SystemTime) -> Self {
        Arc::make_mut(&mut self.0).expiry = Some(moment);
        self
    }

    /// Adds a value for the handler, in place of an earlier one of the same type.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        let values = &mut Arc::make_mut(&mut self.0).values;
        values.insert(TypeId::of::<T>(), Arc::new(value));
        self
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
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("subject", &self.0.subject)
            .field("id", &self.0.id)
            .field("expiry", &self.0.expiry)
            .finish_non_exhaustive()
    }
}
