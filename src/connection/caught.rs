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
    catch_unwind(AssertUnwindSafe(poll))
        .unwrap_or_else(|panic| Poll::Ready(Some(Err(Panicked::of(&*panic).into()))))
}

/// Runs what may panic, and has nothing to do with whether the stream goes on.
pub(super) fn run_caught(run: impl FnOnce()) -> Result<(), Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Panicked::of(&*panic))
}

/// Drops what may panic at it.
pub(super) fn drop_caught<T>(value: T) {
    if let Err(panic) = run_caught(|| drop(value)) {
        let error = &panic as &dyn Error;
        tracing::error!(error, "event stream could not be dropped");
    }
}

#[derive(Debug)]
pub(super) struct Panicked(String);

impl Panicked {
    fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("not a text").to_owned())
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stream panicked: {}", self.0)
    }
}

impl Error for Panicked {}
