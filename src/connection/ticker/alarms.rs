//! Who is to be woken when.

use std::{collections::BTreeSet, error::Error, task::Waker};

use slab::Slab;

use crate::{
    connection::run_caught,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        lock,
    },
};

/// Alarms of a clock that its owner moves on.
///
/// An alarm is set, goes off and is removed in critical sections. That all alarms up to a time have gone
/// off is noted in the one that takes their wakers, before it takes them. So where [`has_gone_off`] says
/// no, the waker is still there, or is just being woken.
///
/// [`has_gone_off`]: Self::has_gone_off
#[derive(Debug, Default)]
pub(super) struct Alarms {
    gone_off: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    wakers: Slab<Waker>,
    times: BTreeSet<(u64, usize)>,
}

impl Alarms {
    /// The last time there is. After it, the clock has ended.
    pub(super) const LAST: u64 = u64::MAX - 1;

    /// Sets an alarm. Returns its key, and whether it is the next to go off.
    pub(super) fn set(&self, at: u64, waker: &Waker) -> (usize, bool) {
        let mut state = lock(&self.state);
        let is_next = state.times.first().is_none_or(|(first, _)| at < *first);
        let key = state.wakers.insert(waker.clone());
        state.times.insert((at, key));
        (key, is_next)
    }

    /// Removes an alarm, whether it has gone off or not.
    pub(super) fn remove(&self, at: u64, key: usize) {
        let mut state = lock(&self.state);
        state.times.remove(&(at, key));
        let waker = state.wakers.try_remove(key);
        drop(state);
        // Not under the lock: dropping a waker may run anything.
        drop(waker);
    }

    pub(super) fn has_gone_off(&self, at: u64) -> bool {
        at <= self.gone_off.load(Ordering::Acquire)
    }

    /// When the next alarm goes off.
    pub(super) fn next(&self) -> Option<u64> {
        let state = lock(&self.state);
        state.times.first().map(|(at, _)| *at)
    }

    /// Moves the clock on to `now`, and wakes all whose time has come.
    pub(super) fn go_off(&self, now: u64) {
        let mut wakers = Vec::new();
        {
            let mut state = lock(&self.state);
            self.gone_off.fetch_max(now, Ordering::Release);
            while let Some(&(at, key)) = state.times.first()
                && at <= now
            {
                state.times.pop_first();
                wakers.extend(state.wakers.get(key).cloned());
            }
        }
        // Not under the lock: a waker may run anything. Nor is it to stop the clock of all.
        for waker in wakers {
            if let Err(panic) = run_caught(|| waker.wake()) {
                let error = &panic as &dyn Error;
                tracing::error!(error, "what was called at its time panicked");
            }
        }
    }

    /// Wakes everybody, for the clock stands still from now on.
    pub(super) fn end(&self) {
        self.go_off(u64::MAX);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    /// Counts, unless it is to panic.
    struct Called(AtomicUsize, bool);

    impl Wake for Called {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            assert!(!self.1, "expected");
        }
    }

    #[test]
    fn who_panics_when_called_stops_nobody() {
        let alarms = Alarms::default();
        let called = [true, false].map(|panics| Arc::new(Called(AtomicUsize::new(0), panics)));
        for called in &called {
            alarms.set(1, &Waker::from(Arc::clone(called)));
        }
        alarms.go_off(1);
        let times = called.map(|called| called.0.load(Ordering::SeqCst));
        assert_eq!(times, [1, 1]);
    }
}
