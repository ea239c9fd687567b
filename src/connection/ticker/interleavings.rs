//! Alarms under a scheduler that tries out interleavings.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test --lib`. A wake-up that is lost shows as a deadlock.

use std::{future::poll_fn, task::Poll};

use shuttle::{future::block_on, thread};

use super::alarms::Alarms;
use crate::{sync::Arc, waker_id::WakerId};

/// Waits as a connection does: it looks again whenever it is polled, and sets the alarm again where it
/// went off early or is for another waker.
fn wait(alarms: &Alarms, times: &[u64]) {
    for &at in times {
        let mut set: Option<(usize, WakerId)> = None;
        block_on(poll_fn(|cx| {
            if alarms.has_gone_off(at) {
                return Poll::Ready(());
            }
            let id = WakerId::of(cx.waker());
            if set.is_none_or(|(_, armed)| armed != id) {
                if let Some((key, _)) = set.take() {
                    alarms.remove(at, key);
                }
                let (key, _) = alarms.set(at, cx.waker());
                set = Some((key, id));
                // It may have gone off between the look and the setting.
                if alarms.has_gone_off(at) {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        }));
        if let Some((key, _)) = set {
            alarms.remove(at, key);
        }
    }
}

#[test]
fn everybody_is_woken() {
    let story = || {
        let alarms = Arc::new(Alarms::default());
        let waiting = [&[1, 3][..], &[2], &[2, 3]].map(|times| {
            let alarms = Arc::clone(&alarms);
            thread::spawn(move || wait(&alarms, times))
        });
        for now in 1..=2 {
            alarms.go_off(now);
            thread::yield_now();
        }
        alarms.end();
        for thread in waiting {
            thread.join().unwrap();
        }
        assert_eq!(alarms.next(), None);
    };
    shuttle::check_random(story, 2_000);
    shuttle::check_pct(story, 1_000, 3);
}
