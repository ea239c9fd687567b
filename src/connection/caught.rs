//! Code of users that panics.

use std::{
    any::Any,
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
};

use super::BoxError;

/// Runs what may panic, which is a failure of this stream and of no other.
///
/// What panicked must not be polled again.
pub(crate) fn caught<T>(
    poll: impl FnOnce() -> Poll<Option<Result<T, BoxError>>>,
) -> Poll<Option<Result<T, BoxError>>> {
    run_caught(poll).unwrap_or_else(|panic| Poll::Ready(Some(Err(panic.into()))))
}

/// Runs what may panic.
pub(crate) fn run_caught<R>(run: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Panicked::of(&*panic))
}

/// Drops what may panic at it.
pub(crate) fn drop_caught<T>(value: T) {
    if let Err(panic) = run_caught(|| drop(value)) {
        let error = &panic as &dyn Error;
        tracing::error!(error, "event stream could not be dropped");
    }
}

/// That code of users has panicked, and with which text.
#[derive(Debug)]
pub(crate) struct Panicked(String);

impl Panicked {
    fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("not a text").to_owned())
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.0)
    }
}

impl Error for Panicked {}
