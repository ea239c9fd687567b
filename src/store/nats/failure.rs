//! What went wrong with NATS, and what that means for what was to be stored.

use std::error::Error;

use async_nats::jetstream::{self, ErrorCode};

use crate::store::{StoreError, StoreErrorKind, error::unavailable};

/// Why a request has no answer that helps.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent, or nobody was there to take it.
    NotSent(Box<dyn Error + Send + Sync>),
    /// It was sent, and what became of it is not known.
    Lost(Box<dyn Error + Send + Sync>),
    /// The server has refused it.
    Refused(jetstream::Error),
    /// The last message of the subject is another.
    Outrun,
    /// It is larger than the server takes.
    TooLarge(Box<dyn Error + Send + Sync>),
    /// There is no such stream.
    NoStream,
    /// It is there, and not as it should be.
    Store(StoreError),
}

impl Failure {
    pub(super) fn refused(error: jetstream::Error) -> Self {
        match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => Self::NoStream,
            ErrorCode::STREAM_WRONG_LAST_SEQUENCE
            | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Self::Outrun,
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
            | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => Self::TooLarge(error.into()),
            _ => Self::Refused(error),
        }
    }

    /// The error of an append, which may have reached the server without an answer.
    pub(super) fn of_append(self) -> StoreError {
        match self {
            Self::Lost(error) => StoreError::new(StoreErrorKind::OutcomeUnknown, error),
            other => other.of_read(),
        }
    }

    /// The error of everything else, where no answer means that nothing was done that matters.
    pub(super) fn of_read(self) -> StoreError {
        match self {
            Self::NotSent(error) | Self::Lost(error) => unavailable(error),
            Self::Refused(error) => unavailable(error),
            Self::TooLarge(error) => StoreError::new(StoreErrorKind::TooLarge, error),
            Self::Outrun => unavailable("others append to the topic all the time"),
            Self::NoStream => unavailable("the stream is gone"),
            Self::Store(error) => error,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
