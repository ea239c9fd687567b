//! A response that this process produces: what its producer and its listeners here tell each other.

mod ahead;
mod tail;

use std::{
    fmt,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use slab::Slab;
use tokio::{sync::Notify, time::Instant};

use super::{Leaving, Rules, note::Note, note::Outcome};
use crate::{
    connection::{End, Endable},
    store::{Position, Retention},
    sync::{Arc, Mutex, lock},
};
use ahead::Ahead;
use tail::Tail;

/// For how long a client is expected back whose connection the server has ended.
const EXPECTED_BACK: Duration = Duration::from_secs(30);

/// How many leases a note that somebody listens is good for.
const LISTENED_FOR: u32 = 3;

/// A response that this process produces.
pub(super) struct Production {
    rules: Rules,
    state: Mutex<State>,
    /// Wakes the producer. A permit is kept, so nothing that comes before it waits is lost.
    pub(super) changed: Notify,
}

struct State {
    /// The position before the first event of the record, once that is begun.
    from: Option<Position>,
    /// The position behind the last one.
    head: Option<Position>,
    /// Whether what comes next is in no record.
    passes: bool,
    /// How many events it begins with that may be stored nevertheless.
    uncertain: u64,
    ended: Option<Outcome>,
    /// Whether there is no producer any more.
    is_over: bool,
    seats: Slab<Seated>,
    /// Since when nobody listens here, and whether somebody is expected back.
    left: Option<(Instant, Expected)>,
    /// Until when somebody is known to listen elsewhere.
    listened_until: Option<Instant>,
    stop: bool,
    /// When it is to end, since the server stops.
    drained_at: Option<Instant>,
    ahead: Ahead,
    tail: Tail,
    /// Whether the producer waits for those who listen.
    waits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Back,
    Gone,
}

struct Seated {
    /// Up to where it was sent the record.
    offset: u64,
    /// How much it was sent of what is not in the record.
    passed: u64,
    waker: Option<Waker>,
}

/// What the producer has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// It was stopped.
    Stop,
    /// It was cut off, since the server stops.
    Drained,
    /// Nobody has listened for too long.
    Abandoned,
    /// It waits for those who listen.
    Wait(Option<Instant>),
    /// It goes on, until then.
    GoOn(Option<Instant>),
}

/// What a listener finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The position before the first event of the record, if that was begun.
    pub(super) from: Option<Position>,
    /// The position behind the last one.
    pub(super) head: Option<Position>,
    pub(super) now: Now,
}

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    /// It is recorded, or about to be.
    Recorded,
    /// What follows is in no record.
    Passing,
    Ended(Outcome),
    /// Its producer is gone without a word.
    Lost,
}

impl Production {
    pub(super) fn new(rules: Rules, retention: Option<Retention>) -> Arc<Self> {
        Arc::new(Self {
            rules,
            state: Mutex::new(State {
                from: None,
                head: None,
                passes: false,
                uncertain: 0,
                ended: None,
                is_over: false,
                seats: Slab::new(),
                left: Some((Instant::now(), Expected::Gone)),
                listened_until: None,
                stop: false,
                drained_at: None,
                ahead: Ahead::new(retention),
                tail: Tail::default(),
                waits: false,
            }),
            changed: Notify::new(),
        })
    }

    /// Changes what listeners see, and wakes them.
    fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let seats = state.seats.iter_mut();
        let wakers: Vec<_> = seats.filter_map(|(_, seat)| seat.waker.take()).collect();
        drop(state);
        // Not under the lock: a waker may run anything.
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The record is begun, and `at` is the position before its first event.
    pub(super) fn begin(&self, at: Position) {
        self.tell(|state| {
            state.from = Some(at);
            state.head = Some(at);
        });
    }

    /// Notes events of these sizes, the last of which is at `head`.
    pub(super) fn append(&self, head: Position, sizes: impl Iterator<Item = usize>) {
        let mut state = lock(&self.state);
        state.head = Some(head);
        sizes.for_each(|size| state.ahead.append(head.offset(), size));
    }

