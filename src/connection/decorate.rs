//! What is added to the bytes of a stream.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;

use crate::wire::{LineScanner, retry_line};

/// A reconnection time in milliseconds; small, since each stream has one until its first event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry(NonZeroU32);

impl Retry {
    /// At least one millisecond: clients would come back without a pause.
    pub(super) fn new(time: Duration) -> Self {
        let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(millis).unwrap_or(NonZeroU32::MIN))
    }

    pub(super) fn time(self) -> Duration {
        Duration::from_millis(self.0.get().into())
    }
}

/// Puts the reconnection time in with the first event, and follows where lines start.
pub(super) fn decorate(
    mut chunk: Bytes,
    scanner: Option<&mut LineScanner>,
    retry: &mut Option<Retry>,
) -> Bytes {
    let Some(scanner) = scanner else {
        return match retry.take() {
            Some(retry) => [&retry_line(retry.time()), &*chunk].concat().into(),
            None => chunk,
        };
    };
    let held = scanner.strip_bom(&mut chunk);
    if !held.is_empty() {
        chunk = [held, &chunk].concat().into();
    }
    let Some(own) = *retry else {
        scanner.follow(&chunk);
        return chunk;
    };
    let Some(at) = scanner.follow_to_event(&chunk) else {
        return chunk;
    };
    *retry = None;
    let (before, after) = chunk.split_at(at);
    scanner.follow(after);
    match scanner.retry_seen() {
        true => chunk,
        false => [before, &retry_line(own.time()), after].concat().into(),
    }
}
