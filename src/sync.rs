//! Locks and atomics, which a build with `--cfg shuttle` takes from a scheduler that tries out
//! interleavings.

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard, Weak, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, Weak, atomic};

use std::sync::PoisonError;

/// Locks `mutex`. A panic while it was held cannot leave its state half done, since all of the
/// crate's critical sections change their state in one piece.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
