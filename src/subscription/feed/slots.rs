//! Those who wait at the end of a window.

use std::{mem, task::Waker};

/// So many followers may still have to be polled for what they were woken for when others are woken
/// for more: these, or this part of them.
const FEW: usize = if cfg!(shuttle) { 0 } else { 64 };
const PART: usize = 8;

/// One place for a waker per follower.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The slots that have a waker, so that waking visits no other.
    armed: Vec<u32>,
    /// How often there was something new, and how often at the last waking, which that tells from all
    /// others. Where it is more by now, something is held.
    news: u32,
    waking: u32,
    /// How many that were woken then have not been polled since, and how many of them do not matter.
    unserved: usize,
    few: usize,
    /// Whether the reader sees to it that it is not held for too long.
    watched: bool,
}

#[derive(Debug, Default)]
enum Slot {
    /// Nobody's, or of one that was polled and does not wait.
    #[default]
    Idle,
    /// In which waking it was woken. It was not polled since.
    Woken(u32),
    Armed {
        waker: Waker,
        /// Where `armed` has this slot.
        at: u32,
        /// How much of the news it has seen.
        seen: u32,
    },
}

impl Slots {
    pub(super) fn add(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            number(self.slots.len() - 1)
        })
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Waker> {
        self.free.push(slot);
        let Slot::Armed { waker, at, .. } = mem::take(&mut self.slots[index(slot)]) else {
            return None;
        };
        self.armed.swap_remove(index(at));
        if let Some(&moved) = self.armed.get(index(at)) {
            self.place(moved, at);
        }
        Some(waker)
    }

    /// Notes where in `armed` a slot stands.
    fn place(&mut self, slot: u32, place: u32) {
        if let Slot::Armed { at, .. } = &mut self.slots[index(slot)] {
            *at = place;
        }
    }

    /// Notes that a follower is polled, or goes.
    pub(super) fn serve(&mut self, slot: u32) {
        let slot = &mut self.slots[index(slot)];
        if let Slot::Woken(waking) = *slot {
            *slot = Slot::Idle;
            if waking == self.waking {
                self.unserved -= 1;
            }
        }
    }

    /// Whether most of those who were woken last have been polled.
    ///
    /// Before that nobody is woken again: a runtime may run those who have just been served before
    /// those who still wait, as Tokio does with more than 256, and again and again. Whoever is polled
    /// meanwhile gets what is there by then.
    pub(super) fn are_served(&self) -> bool {
        self.unserved <= self.few
    }

    /// Notes that there is something new for all who wait.
    pub(super) fn renew(&mut self) {
        self.news = self.news.wrapping_add(1);
    }

    /// Whether something is held.
    pub(super) fn are_behind(&self) -> bool {
        self.news != self.waking
    }

    /// Returns the waking since which something is held, if nobody watches over that yet.
    pub(super) fn watch(&mut self) -> Option<u32> {
        let is_new = self.are_behind() && !self.watched;
        self.watched |= is_new;
        is_new.then_some(self.waking)
    }

    /// Whether something is held since this waking.
    pub(super) fn are_behind_since(&self, waking: u32) -> bool {
        self.waking == waking && self.are_behind()
    }

    /// Returns the waker that was there, which is not to be dropped under the lock.
    pub(super) fn arm(&mut self, slot: u32, waker: &Waker) -> Option<Waker> {
        match &mut self.slots[index(slot)] {
            Slot::Armed {
                waker: armed, seen, ..
            } => {
                *seen = self.news;
                let is_other = !armed.will_wake(waker);
                is_other.then(|| mem::replace(armed, waker.clone()))
            }
            unarmed => {
                *unarmed = Slot::Armed {
                    waker: waker.clone(),
                    at: number(self.armed.len()),
                    seen: self.news,
                };
                self.armed.push(slot);
                None
            }
        }
    }

    pub(super) fn are_all_armed(&self) -> bool {
        self.armed.len() + self.free.len() == self.slots.len()
    }

    /// Takes the wakers of those who have not seen everything.
    pub(super) fn take_armed(&mut self) -> Vec<Waker> {
        self.waking = self.news;
        self.watched = false;
        let mut wakers = Vec::with_capacity(self.armed.len());
        let mut armed = mem::take(&mut self.armed);
        armed.retain(|&slot| {
            let slot = &mut self.slots[index(slot)];
            if matches!(slot, Slot::Armed { seen, .. } if *seen == self.news) {
                return true;
            }
            if let Slot::Armed { waker, .. } = mem::replace(slot, Slot::Woken(self.waking)) {
                wakers.push(waker);
            }
            false
        });
        for (place, &slot) in armed.iter().enumerate() {
            self.place(slot, number(place));
        }
        self.armed = armed;
        self.unserved = wakers.len();
        self.few = FEW.max(self.unserved / PART);
        wakers
    }
}

/// Half the size of an index, of which there are several for every client.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than four thousand million clients")
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("the number of a place in memory")
}
