//! What a client is never sent, wherever it begins.
//!
//! # What holds
//!
//! Until a floor is reached, the follower keeps it. A *place* is reached by putting the cursor there: a
//! cursor of the same life of the log that is before the place moves to it, and so the invariant of the
//! follower does the rest. A *time* is reached by the first record that is not before it. What comes
//! earlier is passed over: the cursor moves, and nothing is delivered. Times do not go backwards within
//! a log, so all that follows is not before it either.
//!
//! A place of another life of the log than the present one says nothing about it: what was put back from
//! a copy may have old records under a new epoch. The same goes for a place that cannot be read. Then
//! only what comes from now on is delivered. Which life is the present one, the window knows.
//!
//! Behind a floor a follower that has to begin anew, since the log has another life by now, begins live:
//! that log, too, may have what is not to be sent.

use std::time::SystemTime;

use super::{Begin, Follower, Step};
use crate::{
    event::{Gap, GapReason},
    last_event_id::ResumeOutcome,
    store::{Position, ReadFrom},
};

/// What is seen to before anything else, which is mostly nothing.
#[derive(Debug, Default)]
pub(super) struct First {
    gap: Option<Gap>,
    floor: Floor,
    /// What the client resumes from, where the floor is a place of another life of the log, and one of
    /// the two is of the present one.
    claimed: Option<Position>,
}

/// Nothing at or before the place, and nothing before the time, is delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    place: Option<Place>,
    time: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::subscription) enum Place {
    At(Position),
    /// Wherever the log ends when it is first looked at.
    Now,
}

impl Floor {
    /// Adds a place; of two, both hold.
    pub(in crate::subscription) fn add_place(&mut self, place: Place) {
        self.place = Some(match (self.place, place) {
            (None, place) => place,
            (Some(Place::At(one)), Place::At(two)) if one.epoch() == two.epoch() => {
                Place::At(later(one, two))
            }
            _ => Place::Now,
        });
    }

    /// Adds a time; of two, both hold.
    pub(in crate::subscription) fn add_time(&mut self, time: SystemTime) {
        self.time = self.time.max(Some(time));
    }

    const fn is_none(&self) -> bool {
        self.place.is_none() && self.time.is_none()
    }
}

/// Of one life of the log.
fn later(one: Position, two: Position) -> Position {
    match one.offset() >= two.offset() {
        true => one,
        false => two,
    }
}

impl First {
    pub(super) fn new(floor: Floor) -> Option<Box<Self>> {
        let first = || {
            Box::new(Self {
                floor,
                ..Self::default()
            })
        };
        (!floor.is_none()).then(first)
    }
}

impl Follower {
    pub(in crate::subscription) fn has_gap(&self) -> bool {
        self.first.as_ref().is_some_and(|first| first.gap.is_some())
    }

    pub(super) fn set_gap(&mut self, reason: GapReason, missed: Option<u64>) {
        self.resume.get_or_insert(ResumeOutcome::Gap(reason));
        self.first.get_or_insert_default().gap = Some(Gap::new(reason, missed));
    }

    pub(super) fn take_gap(&mut self) -> Option<Gap> {
        let gap = self.first.as_mut()?.gap.take();
        self.drop_first();
        gap
    }

    /// Gives back what has become empty.
    fn drop_first(&mut self) {
        let is_empty = |first: &mut Box<First>| {
            first.gap.is_none() && first.claimed.is_none() && first.floor.is_none()
        };
        self.first.take_if(is_empty);
    }

    fn place(&self) -> Option<Place> {
        self.first.as_ref()?.floor.place
    }

    /// Notes that the place is reached, or says nothing about this log.
    fn pass_place(&mut self) {
        if let Some(first) = &mut self.first {
            first.floor.place = None;
            self.drop_first();
        }
    }

    /// Begins after `position`, or at the floor.
    pub(super) fn begin_after(&mut self, position: Position) {
        match self.place() {
            Some(Place::At(place)) if place.epoch() != position.epoch() => self.claim(position),
            Some(Place::Now) => self.claim(position),
            _ => self.cursor = Some(self.raise(position, position)),
        }
    }

    /// Waits until the window knows which life of the log is the present one.
    fn claim(&mut self, position: Position) {
        self.first.get_or_insert_default().claimed = Some(position);
    }

    /// Begins at the end of the window.
    pub(super) fn begin_at(&mut self, tail: Position) {
        let claimed = self.first.as_mut().and_then(|first| first.claimed.take());
        match claimed {
            Some(claimed) if claimed.epoch() != tail.epoch() => {
                self.lose_log(GapReason::Unknown, tail);
            }
            _ => self.cursor = Some(self.raise(tail, tail)),
        }
    }

    /// Where to begin instead of `at`, which is of the present life of the log, as is `head`.
    pub(super) fn raise(&mut self, at: Position, head: Position) -> Position {
        let Some(place) = self.place() else {
            return at;
        };
        self.begin = Begin::Live;
        match place {
            // Kept until something behind it is delivered: the log may not have come as far.
            Place::At(place) if place.epoch() == at.epoch() && place.offset() > at.offset() => {
                place
            }
            Place::At(place) if place.epoch() == at.epoch() => {
                self.pass_place();
                at
            }
            _ => {
                self.pass_place();
                head
            }
        }
    }

    /// Begins as a new client does, with `head` for where the topic is now, if that is known.
    pub(super) fn begin_anew(&mut self, head: Option<Position>) {
        self.cursor = None;
        if self.place() == Some(Place::Now) {
            self.begin = Begin::Live;
        }
        match self.begin {
            Begin::Live => self.cursor = head.map(|head| self.raise(head, head)),
            Begin::Newest(events) => self.read(ReadFrom::Newest(events.into())),
            Begin::Oldest => self.read(ReadFrom::Oldest),
        }
    }

    /// Whether the log has not come as far as the place to which the cursor was moved.
    pub(super) fn is_before_floor(&self) -> bool {
        self.cursor.is_some() && self.place() == self.cursor.map(Place::At)
    }

    /// How many of these records are not delivered.
    pub(super) fn hidden(&mut self, times: impl Iterator<Item = Option<SystemTime>>) -> usize {
        let Some(first) = &mut self.first else {
            return 0;
        };
        first.floor.place = None;
        let mut hidden = 0;
        if let Some(floor) = first.floor.time {
            for time in times {
                if time.is_some_and(|time| time >= floor) {
                    first.floor.time = None;
                    self.begin = Begin::Live;
                    break;
                }
                hidden += 1;
            }
        }
        self.drop_first();
        hidden
    }

    /// What the client is told of its position, if anything.
    pub(super) fn take_announcement(&mut self, cursor: Position) -> Option<Step> {
        let primes = std::mem::take(&mut self.primes);
        if let Some(gap) = self.take_gap() {
            return Some(Step::Gap(gap, cursor));
        }
        if primes {
            self.settled = true;
        }
        primes.then_some(Step::Open(cursor))
    }
}
