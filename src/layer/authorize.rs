//! Who may open a stream.

mod denial;
mod grant;
#[cfg(feature = "tickets")]
mod tickets;
mod tokens;

use std::sync::Arc;

use super::RequestView;
use crate::store::BoxFuture;
pub use denial::Denial;
pub(super) use denial::Reason;
pub use grant::{Grant, TopicDenied};
#[cfg(feature = "tickets")]
pub use tickets::{InvalidKey, InvalidTicket, IssueError, Tickets};
pub use tokens::{Secret, TokenFinder};

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
