//! The clock that all connections of a runtime share.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
    task::Waker,
    time::Duration,
};

use slab::Slab;
use tokio::{
    runtime::{self, Handle},
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
        lock,
    },
    waker_id::WakerId,
};

/// One task and one timer for all alarms of a runtime, in place of a timer for each.
///
/// It lives as long as somebody has an alarm, and ends with its runtime; then it wakes everybody, so
/// that who is polled on another runtime sets the alarm there.
#[derive(Debug)]
struct Ticker {
    runtime: runtime::Id,
    birth: Instant,
    /// All alarms up to this time, in milliseconds since the birth, have gone off; `u64::MAX` when
    /// the ticker has ended. Changes under the lock of the alarms only.
    gone_off: AtomicU64,
    alarms: Mutex<Alarms>,
    changed: std::sync::Arc<Notify>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Debug, Default)]
struct Alarms {
    wakers: Slab<Waker>,
    /// When which of them is to be woken, in milliseconds since the birth.
    times: BTreeSet<(u64, usize)>,
}

static TICKERS: LazyLock<Mutex<HashMap<runtime::Id, Weak<Ticker>>>> = LazyLock::new(Mutex::default);

impl Ticker {
    /// Returns the ticker of the runtime of the caller.
    fn current() -> Arc<Self> {
        let handle = Handle::current();
        let mut tickers = lock(&TICKERS);
        if let Some(ticker) = tickers.get(&handle.id()).and_then(Weak::upgrade) {
            return ticker;
        }
        let ticker = Arc::new(Self {
            runtime: handle.id(),
            birth: Instant::now(),
            gone_off: AtomicU64::new(0),
            alarms: Mutex::default(),
            changed: std::sync::Arc::default(),
            task: Mutex::default(),
        });
        tickers.insert(handle.id(), Arc::downgrade(&ticker));
        drop(tickers);
        let ended = Ended(Arc::downgrade(&ticker));
        let changed = std::sync::Arc::clone(&ticker.changed);
        let task = handle.spawn(async move { run(&ended.0, &changed).await });
        *lock(&ticker.task) = Some(task.abort_handle());
        ticker
    }

    /// The first millisecond that is not before `at`.
    fn millis(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.birth);
        // The largest number says that the ticker has ended.
        u64::try_from(after.as_nanos().div_ceil(1_000_000))
            .map_or(u64::MAX - 1, |millis| millis.clamp(1, u64::MAX - 1))
    }

    /// When the next alarm goes off.
    fn next(&self) -> Option<Instant> {
        let (millis, _) = *lock(&self.alarms).times.first()?;
        self.birth.checked_add(Duration::from_millis(millis))
    }

    /// Wakes all whose time has come, in whole milliseconds.
    fn go_off(&self, millis: u64) {
        let mut wakers = Vec::new();
        {
            let mut alarms = lock(&self.alarms);
            self.gone_off.fetch_max(millis, Ordering::Release);
            while let Some(&(at, key)) = alarms.times.first()
                && at <= millis
            {
                alarms.times.pop_first();
                wakers.extend(alarms.wakers.get(key).cloned());
            }
        }
        // Not under the lock: a waker may run anything.
        wakers.into_iter().for_each(Waker::wake);
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
                    ticker.go_off(u64::try_from(age).unwrap_or(u64::MAX - 1));
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
            ticker.go_off(u64::MAX);
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
pub(super) struct Alarm {
    ticker: Arc<Ticker>,
    key: usize,
    pub(super) at: u64,
    waker: WakerId,
}

impl Alarm {
    /// Sets an alarm on the runtime of the caller. It goes off at `at` or up to a millisecond later.
    pub(super) fn set(at: Instant, waker: &Waker) -> Self {
        let ticker = Ticker::current();
        let at = ticker.millis(at);
        let mut alarms = lock(&ticker.alarms);
        let is_next = alarms.times.first().is_none_or(|(first, _)| at < *first);
        let key = alarms.wakers.insert(waker.clone());
        alarms.times.insert((at, key));
        drop(alarms);
        if is_next {
            ticker.changed.notify_one();
        }
        Self {
            ticker,
            key,
            at,
            waker: WakerId::of(waker),
        }
    }

    /// Whether this waker is still to be woken.
    ///
    /// Takes no lock. Where the alarm has not gone off by what is seen here, it does so later, in a
    /// critical section that takes the waker that is there, which is this one.
    pub(super) fn is_set(&self, waker: &Waker) -> bool {
        self.ticker.gone_off.load(Ordering::Acquire) < self.at && self.waker == WakerId::of(waker)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut alarms = lock(&self.ticker.alarms);
        alarms.times.remove(&(self.at, self.key));
        let waker = alarms.wakers.try_remove(self.key);
        drop(alarms);
        // Not under the lock: dropping a waker may run anything.
        drop(waker);
    }
}
