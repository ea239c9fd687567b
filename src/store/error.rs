//! Errors of stores.

use std::{error::Error, fmt, sync::Arc};

/// What an error of a store means to the caller.
///
/// After every kind but [`OutcomeUnknown`](StoreErrorKind::OutcomeUnknown) nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store does not answer or refuses for the moment; a later call may succeed.
    Unavailable,
    /// The records may or may not be stored: the answer was lost. Never retried by this crate.
    OutcomeUnknown,
    /// The records are larger than the store takes, alone or for its limits; a retry is useless.
    TooLarge,
    /// What the store read is not what it wrote.
    Damaged,
}

/// An error of a store.
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// Makes an error of this kind with its cause.
    #[must_use]
    pub fn new(kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: Some(source.into().into()),
        }
    }

    /// What the error means to the caller.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// An error of this kind with the same cause.
    #[cfg(any(feature = "file", feature = "nats", feature = "postgres"))]
    pub(super) fn shared_as(&self, kind: StoreErrorKind) -> Self {
        let source = self.source.clone();
        Self { kind, source }
    }
}

/// The error of what was not written by the store that reads it.
#[cfg(any(
    feature = "file",
    feature = "nats",
    feature = "postgres",
    feature = "redis"
))]
pub(super) fn damaged(cause: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, cause)
}

#[cfg(any(
    feature = "file",
    feature = "nats",
    feature = "postgres",
    feature = "redis"
))]
pub(super) fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, cause)
}

impl From<StoreErrorKind> for StoreError {
    fn from(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.kind)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "store is unavailable",
            StoreErrorKind::OutcomeUnknown => "store gave no answer, the outcome is unknown",
            StoreErrorKind::TooLarge => "too large for the store",
            StoreErrorKind::Damaged => "store holds damaged records",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
