//! What is added to the bytes of a stream.

use std::time::Duration;

use bytes::Bytes;

use crate::wire::{LineScanner, retry_line};

/// Puts the reconnection time in with the first event, and follows where lines start.
pub(super) fn decorate(
    mut chunk: Bytes,
    scanner: Option<&mut LineScanner>,
    retry: &mut Option<Duration>,
) -> Bytes {
    let Some(scanner) = scanner else {
        return match retry.take() {
            Some(retry) => [&retry_line(retry), &*chunk].concat().into(),
            None => chunk,
        };
    };
    let held = scanner.strip_bom(&mut chunk);
    if !held.is_empty() {
        chunk = [held, &chunk].concat().into();
    }
    let Some(time) = *retry else {
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
        false => [before, &retry_line(time), after].concat().into(),
    }
}
