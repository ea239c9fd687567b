//! The clock that all connections of a runtime share.

mod alarms;
#[cfg(all(test, shuttle))]
mod interleavings;

use std::{collections::HashMap, sync::LazyLock, task::Waker, time::Duration};

use tokio::{
    runtime::{self, Handle},
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    millis::millis,
    sync::{Arc, Mutex, Weak, lock},
};
use alarms::Alarms;

/// One task and one timer for all alarms of a runtime, in place of a timer for each.
///
/// It lives as long as somebody has an alarm, and ends with its runtime; then it wakes everybody, so
/// that who is polled on another runtime sets the alarm there.
#[derive(Debug)]
pub(super) struct Ticker {
    runtime: runtime::Id,
    birth: Instant,
    /// In milliseconds since the birth.
    alarms: Alarms,
    changed: std::sync::Arc<Notify>,
    task: Mutex<Option<AbortHandle>>,
}

static TICKERS: LazyLock<Mutex<HashMap<runtime::Id, Weak<Ticker>>>> = LazyLock::new(Mutex::default);

impl Ticker {
    /// Returns the ticker of the runtime of the caller, if that is within one.
    pub(super) fn current() -> Option<Arc<Self>> {
        let handle = Handle::try_current().ok()?;
        let mut tickers = lock(&TICKERS);
        let ticker = tickers.get(&handle.id()).and_then(Weak::upgrade);
        if ticker.is_some() {
            return ticker;
        }
        let ticker = Arc::new(Self {
            runtime: handle.id(),
            birth: Instant::now(),
            alarms: Alarms::default(),
            changed: std::sync::Arc::default(),
            task: Mutex::default(),
        });
        tickers.insert(handle.id(), Arc::downgrade(&ticker));
        drop(tickers);
        let ended = Ended(Arc::downgrade(&ticker));
        let changed = std::sync::Arc::clone(&ticker.changed);
        let task = handle.spawn(async move { run(&ended.0, &changed).await });
        *lock(&ticker.task) = Some(task.abort_handle());
        Some(ticker)
    }

    /// Sets an alarm. It goes off at `at` or up to a millisecond later.
    pub(super) fn set(self: &Arc<Self>, at: Instant, waker: &Waker) -> Alarm {
        let at = self.millis(at);
        let (key, is_next) = self.alarms.set(at, waker);
        if is_next {
            self.changed.notify_one();
        }
        if self.has_ended() {
            // Maybe just now, after it woke those that it knew of.
            waker.wake_by_ref();
        }
        Alarm {
            ticker: Arc::clone(self),
            key,
            at,
        }
    }

    /// Whether its runtime is gone. Then no alarm goes off any more.
    pub(super) fn has_ended(&self) -> bool {
        self.alarms.has_gone_off(Alarms::LAST)
    }

    /// The first millisecond that is not before `at`.
    fn millis(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.birth)).clamp(1, Alarms::LAST)
    }

    /// When the next alarm goes off.
    fn next(&self) -> Option<Instant> {
        let after = Duration::from_millis(self.alarms.next()?);
        self.birth.checked_add(after)
    }
}

async fn run(ticker: &Weak<Ticker>, changed: &Notify) {
    while let Some(next) = ticker.upgrade().map(|ticker| ticker.next()) {
        match next {
            None => changed.notified().await,
            Some(at) => tokio::select! {
                () = changed.notified() => {}
                () = sleep_until(at) => {
                    let Some(ticker) = ticker.upgrade() else { return };
                    let age = ticker.birth.elapsed().as_millis();
                    ticker.alarms.go_off(u64::try_from(age).unwrap_or(Alarms::LAST));
                }
            },
        }
    }
}

/// Notes that the task of a ticker has ended, and its runtime maybe with it.
struct Ended(Weak<Ticker>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(ticker) = self.0.upgrade() {
            let mut tickers = lock(&TICKERS);
            if tickers
                .get(&ticker.runtime)
                .is_some_and(|other| other.ptr_eq(&self.0))
            {
                tickers.remove(&ticker.runtime);
            }
            drop(tickers);
            ticker.alarms.end();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let mut tickers = lock(&TICKERS);
        if tickers
            .get(&self.runtime)
            .is_some_and(|other| other.strong_count() == 0)
        {
            tickers.remove(&self.runtime);
        }
        drop(tickers);
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// A waker that is woken at a time, unless this is dropped before.
#[derive(Debug)]
pub(crate) struct Alarm {
    ticker: Arc<Ticker>,
    key: usize,
    /// In milliseconds since the birth of the ticker.
    at: u64,
}

impl Alarm {
    /// Whether the waker is still to be woken, and by `due`. Takes no lock.
    pub(super) fn is_kept(&self, due: Instant) -> bool {
        self.at <= self.ticker.millis(due) && !self.ticker.alarms.has_gone_off(self.at)
    }

    pub(super) fn ticker(&self) -> &Arc<Ticker> {
        &self.ticker
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.ticker.alarms.remove(self.at, self.key);
    }
}
