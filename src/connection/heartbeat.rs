//! A sign of life after a time of silence.

use std::{
    num::NonZeroU64,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::ticker::Alarm;
use crate::millis::millis;

/// An alarm for a connection: set at its first silence, and not touched when something is sent. When
/// it goes off it is set to where the silence ends, if that is later.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// In milliseconds.
    after: Option<NonZeroU64>,
    last: Instant,
    alarm: Option<Alarm>,
}

impl Heartbeat {
    pub(super) fn new(after: Option<Duration>) -> Self {
        let after = after.map(millis);
        Self {
            after: after.map(|after| NonZeroU64::new(after).unwrap_or(NonZeroU64::MIN)),
            last: Instant::now(),
            alarm: None,
        }
    }

    /// Notes that something is sent.
    pub(super) fn sent(&mut self) {
        if self.after.is_some() {
            self.last = Instant::now();
        }
    }

    /// Ready when nothing was sent for the whole time; then it begins anew.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_set = |alarm: &Alarm| alarm.is_set(cx.waker());
        if self.after.is_none() || self.alarm.as_ref().is_some_and(is_set) {
            return Poll::Pending;
        }
        let now = Instant::now();
        match self.due() {
            Some(at) if at <= now => {
                self.last = now;
                Poll::Ready(())
            }
            due => {
                self.alarm = due.map(|at| Alarm::set(at, cx.waker()));
                Poll::Pending
            }
        }
    }

    /// When the silence has lasted; a time beyond what a clock can hold never comes.
    fn due(&self) -> Option<Instant> {
        let after = Duration::from_millis(self.after?.get());
        self.last.checked_add(after)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::task::Waker;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sending_does_not_touch_the_alarm() {
        let second = Duration::from_secs(1);
        let mut heartbeat = Heartbeat::new(Some(15 * second));
        let cx = &mut Context::from_waker(Waker::noop());

        heartbeat.sent();
        assert!(heartbeat.alarm.is_none(), "set at the first silence");
        assert!(heartbeat.poll(cx).is_pending());
        let at = |heartbeat: &Heartbeat| heartbeat.alarm.as_ref().map(|alarm| alarm.at);
        let first = at(&heartbeat);
        for _ in 0..14 {
            // Meanwhile the ticker can run.
            sleep(second).await;
            heartbeat.sent();
            assert!(heartbeat.poll(cx).is_pending());
            assert_eq!(at(&heartbeat), first);
        }
        sleep(2 * second).await;
        assert!(heartbeat.poll(cx).is_pending(), "12 s of 15 are left");
        assert_eq!(at(&heartbeat), first.map(|at| at + 14_000));
        sleep(14 * second).await;
        assert!(heartbeat.poll(cx).is_ready());
        assert!(heartbeat.poll(cx).is_pending(), "one, however long it took");
    }
}
