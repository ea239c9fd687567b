//! How far a producer is ahead of those who listen.

use std::collections::VecDeque;

use crate::store::Retention;

/// What a log is taken to hold where its store does not say.
const UNKNOWN: Retention = Retention {
    events: Some(1024),
    bytes: Some(1024 * 1024),
};

/// What was appended and not sent to the slowest of those who listen here.
///
/// A producer waits when this is half of what the log retains, so that nobody who listens here loses
/// anything; and since it has a limit, it is small.
#[derive(Debug)]
pub(super) struct Ahead {
    appended: VecDeque<(u64, usize)>,
    bytes: usize,
    most_events: usize,
    most_bytes: usize,
}

impl Ahead {
    pub(super) fn new(retention: Option<Retention>) -> Self {
        let retention = retention.unwrap_or(UNKNOWN);
        let half = |most: Option<u64>| {
            let half = usize::try_from(most.unwrap_or(u64::MAX) / 2);
            half.unwrap_or(usize::MAX).max(1)
        };
        Self {
            appended: VecDeque::new(),
            bytes: 0,
            most_events: half(retention.events).min(4096),
            most_bytes: half(retention.bytes),
        }
    }

    /// Notes an event of this size, the last at this offset.
    pub(super) fn append(&mut self, offset: u64, size: usize) {
        self.appended.push_back((offset, size));
        self.bytes += size;
    }

    /// Forgets what all were sent, where the slowest is at `slowest`, and all where nobody listens.
    pub(super) fn trim(&mut self, slowest: Option<u64>) {
        let slowest = slowest.unwrap_or(u64::MAX);
        while let Some((offset, size)) = self.appended.front().copied()
            && offset <= slowest
        {
            self.appended.pop_front();
            self.bytes -= size;
        }
    }

    pub(super) fn is_too_far(&self) -> bool {
        self.appended.len() >= self.most_events || self.bytes >= self.most_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_waits_at_half_of_what_the_log_retains() {
        let retention = |events, bytes| Some(Retention { events, bytes });
        let mut ahead = Ahead::new(retention(Some(8), Some(100)));
        for offset in 1..=3 {
            ahead.append(offset, 1);
            assert!(!ahead.is_too_far());
        }
        ahead.append(4, 1);
        assert!(ahead.is_too_far());
        ahead.trim(Some(1));
        assert!(!ahead.is_too_far());
        ahead.append(5, 47);
        assert!(ahead.is_too_far());
        ahead.trim(None);
        assert!(!ahead.is_too_far());
        assert_eq!(ahead.bytes, 0);
        // Of a log that retains one event, one may be on its way.
        let mut ahead = Ahead::new(retention(Some(1), None));
        assert!(!ahead.is_too_far());
        ahead.append(1, 1);
        assert!(ahead.is_too_far());
    }
}
