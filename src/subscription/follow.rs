//! From history to live: every record after a cursor, once and in order, or a gap that says so.
//!
//! # Why it is right
//!
//! A follower has a *cursor*, a position of the log, and one invariant: **what it delivers next is
//! the record that follows its cursor in the log**, wherever that record is read from. Delivering
//! moves the cursor to the end of what was delivered, in the same step.
//!
//! There are two places to read from, and each keeps the invariant by itself:
//!
//! - The *window* of the feed is a contiguous run of the log (see `Window`). A cursor at one of its
//!   frames, or at its base, gets the frames behind it. One at the end waits, and so does one beyond
//!   the end if the store has said that it is the head of the log. Any other cursor gets nothing.
//! - The *store* answers a read after the cursor with the records that follow it, or says that it
//!   cannot. Every record names its predecessor, so a page with a hole shows the hole.
//!
//! So it does not matter when a follower changes from one to the other, nor how far the window has
//! moved meanwhile: there is no moment at which the two have to agree. If the window has moved past
//! the cursor, the follower reads from the store again; if the store's page reached further than the
//! window, the follower waits until the window has come as far, and the frames up to its cursor are
//! not delivered again, since they are not behind it.
//!
//! No wake-up is lost between looking and waiting: both happen under the lock under which the window
//! is pushed to and the wakers are taken ([`Listener::poll`]). No append is lost between the store and
//! the window: a wake-up that comes while the reader reads makes it read again, a wake-up that does
//! not come at all is made up for by the slow round, and a follower that is further than the window
//! tells the reader itself.
//!
//! Only what the store says, or a hole in what it sent, makes a gap; and a gap is announced before
//! anything behind it, with the position behind it as its id, so that a client that drops there
//! neither hears of it again nor loses anything.

mod catching_up;
mod floor;
mod history;
mod step;

use std::task::{Context, Poll, ready};

use super::{
    feed::{Listener, Polled},
    feeds::Feeds,
    frame::Frame,
    slow::SlowClient,
};
use crate::{
    event::{EndReason, GapReason},
    last_event_id::ResumeOutcome,
    sent::Standing,
    store::{Position, ReadFrom},
    sync::Arc,
    topic_name::TopicName,
};

use catching_up::{Catching, CatchingUp};
use floor::First;
pub(crate) use floor::Floor;
pub(super) use floor::Place;
pub(crate) use step::{Begin, Resume, Step};

/// How many answers of the store are worked through in one poll.
const MAX_TURNS: usize = 32;

/// How many pages of history are sent before others run. A server asks for more until nothing is left
/// at the moment, and would send megabytes in one go.
const MAX_PAGES: u8 = 4;

/// Follows one topic.
#[derive(Debug)]
pub(crate) struct Follower {
    listener: Listener,
    begin: Begin,
    /// What is under way with the store. While there is nothing, the follower is at the window.
    catching_up: Option<Box<CatchingUp>>,
    cursor: Option<Position>,
    /// What is told before anything else is sent, and what is not to be sent.
    first: Option<Box<First>>,
    /// Whether the client is to be sent its position, unless an event brings it.
    primes: bool,
    /// Whether something was sent, so that an eviction from now on is this connection's slowness. A
    /// window that has not come as far as the log proves nothing about a client that resumes.
    settled: bool,
    /// Whether the store has said that nothing follows the cursor.
    at_head: bool,
    /// Whether the client was sent everything once, so that what it has to wait for from now on is its
    /// own slowness.
    live: bool,
    /// What became of the position to resume from, once that is known.
    resume: Option<ResumeOutcome>,
    /// Whether the stream ends behind the gap.
    leaves: bool,
    /// Whether the last poll found nothing in the window and nothing else to do.
    waits: bool,
    /// How many pages of history were sent since others could run.
    pages: u8,
    ended: bool,
}

