//! A state that one polls while others call.

use std::sync::TryLockError;

use crate::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering, fence},
    lock,
};

/// A state behind a lock for which no caller waits.
///
/// Who polls a stream holds the lock while it runs code of users. A clock that calls meanwhile must not
/// wait for that, so it leaves word and goes. No call is lost: a caller leaves word and then tries the
/// lock, and who holds the lock lets go of it and then looks for word. With a fence between the two
/// steps of each, one of them sees what the other did.
#[derive(Debug)]
pub(super) struct Attended<T> {
    state: Mutex<T>,
    called: AtomicBool,
}

impl<T> Attended<T> {
    pub(super) fn new(state: T) -> Self {
        Self {
            state: Mutex::new(state),
            called: AtomicBool::new(false),
        }
    }

    /// Runs `work`, and then `answer` for a call that has come meanwhile. It returns what is to be done
    /// once the lock is released.
    pub(super) fn with<R, F: FnOnce()>(
        &self,
        work: impl FnOnce(&mut T) -> R,
        answer: impl FnMut(&mut T) -> F,
    ) -> R {
        let done = work(&mut lock(&self.state));
        self.look(answer);
        done
    }

    /// Runs `answer`, or has whoever holds the state run it next.
    pub(super) fn call<F: FnOnce()>(&self, answer: impl FnMut(&mut T) -> F) {
        self.called.store(true, Ordering::Relaxed);
        self.look(answer);
    }

    fn look<F: FnOnce()>(&self, mut answer: impl FnMut(&mut T) -> F) {
        loop {
            fence(Ordering::SeqCst);
            if !self.called.load(Ordering::Relaxed) {
                return;
            }
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            // Taken before the answer, which so sees all that was there when it was left.
            let called = self.called.swap(false, Ordering::AcqRel);
            let left = called.then(|| answer(&mut state));
            drop(state);
            // Not under the lock: it may run anything.
            if let Some(left) = left {
                left();
            }
        }
    }
}

#[cfg(all(test, shuttle))]
mod tests {
    use shuttle::thread;

    use super::*;
    use crate::sync::{Arc, atomic::AtomicUsize};

    #[test]
    fn every_call_is_answered_after_it_was_made() {
        let story = || {
            let attended = Arc::new(Attended::new(0));
            let made = Arc::new(AtomicUsize::new(0));
            let callers = [(); 2].map(|()| {
                let (attended, made) = (Arc::clone(&attended), Arc::clone(&made));
                thread::spawn(move || {
                    for _ in 0..2 {
                        made.fetch_add(1, Ordering::SeqCst);
                        attended.call(|seen| {
                            *seen = made.load(Ordering::SeqCst);
                            || ()
                        });
                    }
                })
            });
            for _ in 0..3 {
                let answer = |seen: &mut usize| {
                    *seen = made.load(Ordering::SeqCst);
                    || ()
                };
                attended.with(|_| thread::yield_now(), answer);
            }
            for caller in callers {
                caller.join().unwrap();
            }
            assert_eq!(
                *lock(&attended.state),
                4,
                "the last call was seen by an answer"
            );
        };
        shuttle::check_random(story, 5_000);
        shuttle::check_pct(story, 5_000, 3);
    }
}
