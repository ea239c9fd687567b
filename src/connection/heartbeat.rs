//! A sign of life after a time of silence.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// One lazy timer for a connection: made at its first silence and never touched when something is
    /// sent. When it fires it is set to where the silence ends, if that is later.
    #[derive(Debug)]
    pub(super) struct Heartbeat {
        after: Option<Duration>,
        last: Option<Instant>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl Heartbeat {
    pub(super) fn new(after: Option<Duration>) -> Self {
        Self {
            after: after.map(|after| after.max(Duration::from_millis(1))),
            last: None,
            timer: None,
        }
    }

    /// Notes that something is sent.
    pub(super) fn sent(self: Pin<&mut Self>) {
        let this = self.project();
        if this.after.is_some() {
            *this.last = Some(Instant::now());
        }
    }

    /// Ready when nothing was sent for the whole time; then it begins anew.
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        // Times beyond what a clock can hold never come.
        let due = |last: Instant| this.after.and_then(|after| last.checked_add(after));
        let Some(mut at) = due(*this.last.get_or_insert_with(Instant::now)) else {
            return Poll::Pending;
        };
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(at)));
        }
        let Some(mut timer) = this.timer.as_pin_mut() else {
            return Poll::Pending;
        };
        let mut silence = Poll::Pending;
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if at <= now {
                *this.last = Some(now);
                silence = Poll::Ready(());
                match due(now) {
                    Some(next) => at = next,
                    None => break,
                }
            }
            timer.as_mut().reset(at);
        }
        silence
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sending_does_not_touch_the_timer() {
        let second = Duration::from_secs(1);
        let mut heartbeat = Box::pin(Heartbeat::new(Some(15 * second)));
        let cx = &mut Context::from_waker(Waker::noop());
        let deadline = |heartbeat: &Heartbeat| heartbeat.timer.as_ref().map(Sleep::deadline);

        heartbeat.as_mut().sent();
        assert_eq!(deadline(&heartbeat), None, "made at the first silence");
        let begun = Instant::now();
        for _ in 0..14 {
            assert!(heartbeat.as_mut().poll(cx).is_pending());
            tokio::time::advance(second).await;
            heartbeat.as_mut().sent();
            assert_eq!(deadline(&heartbeat), Some(begun + 15 * second));
        }
        tokio::time::advance(second).await;
        assert!(
            heartbeat.as_mut().poll(cx).is_pending(),
            "14 s of 15 are left"
        );
        assert_eq!(deadline(&heartbeat), Some(begun + 29 * second));
        tokio::time::advance(14 * second).await;
        assert!(heartbeat.as_mut().poll(cx).is_ready());
        assert!(
            heartbeat.as_mut().poll(cx).is_pending(),
            "one, however long it took"
        );
    }
}