impl Follower {
    /// Begins to follow. `head` is where the topic was when it was subscribed to, if that is known.
    pub(crate) fn new(
        feeds: &Arc<Feeds>,
        topic: &TopicName,
        resume: Resume,
        begin: Begin,
        head: Option<Position>,
        floor: Floor,
    ) -> Self {
        let mut follower = Self {
            listener: feeds.feed(topic).listen(),
            begin,
            catching_up: None,
            cursor: None,
            first: First::new(floor),
            primes: matches!(resume, Resume::Nothing),
            settled: false,
            at_head: false,
            live: false,
            resume: match resume {
                Resume::Nothing => Some(ResumeOutcome::New),
                Resume::After(_) => None,
                Resume::Unusable => Some(ResumeOutcome::Gap(GapReason::Unknown)),
            },
            leaves: false,
            waits: false,
            pages: 0,
            ended: false,
        };
        match resume {
            Resume::Nothing => follower.begin_anew(head),
            Resume::After(position) => follower.begin_after(position),
            Resume::Unusable => {
                follower.set_gap(GapReason::Unknown, None);
                follower.begin_anew(head);
            }
        }
        follower
    }

    pub(super) fn topic(&self) -> &TopicName {
        &self.listener.feed.topic
    }

    fn feeds(&self) -> &Arc<Feeds> {
        &self.listener.feed.feeds
    }

    pub(crate) fn without_priming(&mut self) {
        self.primes = false;
    }

    /// Finds out where the follower begins, without delivering anything from there. Returns a step
    /// only where it ends instead.
    pub(super) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        self.feeds().ensure_reader();
        for _ in 0..MAX_TURNS {
            if self.cursor.is_some() || self.ended {
                return Poll::Ready(None);
            }
            let step = ready!(self.poll_turn(cx, false));
            if step.is_some() {
                return Poll::Ready(step);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The cursor, once it is known.
    pub(super) fn cursor(&self) -> Option<Position> {
        self.cursor
    }

    /// The cursor, unless the client has yet to be told of what is missing before it.
    pub(crate) fn told(&self) -> Option<Position> {
        self.cursor.filter(|_| !self.has_gap())
    }

    /// What is known of where the client is.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            resume: self.resume,
            live: self.live,
        }
    }