    /// The record goes no further, as far as is known; so many events that come now may be stored.
    pub(super) fn end_record(&self, uncertain: u64) {
        self.tell(|state| {
            state.passes = true;
            state.uncertain = uncertain;
            state.ahead.trim(None);
        });
    }

    /// Sends what is in no record.
    pub(super) fn pass(&self, block: Bytes) {
        self.tell(|state| {
            if !state.seats.is_empty() {
                state.tail.push(block);
            }
        });
    }

    pub(super) fn end(&self, outcome: Outcome) {
        self.tell(|state| state.ended = Some(outcome));
    }

    /// There is no producer any more.
    pub(super) fn close(&self) {
        self.tell(|state| state.is_over = true);
    }

    /// Notes what others have noted in the record.
    pub(super) fn hear(&self, notes: &[Note]) {
        let mut state = lock(&self.state);
        for note in notes {
            match note {
                Note::Listened => {
                    let lease = self.rules.lease.saturating_mul(LISTENED_FOR);
                    state.listened_until = Instant::now().checked_add(lease);
                }
                Note::Stop => state.stop = true,
                Note::Begun { .. } | Note::Alive | Note::Retry { .. } => {}
            }
        }
    }

    /// Has it stopped. False if it is over already.
    pub(super) fn stop(&self) -> bool {
        let mut state = lock(&self.state);
        state.stop = true;
        let is_over = state.is_over || state.ended.is_some();
        drop(state);
        self.changed.notify_one();
        !is_over
    }

    pub(super) fn todo(&self, now: Instant) -> Todo {
        let mut state = lock(&self.state);
        if state.stop {
            return Todo::Stop;
        }
        let abandoned = state.abandoned_at(self.rules.leaving);
        if state.drained_at.is_some_and(|at| at <= now) {
            return Todo::Drained;
        }
        if abandoned.is_some_and(|at| at <= now) {
            return Todo::Abandoned;
        }
        let until = abandoned.into_iter().chain(state.drained_at).min();
        state.waits = state.is_ahead();
        match state.waits {
            true => Todo::Wait(until),
            false => Todo::GoOn(until),
        }
    }

    /// Begins to listen here, behind this offset.
    pub(super) fn sit(self: &Arc<Self>, offset: u64) -> Seat {
        let mut state = lock(&self.state);
        state.left = None;
        let is_late = state.passes;
        let passed = state.tail.start();
        let key = state.seats.insert(Seated {
            offset,
            passed,
            waker: None,
        });
        drop(state);
        Seat {
            production: Arc::clone(self),
            key,
            is_late,
            expected: Expected::Gone,
        }
    }
}

impl State {
    /// When nobody has listened for too long, if nobody does.
    fn abandoned_at(&self, leaving: Leaving) -> Option<Instant> {
        let (left_at, expected) = self.left?;
        let since = self
            .listened_until
            .map_or(left_at, |until| until.max(left_at));
        since.checked_add(match (leaving, expected) {
            (Leaving::Continue(time), _) => time,
            (Leaving::Cancel, Expected::Back) => EXPECTED_BACK,
            (Leaving::Cancel, Expected::Gone) => Duration::ZERO,
        })
    }

    /// Whether those who listen here are to be waited for.
    fn is_ahead(&mut self) -> bool {
        let offsets = self.seats.iter().map(|(_, seat)| seat.offset);
        let passed = self.seats.iter().map(|(_, seat)| seat.passed);
        self.ahead.trim(offsets.min());
        self.tail.trim(passed.min());
        self.ahead.is_too_far() || self.tail.is_too_long()
    }
}

impl Endable for Production {
    fn end(self: Arc<Self>, end: End) {
        let mut state = lock(&self.state);
        let before = state.drained_at.get_or_insert(end.at);
        *before = end.at.min(*before);
        drop(state);
        self.changed.notify_one();
    }
}

