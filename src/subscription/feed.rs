//! What one process knows of a topic that somebody follows.

mod slots;

use std::{num::NonZeroUsize, task::Waker, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    feeds::Feeds,
    frame::Frame,
    slow::SlowClient,
    window::{Place, Window},
};
use crate::{
    store::{Page, Position},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        lock,
    },
    topic_name::TopicName,
    waker_id::WakerId,
};
use slots::Slots;

/// The window of a topic, and those who wait at its end.
///
/// It goes with its last follower. Its locks are never held across an await, nor while a waker runs.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) topic: TopicName,
    pub(super) feeds: Arc<Feeds>,
    window_events: NonZeroUsize,
    /// For how long events wait to be sent together.
    flush_window: Duration,
    pub(super) slow_client: SlowClient,
    /// Apart from the window, so that who publishes does not wait for those who read.
    reading: Mutex<Reading>,
    /// How often all who wait were woken; changes under the lock of the state only.
    rounds: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` until the reader has learned where the log ends.
    window: Option<Window>,
    /// When events were pushed last, where they wait to be sent together.
    flushed: Option<Instant>,
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

/// The answer to a follower at the window.
#[derive(Debug)]
pub(super) enum Polled {
    /// Blocks of so many events.
    Joined(Bytes, usize, Position),
    Frames(Vec<Frame>, Position),
    /// Nothing is there yet, and the waker will be woken.
    AtEnd {
        unavailable: bool,
        /// Whether the cursor has come further than the window.
        beyond: bool,
    },
    /// What follows the cursor was here for a time. This is where the newest event is, and how many
    /// events there are before it, where that is known.
    Passed {
        newest: Position,
        missed: Option<u64>,
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
            flush_window: feeds.flush_window(&topic),
            slow_client: feeds.slow_client(&topic),
            topic,
            feeds: Arc::clone(feeds),
            window_events: feeds.window_events(),
            reading: Mutex::new(Reading::Resting),
            rounds: AtomicU64::new(1),
            state: Mutex::new(State {
                window: None,
                flushed: None,
                unavailable: false,
                slots: Slots::default(),
            }),
        }
    }

    /// Begins to follow.
    pub(super) fn listen(self: Arc<Self>) -> Listener {
        let slot = lock(&self.state).slots.add();
        Listener {
            feed: self,
            slot,
            armed: Armed::default(),
        }
    }

    /// The position up to which the topic was read, if it was.
    pub(super) fn tail(&self) -> Option<Position> {
        lock(&self.state).window.as_ref().map(Window::tail)
    }

    /// Notes that something may have been appended. True if the reader is to be told.
    pub(super) fn note_append(&self) -> bool {
        let mut reading = lock(&self.reading);
        let (next, tell) = match *reading {
            Reading::Resting => (Reading::Queued, true),
            Reading::Queued => (Reading::Queued, false),
            Reading::Busy | Reading::BusyAgain => (Reading::BusyAgain, false),
        };
        *reading = next;
        tell
    }

    /// Forgets a read whose reader has ended.
    pub(super) fn requeue(&self) {
        *lock(&self.reading) = Reading::Queued;
    }

    pub(super) fn begin_read(&self) {
        *lock(&self.reading) = Reading::Busy;
    }

    /// Ends a read. True if there was a wake-up meanwhile, and the topic is queued again.
    pub(super) fn end_read(&self) -> bool {
        let mut reading = lock(&self.reading);
        let again = *reading == Reading::BusyAgain;
        *reading = if again {
            Reading::Queued
        } else {
            Reading::Resting
        };
        again
    }

    /// Until when the reader waits for more to be sent together; the first event after a silence does
    /// not wait.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        let flushed = lock(&self.state).flushed?;
        flushed.checked_add(self.flush_window)
    }

    /// Takes what the reader has read.
    pub(super) fn push(&self, page: &Page) {
        let flushed = (!self.flush_window.is_zero()).then(Instant::now);
        let mut state = lock(&self.state);
        state.unavailable = false;
        state.flushed = flushed;
        match &mut state.window {
            Some(window) => window.push(page),
            None => state.window = Some(Window::new(page.start, self.window_events)),
        }
        state.slots.renew();
        self.wake_due(state);
    }

    /// Returns the waking since which something is held, if nobody watches over that yet.
    pub(super) fn watch_held(&self) -> Option<u32> {
        lock(&self.state).slots.watch()
    }

    /// Tells of what is held since a waking, whoever of it is still to be polled.
    pub(super) fn release(&self, waking: u32) {
        let state = lock(&self.state);
        if state.slots.are_behind_since(waking) {
            self.wake(state);
        }
    }

    /// Begins anew at `head`: what follows the old tail cannot be read any more.
    pub(super) fn reset(&self, head: Position) {
        let mut state = lock(&self.state);
        state.unavailable = false;
        match &mut state.window {
            Some(window) => window.reset(head),
            None => state.window = Some(Window::new(head, self.window_events)),
        }
        self.tell_all(state);
    }

    /// Notes that the store answers again.
    pub(super) fn recover(&self) {
        lock(&self.state).unavailable = false;
    }

    /// Notes that the store has not answered for too long, so that followers end.
    pub(super) fn give_up(&self) {
        let mut state = lock(&self.state);
        state.unavailable = true;
        self.tell_all(state);
    }

    /// Wakes all followers without news.
    pub(super) fn stir(&self) {
        self.tell_all(lock(&self.state));
    }

    /// Wakes all who wait, now, whatever they have seen.
    fn tell_all(&self, mut state: MutexGuard<'_, State>) {
        state.slots.renew();
        self.wake(state);
    }

    /// Wakes those who wait if there is something new, and its time has come.
    fn wake_due(&self, state: MutexGuard<'_, State>) {
        if state.slots.are_behind() && state.slots.are_served() {
            self.wake(state);
        }
    }

    /// Wakes those who have not seen everything, after the lock is released: a waker may run anything,
    /// this feed included.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        self.rounds.fetch_add(1, Ordering::Release);
        let wakers = state.slots.take_armed();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.feeds.forget(&self.topic);
    }
}

/// What one follower has of a feed: its slot, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) feed: Arc<Feed>,
    slot: u32,
    armed: Armed,
}

/// The waker that the slot was given last, and in which round.
#[derive(Clone, Copy, Debug, Default)]
struct Armed {
    round: u64,
    waker: WakerId,
}

impl Listener {
    /// Whether the slot is still armed with this waker, so that there is nothing new in the window.
    ///
    /// Takes no lock. The slot was armed in the critical section that found nothing; whatever comes
    /// later begins another round in the critical section that takes the wakers. So where the round is
    /// the same, the slot has its waker, and a round that begins after this look wakes it.
    pub(super) fn is_armed(&self, waker: &Waker) -> bool {
        self.feed.rounds.load(Ordering::Acquire) == self.armed.round
            && WakerId::of(waker) == self.armed.waker
    }

    /// Takes what follows `cursor` from the window, or arranges for the waker to be woken.
    ///
    /// The look at the window and the arming of the slot are one critical section, and so are a push
    /// and the taking of the wakers: a push comes either before, and is seen, or after, and wakes.
    pub(super) fn poll(&mut self, cursor: Option<Position>, joined: bool, waker: &Waker) -> Polled {
        let mut replaced = None;
        let mut state = lock(&self.feed.state);
        state.slots.serve(self.slot);
        let polled = state.look(cursor, joined);
        if let Polled::AtEnd { .. } | Polled::NotYet { .. } = polled {
            replaced = state.slots.arm(self.slot, waker);
            self.armed = Armed {
                round: self.feed.rounds.load(Ordering::Relaxed),
                waker: WakerId::of(waker),
            };
            state.drop_joins();
        }
        self.feed.wake_due(state);
        // Not under the lock: it may run anything.
        drop(replaced);
        polled
    }
}

impl State {
    /// What there is for a follower at `cursor`.
    fn look(&mut self, cursor: Option<Position>, joined: bool) -> Polled {
        let unavailable = self.unavailable;
        let (Some(window), Some(cursor)) = (&mut self.window, cursor) else {
            return Polled::NotYet { unavailable };
        };
        match window.place(cursor) {
            Place::AtEnd => Polled::AtEnd {
                unavailable,
                beyond: cursor != window.tail(),
            },
            Place::Passed => {
                let (newest, missed) = window.newest(cursor);
                Polled::Passed { newest, missed }
            }
            Place::Elsewhere => Polled::Elsewhere,
            Place::Inside(first) if joined => {
                let (blocks, events, to) = window.join(first);
                Polled::Joined(blocks, events, to)
            }
            Place::Inside(first) => {
                let (frames, to) = window.chunk(first);
                Polled::Frames(frames.cloned().collect(), to)
            }
        }
    }

    /// Gives back what was joined, once nobody will ask for it again.
    fn drop_joins(&mut self) {
        if self.slots.are_all_armed()
            && let Some(window) = &mut self.window
        {
            window.drop_joins();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = lock(&self.feed.state);
        state.slots.serve(self.slot);
        let waker = state.slots.remove(self.slot);
        self.feed.wake_due(state);
        // Not under the lock: dropping a waker may run anything.
        drop(waker);
    }
}
