//! What the engine's errors mean.

use std::{error::Error, io};

use crate::store::{StoreError, StoreErrorKind};

pub(super) fn damaged(cause: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, cause)
}

pub(super) fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, cause)
}

/// The error of an operation that stored nothing.
pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    let kind = match &error {
        redb::Error::Io(io) => match io.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => StoreErrorKind::Damaged,
            _ => StoreErrorKind::Unavailable,
        },
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_) => StoreErrorKind::Damaged,
        redb::Error::DatabaseAlreadyOpen => {
            return unavailable("the file is open already, in this process or another");
        }
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, error)
}