    /// Returns what comes next. With `joined`, events come as blocks.
    pub(crate) fn poll_step(&mut self, cx: &mut Context<'_>, joined: bool) -> Poll<Option<Step>> {
        // Servers poll a body again after each write; that must cost next to nothing.
        if self.waits && self.listener.is_armed(cx.waker()) {
            return Poll::Pending;
        }
        self.waits = false;
        if self.pages >= MAX_PAGES {
            self.pages = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.feeds().ensure_reader();
        for _ in 0..MAX_TURNS {
            if self.ended {
                return Poll::Ready(None);
            }
            let Poll::Ready(step) = self.poll_turn(cx, joined) else {
                self.waits = self.catching_up.is_none();
                self.pages = 0;
                return Poll::Pending;
            };
            if step.is_some() {
                return Poll::Ready(step);
            }
        }
        // The store answers at once but brings nothing new; let others run.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// `Ready(None)` if the state has changed, and there is nothing to deliver or to wait for.
    fn poll_turn(&mut self, cx: &mut Context<'_>, joined: bool) -> Poll<Option<Step>> {
        match self.catching_up.as_deref_mut().map(|now| &mut now.step) {
            None | Some(Catching::Between) => match self.cursor {
                None => self.poll_tail(cx),
                Some(cursor) => self.poll_window(cx, cursor, joined),
            },
            Some(Catching::Waiting(..)) => self.poll_waiting(cx),
            Some(Catching::Reading(reading)) => {
                let (from, answer) = ready!(reading.poll(cx));
                let Some(answer) = answer else {
                    self.read(from);
                    return Poll::Ready(None);
                };
                Poll::Ready(self.take_answer(from, answer))
            }
            Some(Catching::Pausing(from, pause)) => {
                ready!(pause.as_mut().poll(cx));
                let from = *from;
                self.read(from);
                Poll::Ready(None)
            }
            Some(Catching::Paging(_)) => Poll::Ready(self.take_records(joined)),
        }
    }

    /// Begins at the end of the window, once the reader has learned where that is.
    fn poll_tail(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let unavailable = match self.listener.poll(None, false, cx.waker()) {
            Polled::NotYet { unavailable } => unavailable,
            _ => false,
        };
        // After the waker is armed, so that a window that comes later wakes.
        match self.listener.feed.tail() {
            Some(tail) => {
                self.begin_at(tail);
                Poll::Ready(None)
            }
            None if unavailable => Poll::Ready(Some(self.end(EndReason::Unavailable))),
            None => Poll::Pending,
        }
    }

    fn poll_window(
        &mut self,
        cx: &mut Context<'_>,
        cursor: Position,
        joined: bool,
    ) -> Poll<Option<Step>> {
        if self.has_gap() {
            return Poll::Ready(self.take_announcement(cursor));
        }
        if self.leaves {
            return Poll::Ready(Some(self.end(EndReason::Lagged)));
        }
        let joined = joined && self.first.is_none();
        match self.listener.poll(Some(cursor), joined, cx.waker()) {
            Polled::Joined(blocks, events, to) => {
                self.catching_up = None;
                self.moved(to, events > 0);
                Poll::Ready((events > 0).then_some(Step::Joined(blocks, events)))
            }
            Polled::Frames(mut frames, to) => {
                self.catching_up = None;
                let hidden = self.hidden(frames.iter().map(|frame| frame.appended_at));
                frames.drain(..hidden);
                self.moved(to, frames.iter().any(Frame::is_event));
                Poll::Ready((!frames.is_empty()).then(|| Step::Frames(frames, to, None)))
            }
            Polled::Passed { newest, missed } => self.fall_behind(cursor, newest, missed),
            Polled::Elsewhere => self.ask(cursor),
            // The reader, which has no part in the budget, finds out sooner than one who has to wait.
            Polled::NotYet { .. } if !self.at_head && !self.feeds().budget().is_busy() => {
                self.ask(cursor)
            }
            // Further than the window, which may be late; or further than the log, which only the
            // store can tell.
            Polled::AtEnd { beyond: true, .. } if !self.at_head => {
                self.feeds().read_soon(&self.listener.feed);
                self.ask(cursor)
            }
            polled @ (Polled::AtEnd { unavailable, .. } | Polled::NotYet { unavailable }) => {
                self.catching_up = None;
                self.live |= self.at_head || matches!(polled, Polled::AtEnd { .. });
                if self.live {
                    self.resume.get_or_insert(ResumeOutcome::Resumed);
                }
                match self.take_announcement(cursor) {
                    Some(step) => Poll::Ready(Some(step)),
                    None if unavailable => Poll::Ready(Some(self.end(EndReason::Unavailable))),
                    None => Poll::Pending,
                }
            }
        }
    }

    fn ask(&mut self, cursor: Position) -> Poll<Option<Step>> {
        self.read(ReadFrom::After(cursor));
        Poll::Ready(None)
    }

    /// What follows the cursor was in the window while the client did not take it.
    ///
    /// A client that is disconnected keeps the position behind the gap. Had it that before the gap, it
    /// would be sent on its return what it was told that it misses, after it has made up for that by
    /// itself; and its return would cost the reads that the policy is to save.
    fn fall_behind(
        &mut self,
        cursor: Position,
        newest: Position,
        missed: Option<u64>,
    ) -> Poll<Option<Step>> {
        match self.listener.feed.slow_client {
            _ if !self.live => return self.ask(cursor),
            SlowClient::CatchUp => return self.ask(cursor),
            SlowClient::SkipToNewest => {}
            SlowClient::Disconnect => self.leaves = true,
        }
        self.gap(GapReason::Lagged, missed, newest);
        Poll::Ready(None)
    }

    /// Notes what was delivered. A client that was sent no event still has no position.
    fn moved(&mut self, to: Position, has_events: bool) {
        self.cursor = Some(to);
        if has_events {
            self.primes = false;
        }
        self.settled = true;
        self.at_head = false;
        self.resume.get_or_insert(ResumeOutcome::Resumed);
    }

    /// Goes on at `position`, behind what is missing.
    fn gap(&mut self, reason: GapReason, missed: Option<u64>, position: Position) {
        self.set_gap(reason, missed);
        self.cursor = Some(position);
        self.settled = true;
        self.at_head = false;
    }

    /// Goes on as a new client would: the cursor is of no use in this log.
    fn lose_log(&mut self, reason: GapReason, head: Position) {
        self.set_gap(reason, None);
        self.settled = true;
        self.at_head = false;
        self.live = false;
        self.begin_anew(Some(head));
    }

    fn end(&mut self, reason: EndReason) -> Step {
        self.ended = true;
        self.catching_up = None;
        Step::End(reason, self.cursor)
    }
}
