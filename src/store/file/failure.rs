//! What the engine's errors mean.

use std::io;

use crate::store::{StoreError, StoreErrorKind, error::unavailable};

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
