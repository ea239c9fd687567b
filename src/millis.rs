//! Times in milliseconds.

use std::time::Duration;
#[cfg(any(
    feature = "file",
    feature = "nats",
    feature = "postgres",
    feature = "redis",
    feature = "tickets"
))]
use std::time::{SystemTime, UNIX_EPOCH};

/// Rounds up, so that nothing goes before its time.
pub(crate) fn millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// Rounds down. What is before 1970 is 0.
#[cfg(any(feature = "file", feature = "nats", feature = "tickets"))]
pub(crate) fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time of so many milliseconds since 1970, where the clock can tell it.
#[cfg(any(
    feature = "file",
    feature = "nats",
    feature = "postgres",
    feature = "redis",
    feature = "tickets"
))]
pub(crate) fn from_unix_millis(millis: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}
