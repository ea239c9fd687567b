//! Errors of publishing.

use std::{error::Error, fmt};

use crate::{
    event::EncodeError,
    store::{StoreError, StoreErrorKind},
};

/// What an error of publishing means to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The value cannot be encoded as an event. Nothing was stored.
    Encode,
    /// The event is larger than 1 MiB or than what the store takes. Nothing was stored.
    TooLarge,
    /// There was no event to publish. Nothing was stored.
    Empty,
    /// The store failed. Nothing was stored, and a later attempt may succeed.
    NotStored,
    /// The store gave no answer: the event may or may not be stored. Never retried by this crate.
    OutcomeUnknown,
}

/// The error of an event that was not published, or may not have been.
#[derive(Debug)]
pub struct PublishError {
    kind: PublishErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl PublishError {
    /// What the error means to the caller.
    #[must_use]
    pub const fn kind(&self) -> PublishErrorKind {
        self.kind
    }
}

impl From<PublishErrorKind> for PublishError {
    fn from(kind: PublishErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl From<EncodeError> for PublishError {
    fn from(error: EncodeError) -> Self {
        Self {
            kind: PublishErrorKind::Encode,
            source: Some(error.into()),
        }
    }
}

impl From<StoreError> for PublishError {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::OutcomeUnknown => PublishErrorKind::OutcomeUnknown,
            StoreErrorKind::TooLarge => PublishErrorKind::TooLarge,
            StoreErrorKind::Unavailable | StoreErrorKind::Damaged => PublishErrorKind::NotStored,
        };
        Self {
            kind,
            source: Some(error.into()),
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            PublishErrorKind::Encode => "event cannot be encoded",
            PublishErrorKind::TooLarge => "event is too large",
            PublishErrorKind::Empty => "there is no event to publish",
            PublishErrorKind::NotStored => "event was not stored",
            PublishErrorKind::OutcomeUnknown => "event may or may not be stored",
        })
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
