//! What went wrong with Redis, and what that means for what was to be stored.

use std::{error::Error, fmt, io};

use redis::{ErrorKind, RedisError};

use crate::store::{StoreError, StoreErrorKind};

/// Why a command has no answer.
pub(super) enum Failure {
    /// Nothing was sent.
    NotSent(Box<dyn Error + Send + Sync>),
    /// Something may have been sent, and this came of it.
    Sent(RedisError),
}

impl Failure {
    pub(super) fn timeout() -> RedisError {
        io::Error::from(io::ErrorKind::TimedOut).into()
    }

    /// The code that Redis, or a function of ours, has put before its refusal.
    pub(super) fn code(&self) -> Option<String> {
        match self {
            Self::NotSent(_) => None,
            Self::Sent(error) => code(error),
        }
    }

    /// Whether Redis knows nothing of the function: it has lost the library, or never had it.
    pub(super) fn is_missing_function(&self) -> bool {
        matches!(self, Self::Sent(error) if says(error, "Function not found"))
    }

    pub(super) fn is_library_there(&self) -> bool {
        matches!(self, Self::Sent(error) if says(error, "already exists"))
    }

    /// The error of an append, which may have reached Redis without an answer.
    pub(super) fn of_append(self) -> StoreError {
        let kind = match &self {
            Self::NotSent(_) => StoreErrorKind::Unavailable,
            Self::Sent(error) => kind_of_append(error),
        };
        self.into_error(kind)
    }

    /// The error of everything else, where no answer means that nothing was done that matters.
    pub(super) fn of_read(self) -> StoreError {
        let kind = match self.code().as_deref() {
            Some("WRONGTYPE" | "DAMAGED") => StoreErrorKind::Damaged,
            _ => StoreErrorKind::Unavailable,
        };
        self.into_error(kind)
    }

    fn into_error(self, kind: StoreErrorKind) -> StoreError {
        match self {
            Self::NotSent(error) => StoreError::new(kind, error),
            Self::Sent(error) => StoreError::new(kind, Cause(error)),
        }
    }
}

/// A refusal means that nothing was stored: the function checks everything before it writes. What is
/// neither a refusal nor certain not to have been sent leaves it open.
fn kind_of_append(error: &RedisError) -> StoreErrorKind {
    let Some(code) = code(error) else {
        return match is_unsent(error) {
            true => StoreErrorKind::Unavailable,
            false => StoreErrorKind::OutcomeUnknown,
        };
    };
    match code.as_str() {
        "TOOLARGE" => StoreErrorKind::TooLarge,
        "DAMAGED" | "WRONGTYPE" => StoreErrorKind::Damaged,
        // The function itself failed, which it does not, but then nobody knows how far it came.
        _ if says(error, "@user_function") => StoreErrorKind::OutcomeUnknown,
        _ => StoreErrorKind::Unavailable,
    }
}

fn is_unsent(error: &RedisError) -> bool {
    error.is_connection_refusal()
        || matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::InvalidClientConfig
                | ErrorKind::MasterNameNotFoundBySentinel
                | ErrorKind::EmptySentinelList
        )
}

/// Whether it is better to connect anew than to leave it to the connection.
pub(super) fn is_of_connection(error: &RedisError, of_sentinel: bool) -> bool {
    if error.is_timeout() || (of_sentinel && error.is_io_error()) {
        return true;
    }
    match code(error).as_deref() {
        Some("READONLY" | "MASTERDOWN" | "LOADING" | "NOAUTH" | "WRONGPASS") => true,
        Some(_) => says(error, "max number of clients"),
        None => !error.is_io_error(),
    }
}

fn code(error: &RedisError) -> Option<String> {
    if let Some(code) = error.code() {
        return Some(code.to_owned());
    }
    // Where one of several commands was refused.
    let errors = error.clone().into_server_errors()?;
    errors.first().map(|(_, error)| error.code().to_owned())
}

fn says(error: &RedisError, what: &str) -> bool {
    error.to_string().contains(what)
}

/// An error of the client crate. It says itself what its source says, so it passes that over.
#[derive(Debug)]
pub(super) struct Cause(pub(super) RedisError);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()?.source()
    }
}
