//! What one process knows of a topic that somebody follows.

use std::{num::NonZeroUsize, task::Waker};

use bytes::Bytes;

use super::{
    feeds::Feeds,
    frame::Frame,
    window::{Place, Window},
};
use crate::{
    store::{Page, Position},
    sync::{Arc, Mutex, MutexGuard, Weak, lock},
    topic_name::TopicName,
};

/// The window of a topic, and those who wait at its end.
///
/// It goes with its last follower. Its lock is never held across an await, nor while a waker runs.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) topic: TopicName,
    feeds: Weak<Feeds>,
    window_events: NonZeroUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` until the reader has learned where the log ends.
    window: Option<Window>,
    reading: Reading,
    /// Whether the store has not answered for so long that followers give up.
    unavailable: bool,
    slots: Slots,
}

/// What the reader does about the topic. A wake-up while it reads makes it read once more, so that
/// none is lost between its read and its going to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Resting,
    Queued,
    Busy,
    BusyAgain,
}

/// One place for a waker per follower.
#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// The slots that have a waker, so that waking visits no other.
    armed: Vec<usize>,
}

#[derive(Debug, Default)]
struct Slot {
    waker: Option<Waker>,
    /// Where `armed` has this slot, if it has a waker.
    armed_at: usize,
}

/// The answer to a follower at the window.
#[derive(Debug)]
pub(super) enum Polled {
    Joined(Bytes, Position),
    Frames(Vec<Frame>, Position),
    /// Nothing is there yet, and the waker will be woken.
    AtEnd {
        unavailable: bool,
        /// Whether the cursor has come further than the window.
        beyond: bool,
    },
    /// What follows the cursor has to be read from the store.
    Elsewhere,
    /// The reader has not yet learned where the log ends; the waker will be woken.
    NotYet {
        unavailable: bool,
    },
}

impl Feed {
    pub(super) fn new(topic: TopicName, feeds: &Arc<Feeds>) -> Self {
        Self {
            topic,
            feeds: Arc::downgrade(feeds),
            window_events: feeds.window_events(),
            state: Mutex::new(State {
                window: None,
                reading: Reading::Resting,
                unavailable: false,
                slots: Slots::default(),
            }),
        }
    }

    /// Begins to follow.
    pub(super) fn listen(self: Arc<Self>) -> Listener {
        let slot = lock(&self.state).slots.add();
        Listener { feed: self, slot }
    }

    /// The position up to which the topic was read, if it was.
    pub(super) fn tail(&self) -> Option<Position> {
        lock(&self.state).window.as_ref().map(Window::tail)
    }

    /// Notes that something may have been appended. True if the reader is to be told.
    pub(super) fn note_append(&self) -> bool {
        let mut state = lock(&self.state);
        let (next, tell) = match state.reading {
            Reading::Resting => (Reading::Queued, true),
            Reading::Queued => (Reading::Queued, false),
            Reading::Busy | Reading::BusyAgain => (Reading::BusyAgain, false),
        };
        state.reading = next;
        tell
    }

    /// Forgets a read whose reader has ended.
    pub(super) fn requeue(&self) {
        lock(&self.state).reading = Reading::Queued;
    }

    pub(super) fn begin_read(&self) {
        lock(&self.state).reading = Reading::Busy;
    }

    /// Ends a read. True if there was a wake-up meanwhile, and the topic is queued again.
    pub(super) fn end_read(&self) -> bool {
        let mut state = lock(&self.state);
        let again = state.reading == Reading::BusyAgain;
        state.reading = if again {
            Reading::Queued
        } else {
            Reading::Resting
        };
        again
    }

    /// Takes what the reader has read.
    pub(super) fn push(&self, page: &Page) {
        self.change(|state| match &mut state.window {
            Some(window) => window.push(page),
            None => state.window = Some(Window::new(page.start, self.window_events)),
        });
    }

    /// Begins anew at `head`: what follows the old tail cannot be read any more.
    pub(super) fn reset(&self, head: Position) {
        self.change(|state| match &mut state.window {
            Some(window) => window.reset(head),
            None => state.window = Some(Window::new(head, self.window_events)),
        });
    }

    /// Notes that the store answers again.
    pub(super) fn recover(&self) {
        lock(&self.state).unavailable = false;
    }

    /// Notes that the store has not answered for too long, so that followers end.
    pub(super) fn give_up(&self) {
        let mut state = lock(&self.state);
        state.unavailable = true;
        wake(state);
    }

    /// Wakes all followers without news.
    pub(super) fn stir(&self) {
        wake(lock(&self.state));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        state.unavailable = false;
        change(&mut state);
        wake(state);
    }
}

/// Wakes all who wait, after the lock is released: a waker may run anything, this feed included.
fn wake(mut state: MutexGuard<'_, State>) {
    let wakers = state.slots.take_armed();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(feeds) = self.feeds.upgrade() {
            feeds.forget(&self.topic);
        }
    }
}

impl Slots {
    fn add(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        })
    }

    fn remove(&mut self, slot: usize) -> Option<Waker> {
        self.free.push(slot);
        let Slot { waker, armed_at } = &mut self.slots[slot];
        let (waker, at) = (waker.take()?, *armed_at);
        self.armed.swap_remove(at);
        if let Some(&moved) = self.armed.get(at) {
            self.slots[moved].armed_at = at;
        }
        Some(waker)
    }

    fn arm(&mut self, slot: usize, waker: &Waker) {
        let Slot {
            waker: armed,
            armed_at,
        } = &mut self.slots[slot];
        match armed {
            // Costs nothing where it is the same waker.
            Some(armed) => armed.clone_from(waker),
            None => {
                *armed = Some(waker.clone());
                *armed_at = self.armed.len();
                self.armed.push(slot);
            }
        }
    }

    fn take_armed(&mut self) -> Vec<Waker> {
        let Self { slots, armed, .. } = self;
        armed
            .drain(..)
            .filter_map(|slot| slots[slot].waker.take())
            .collect()
    }
}

/// What one follower has of a feed: its slot, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) feed: Arc<Feed>,
    slot: usize,
}

impl Listener {
    /// Takes what follows `cursor` from the window, or arranges for the waker to be woken.
    ///
    /// The look at the window and the arming of the slot are one critical section, and so are a push
    /// and the taking of the wakers: a push comes either before, and is seen, or after, and wakes.
    pub(super) fn poll(&self, cursor: Option<Position>, joined: bool, waker: &Waker) -> Polled {
        let mut state = lock(&self.feed.state);
        let State {
            window,
            slots,
            unavailable,
            ..
        } = &mut *state;
        let unavailable = *unavailable;
        let (Some(window), Some(cursor)) = (window, cursor) else {
            slots.arm(self.slot, waker);
            return Polled::NotYet { unavailable };
        };
        match window.place(cursor) {
            Place::AtEnd => {
                slots.arm(self.slot, waker);
                let beyond = cursor != window.tail();
                Polled::AtEnd {
                    unavailable,
                    beyond,
                }
            }
            Place::Elsewhere => Polled::Elsewhere,
            Place::Inside(first) if joined => {
                let (blocks, to) = window.join(first);
                Polled::Joined(blocks, to)
            }
            Place::Inside(first) => {
                let (frames, to) = window.chunk(first);
                Polled::Frames(frames.cloned().collect(), to)
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let waker = lock(&self.feed.state).slots.remove(self.slot);
        // Not under the lock: dropping a waker may run anything.
        drop(waker);
    }
}