/// One who listens, in the process of the producer.
pub(super) struct Seat {
    production: Arc<Production>,
    key: usize,
    /// Whether something may have passed before.
    is_late: bool,
    expected: Expected,
}

impl Seat {
    fn state<R>(&self, work: impl FnOnce(&mut State, usize) -> R) -> R {
        work(&mut lock(&self.production.state), self.key)
    }

    /// Whether it sat down when something may have passed already that is in no record.
    pub(super) const fn is_late(&self) -> bool {
        self.is_late
    }

    /// What has become of the response; the waker is woken when that is something else.
    pub(super) fn look(&self, cx: &Context<'_>) -> Look {
        let (look, gone) = self.state(|state, key| {
            let gone = state.seats[key].waker.replace(cx.waker().clone());
            let now = match state.ended {
                _ if state.passes => Now::Passing,
                Some(outcome) => Now::Ended(outcome),
                None if state.is_over => Now::Lost,
                None => Now::Recorded,
            };
            let (from, head) = (state.from, state.head);
            (Look { from, head, now }, gone)
        });
        // Not under the lock: dropping a waker may run anything.
        drop(gone);
        look
    }

    /// Up to where the record is stored for certain.
    pub(super) fn certain(&self) -> u64 {
        self.state(|state, _| state.head.map_or(0, Position::offset))
    }

    /// Begins with what is in no record. What comes first of it could not be stored for certain, and so
    /// many events of that were read in the record after all.
    pub(super) fn pass_behind(&self, read: u64) {
        self.state(|state, key| {
            let passed = &mut state.seats[key].passed;
            // Who is late is not sent what comes first.
            if *passed == 0 {
                *passed = read.min(state.uncertain);
            }
        });
    }

    /// The same for a client that came with one or more of those events, beside those that it has read.
    /// Returns false where it may miss some, since nobody knows how many.
    pub(super) fn pass_behind_all(&self, read: u64) -> bool {
        self.state(|state, key| {
            let passed = &mut state.seats[key].passed;
            *passed = state.uncertain.max(*passed);
            read + 1 >= state.uncertain
        })
    }

    /// Notes up to where it was sent the record. Returns up to where it is stored for certain.
    pub(super) fn sent(&self, offset: u64) -> u64 {
        let (head, waits) = self.state(|state, key| {
            state.seats[key].offset = offset;
            (state.head.map_or(0, Position::offset), state.waits)
        });
        self.go_on_if(waits);
        head
    }

    /// Has the producer look again whether it is too far ahead, if that is what it waits for.
    fn go_on_if(&self, waits: bool) {
        if waits {
            self.production.changed.notify_one();
        }
    }

    /// Returns what follows of what is in no record, and how much that is; or how it has ended.
    pub(super) fn next_passed(&self) -> Result<Option<(Bytes, usize)>, Outcome> {
        let (next, waits) = self.state(|state, key| {
            let (blocks, count) = state.tail.after(state.seats[key].passed);
            state.seats[key].passed += count;
            let next = match (count, state.ended, state.is_over) {
                (0, Some(outcome), _) => Err(outcome),
                (0, None, true) => Err(Outcome::Lost),
                (0, None, false) => Ok(None),
                _ => Ok(Some((blocks, usize::try_from(count).unwrap_or(usize::MAX)))),
            };
            (next, state.waits)
        });
        self.go_on_if(waits);
        next
    }

    /// Its client is sent away, and expected back.
    pub(super) fn expect_back(&mut self) {
        self.expected = Expected::Back;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let gone = self.state(|state, key| {
            let gone = state.seats.try_remove(key);
            if state.seats.is_empty() {
                state.left = Some((Instant::now(), self.expected));
            }
            gone
        });
        drop(gone);
        self.production.changed.notify_one();
    }
}

impl fmt::Debug for Production {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Production")
            .field("from", &state.from)
            .field("passes", &state.passes)
            .field("ended", &state.ended)
            .field("listeners", &state.seats.len())
            .finish_non_exhaustive()
    }
}
