//! What is sent without a record.

use std::collections::VecDeque;

use bytes::Bytes;

const MOST_BLOCKS: usize = 1024;
const MOST_BYTES: usize = 256 * 1024;

/// The blocks that not all who listen were sent. It has a limit at which the producer waits.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// How many blocks there were before these.
    before: u64,
    blocks: VecDeque<Bytes>,
    bytes: usize,
}

impl Tail {
    pub(super) fn push(&mut self, block: Bytes) {
        self.bytes += block.len();
        self.blocks.push_back(block);
    }

    /// The place of the first of the blocks.
    pub(super) const fn start(&self) -> u64 {
        self.before
    }

    /// All blocks from a place on, and how many they are.
    pub(super) fn after(&self, place: u64) -> (Bytes, u64) {
        let skipped = usize::try_from(place.saturating_sub(self.before)).unwrap_or(usize::MAX);
        let blocks = self.blocks.iter().skip(skipped);
        let count = self.blocks.len().saturating_sub(skipped);
        let joined: Vec<u8> = blocks.flatten().copied().collect();
        (joined.into(), count as u64)
    }

    /// Forgets what all were sent, where the slowest is at this place, and all where nobody listens.
    pub(super) fn trim(&mut self, slowest: Option<u64>) {
        while slowest.is_none_or(|slowest| self.before < slowest) {
            let Some(block) = self.blocks.pop_front() else {
                return;
            };
            self.bytes -= block.len();
            self.before += 1;
        }
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.blocks.len() >= MOST_BLOCKS || self.bytes >= MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_gets_all_blocks_once() {
        let mut tail = Tail::default();
        for block in ["a", "b", "c"] {
            tail.push(block.into());
        }
        assert_eq!(tail.after(0), ("abc".into(), 3));
        tail.trim(Some(2));
        assert_eq!((tail.start(), tail.bytes), (2, 1));
        assert_eq!(tail.after(2), ("c".into(), 1));
        assert_eq!(tail.after(3), (Bytes::new(), 0));
        tail.trim(None);
        tail.push("d".into());
        assert_eq!((tail.start(), tail.after(3)), (3, ("d".into(), 1)));
        assert!(!tail.is_too_long());
        tail.push(vec![b' '; MOST_BYTES].into());
        assert!(tail.is_too_long());
    }
}
