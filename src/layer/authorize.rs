//! Who may open a stream.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    error::Error,
    fmt,
    sync::Arc,
    time::SystemTime,
};

use http::{HeaderName, HeaderValue, StatusCode};

use super::RequestView;
use crate::store::BoxFuture;

/// A hook that decides about every request before its handler runs.
///
/// Implemented for closures, which name the type of their argument:
///
/// ```
/// use tower_sse::{Denial, Grant, RequestView, SseLayer, StatusCode};
///
/// let layer = SseLayer::new().authorize(|request: RequestView| async move {
///     match request.bearer_token() {
///         Some("secret") => Ok(Grant::new().subject("alice")),
///         _ => Err(Denial::refuse(StatusCode::UNAUTHORIZED, "a token is needed")),
///     }
/// });
/// ```
///
/// The future may be dropped at any await, when the client goes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no authorization hook",
    note = "a closure is written `|request: RequestView| async move {{ .. }}` and answers `Result<Grant, Denial>`"
)]
pub trait Authorize: Send + Sync + 'static {
    /// Decides about a request.
    ///
    /// # Errors
    ///
    /// [`Denial::refuse`] for one who may not, and [`Denial::undecided`] where that could not be found
    /// out; any error can be turned into the latter with `?`.
    fn authorize(&self, request: RequestView)
    -> impl Future<Output = Result<Grant, Denial>> + Send;
}

impl<F, Fut> Authorize for F
where
    F: Fn(RequestView) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Grant, Denial>> + Send,
{
    fn authorize(
        &self,
        request: RequestView,
    ) -> impl Future<Output = Result<Grant, Denial>> + Send {
        self(request)
    }
}

/// [`Authorize`] behind a pointer.
pub(crate) trait DynAuthorize: Send + Sync {
    fn authorize(
        self: Arc<Self>,
        request: RequestView,
    ) -> BoxFuture<'static, Result<Grant, Denial>>;
}

impl<A: Authorize> DynAuthorize for A {
    fn authorize(
        self: Arc<Self>,
        request: RequestView,
    ) -> BoxFuture<'static, Result<Grant, Denial>> {
        Box::pin(async move { Authorize::authorize(&*self, request).await })
    }
}

/// What an [`Authorize`] hook grants; an extractor in axum and in actix-web.
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

/// Why an [`Authorize`] hook grants nothing.
pub struct Denial(pub(super) Reason);

pub(super) enum Reason {
    Refused {
        status: StatusCode,
        text: String,
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    Undecided(Box<dyn Error + Send + Sync>),
}

impl Denial {
    /// Refuses the request with a status and a text that the client gets.
    ///
    /// To a browser's `EventSource` every status but `200` is final: it does not come back.
    #[must_use]
    pub fn refuse(status: StatusCode, text: impl Into<String>) -> Self {
        Self(Reason::Refused {
            status,
            text: text.into(),
            headers: Vec::new(),
        })
    }

    /// Adds a header to the answer of a refusal; to no effect where nothing was decided.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Reason::Refused { headers, .. } = &mut self.0 {
            headers.push((name, value));
        }
        self
    }

    /// Says that it could not be decided, and why.
    ///
    /// The cause is logged and not sent. The client is asked to come back: a `500` would be the end
    /// of a browser's stream for good.
    #[must_use]
    pub fn undecided(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Reason::Undecided(cause.into()))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Denial {
    fn from(cause: E) -> Self {
        Self::undecided(cause)
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Refused { status, .. } => f.debug_tuple("Refused").field(status).finish(),
            Reason::Undecided(cause) => f.debug_tuple("Undecided").field(cause).finish(),
        }
    }
}
