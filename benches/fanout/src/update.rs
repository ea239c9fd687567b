//! The event that all servers send.

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// About 140 bytes of JSON, which is some 150 as an event with its id.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Update {
    pub(crate) seq: u64,
    /// When it was published.
    at: u64,
    host: &'static str,
    cpu: f64,
    memory: u64,
    requests: u32,
    state: &'static str,
}

impl Update {
    /// Makes the update with this number, stamped with the time.
    pub(crate) fn now(seq: u64) -> Self {
        // Fibonacci hashing: other values in each event, and the same in each server.
        let noise = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let [a, b, ..] = noise.to_be_bytes();
        Self {
            seq,
            at: monotonic(),
            host: "web-3.example.org",
            cpu: f64::from(a) / 2.56,
            memory: 4_831_838_208 + (noise >> 40),
            requests: 1_000_000 + 1_000 * u32::from(b),
            state: "degraded",
        }
    }
}

/// Nanoseconds of a clock that all processes share.
pub(crate) fn monotonic() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds of CPU that the calling thread has used.
pub(crate) fn thread_cpu() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let part = |part| u64::try_from(part).expect("these clocks begin at zero");
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}
