//! What went wrong with Postgres, and what that means for what was to be stored.

use std::error::Error;

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::store::{StoreError, StoreErrorKind};

/// Why a statement has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent.
    NotSent(Box<dyn Error + Send + Sync>),
    /// Something may have been sent, and this came of it.
    Sent(tokio_postgres::Error),
    /// Something was sent, and nothing came of it in time.
    Late,
}

impl Failure {
    /// Whether Postgres has told that the statement was undone.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Late => false,
            Self::Sent(error) => error.as_db_error().is_some_and(is_undone),
        }
    }

    /// The error of an append, which may have reached Postgres without an answer.
    pub(super) fn of_append(self) -> StoreError {
        let is_certain = self.is_refusal() || matches!(self, Self::NotSent(_));
        let kind = match is_certain {
            true => self.kind_of_refusal(),
            false => StoreErrorKind::OutcomeUnknown,
        };
        self.into_error(kind)
    }

    /// The error of everything else, where no answer means that nothing was done that matters.
    pub(super) fn of_read(self) -> StoreError {
        let kind = self.kind_of_refusal();
        self.into_error(kind)
    }

    fn kind_of_refusal(&self) -> StoreErrorKind {
        let code = match self {
            Self::Sent(error) => error.code(),
            _ => None,
        };
        match code {
            Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) => StoreErrorKind::TooLarge,
            // The tables are not those that the store has made.
            Some(
                &SqlState::DATA_CORRUPTED
                | &SqlState::INDEX_CORRUPTED
                | &SqlState::UNDEFINED_COLUMN
                | &SqlState::UNDEFINED_FUNCTION
                | &SqlState::DATATYPE_MISMATCH
                | &SqlState::UNIQUE_VIOLATION
                | &SqlState::NOT_NULL_VIOLATION
                | &SqlState::CHECK_VIOLATION
                | &SqlState::CARDINALITY_VIOLATION
                | &SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            ) => StoreErrorKind::Damaged,
            _ => StoreErrorKind::Unavailable,
        }
    }

    fn into_error(self, kind: StoreErrorKind) -> StoreError {
        match self {
            Self::NotSent(error) => StoreError::new(kind, error),
            Self::Sent(error) => StoreError::new(kind, error),
            Self::Late => StoreError::new(kind, "Postgres has not answered in time"),
        }
    }
}

/// An error undoes its statement. What ends the connection may come after the commit.
fn is_undone(error: &DbError) -> bool {
    let is_unclear = [
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
        SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
    ];
    matches!(error.parsed_severity(), Some(Severity::Error)) && !is_unclear.contains(error.code())
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::NotSent(error.into())
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sent(error)
    }
}
