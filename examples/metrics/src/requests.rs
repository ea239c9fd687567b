//! Counting requests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many requests the service took; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<AtomicU64>);

impl Requests {
    /// Counts one request.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// All requests so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
