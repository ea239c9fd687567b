//! Wall time that does not go back.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use crate::millis::unix_millis;

/// Milliseconds of Unix time, the latest that were ever seen.
///
/// It begins with the latest time in the file, so that no record that was past its age comes back.
pub(super) struct Clock(AtomicU64);

impl Clock {
    pub(super) const fn new(latest: u64) -> Self {
        Self(AtomicU64::new(latest))
    }

    pub(super) fn now(&self) -> u64 {
        let now = unix_millis(SystemTime::now());
        self.0.fetch_max(now, Ordering::Relaxed).max(now)
    }
}
