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

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use super::{
    feed::{Listener, Polled},
    feeds::Feeds,
    frame::{Frame, write_blocks},
    reader::Outage,
};
use crate::{
    event::{Gap, GapReason},
    store::{Page, Position, Read, ReadFrom, Record, RecordKind, StoreError},
    sync::Arc,
    topic_name::TopicName,
};
use bytes::Bytes;

use catching_up::{Catching, CatchingUp};

/// How many answers of the store are worked through in one poll.
const MAX_TURNS: usize = 32;

/// How many pages of history are sent before others run. A server asks for more until nothing is left
/// at the moment, and would send megabytes in one go.
const MAX_PAGES: u8 = 4;

/// Where a follower begins that has no position to resume from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// At the head: that of when the topic was subscribed to, if it was known, or the one that the
    /// reader finds.
    Live,
    Newest(u32),
    Oldest,
}

/// What a follower resumes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resume {
    Nothing,
    After(Position),
    /// There was an id, but none of ours.
    Unusable,
}

/// One step of a follower.
#[derive(Debug)]
pub(super) enum Step {
    Open(Position),
    Gap(Gap, Position),
    /// Blocks of events.
    Joined(Bytes),
    /// Records, and the cursor behind them, whose epoch is theirs.
    Frames(Vec<Frame>, Position),
    /// The store has not answered for too long; the cursor is where the client was.
    Unavailable(Option<Position>),
}

/// Follows one topic.
#[derive(Debug)]
pub(super) struct Follower {
    listener: Listener,
    begin: Begin,
    /// What is under way with the store. While there is nothing, the follower is at the window.
    catching_up: Option<Box<CatchingUp>>,
    cursor: Option<Position>,
    /// What is told before anything else is sent.
    gap: Option<Box<Gap>>,
    /// Whether the client is to be sent its position, unless an event brings it.
    primes: bool,
    /// Whether something was sent, so that an eviction from now on is this connection's slowness. A
    /// window that has not come as far as the log proves nothing about a client that resumes.
    settled: bool,
    /// Whether the store has said that nothing follows the cursor.
    at_head: bool,
    /// Whether the last poll found nothing in the window and nothing else to do.
    waits: bool,
    /// How many pages of history were sent since others could run.
    pages: u8,
    ended: bool,
}

impl Follower {
    /// Begins to follow. `head` is where the topic was when it was subscribed to, if that is known.
    pub(super) fn new(
        feeds: &Arc<Feeds>,
        topic: &TopicName,
        resume: Resume,
        begin: Begin,
        head: Option<Position>,
    ) -> Self {
        let cursor = match resume {
            Resume::After(position) => Some(position),
            Resume::Nothing | Resume::Unusable => None,
        };
        let unusable = || Box::new(Gap::new(GapReason::Unknown, None));
        let mut follower = Self {
            listener: feeds.feed(topic).listen(),
            begin,
            catching_up: None,
            cursor,
            gap: matches!(resume, Resume::Unusable).then(unusable),
            primes: matches!(resume, Resume::Nothing),
            settled: false,
            at_head: false,
            waits: false,
            pages: 0,
            ended: false,
        };
        if cursor.is_none() {
            follower.begin_anew(head);
        }
        follower
    }

    pub(super) fn topic(&self) -> &TopicName {
        &self.listener.feed.topic
    }

    fn feeds(&self) -> &Arc<Feeds> {
        &self.listener.feed.feeds
    }

    pub(super) fn without_priming(&mut self) {
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
    pub(super) fn told(&self) -> Option<Position> {
        self.cursor.filter(|_| self.gap.is_none())
    }

    /// Returns what comes next. With `joined`, events come as blocks.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>, joined: bool) -> Poll<Option<Step>> {
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
            None => match self.cursor {
                None => self.poll_tail(cx),
                Some(cursor) => self.poll_window(cx, cursor, joined),
            },
            Some(Catching::Reading(reading)) => {
                let (from, answer) = ready!(reading.poll(cx));
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
        self.cursor = self.listener.feed.tail();
        match self.cursor {
            Some(_) => Poll::Ready(None),
            None if unavailable => Poll::Ready(Some(self.end_unavailable())),
            None => Poll::Pending,
        }
    }

    fn poll_window(
        &mut self,
        cx: &mut Context<'_>,
        cursor: Position,
        joined: bool,
    ) -> Poll<Option<Step>> {
        if self.gap.is_some() {
            return Poll::Ready(self.take_announcement(cursor));
        }
        match self.listener.poll(Some(cursor), joined, cx.waker()) {
            Polled::Joined(blocks, to) => {
                self.moved(to, !blocks.is_empty());
                Poll::Ready((!blocks.is_empty()).then_some(Step::Joined(blocks)))
            }
            Polled::Frames(frames, to) => {
                self.moved(to, frames.iter().any(Frame::is_event));
                Poll::Ready(Some(Step::Frames(frames, to)))
            }
            Polled::Elsewhere => self.ask(cursor),
            Polled::NotYet { .. } if !self.at_head => self.ask(cursor),
            // Further than the window, which may be late; or further than the log, which only the
            // store can tell.
            Polled::AtEnd { beyond: true, .. } if !self.at_head => {
                self.feeds().read_soon(&self.listener.feed);
                self.ask(cursor)
            }
            Polled::AtEnd { unavailable, .. } | Polled::NotYet { unavailable } => {
                match self.take_announcement(cursor) {
                    Some(step) => Poll::Ready(Some(step)),
                    None if unavailable => Poll::Ready(Some(self.end_unavailable())),
                    None => Poll::Pending,
                }
            }
        }
    }

    fn ask(&mut self, cursor: Position) -> Poll<Option<Step>> {
        self.read(ReadFrom::After(cursor));
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
    }

    /// What the client is told of its position, if anything.
    fn take_announcement(&mut self, cursor: Position) -> Option<Step> {
        let primes = std::mem::take(&mut self.primes);
        if let Some(gap) = self.gap.take() {
            return Some(Step::Gap(*gap, cursor));
        }
        if primes {
            self.settled = true;
        }
        primes.then_some(Step::Open(cursor))
    }

    fn read(&mut self, from: ReadFrom) {
        let store = Arc::clone(&self.feeds().store);
        self.catch_up(Catching::read(store, self.topic().clone(), from));
    }

    fn catch_up(&mut self, step: Catching) {
        match &mut self.catching_up {
            Some(catching_up) => catching_up.step = step,
            none => {
                *none = Some(Box::new(CatchingUp { step, outage: None }));
            }
        }
    }

    fn take_answer(&mut self, from: ReadFrom, answer: Result<Read, StoreError>) -> Option<Step> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.fail(from, &error),
        };
        self.catching_up = None;
        match answer {
            Read::Page(page) => self.take_page(page),
            Read::Evicted(evicted) => {
                if self.settled {
                    let skipped = evicted
                        .middle
                        .offset()
                        .saturating_sub(evicted.oldest.offset());
                    let missed = evicted.missed.map(|missed| missed + skipped);
                    self.gap(GapReason::Lagged, missed, evicted.middle);
                } else {
                    self.gap(GapReason::Evicted, evicted.missed, evicted.oldest);
                }
            }
            Read::UnknownEpoch(head) => self.lose_log(GapReason::Unknown, head),
            Read::Ahead(head) => self.lose_log(GapReason::Ahead, head),
        }
        None
    }

    fn take_page(&mut self, page: Page) {
        let cursor = match self.cursor {
            Some(cursor) if cursor.epoch() == page.start.epoch() => cursor,
            // A new client, or one that came before the log: the store says where that is.
            _ => page.start,
        };
        self.cursor = Some(cursor);
        self.at_head = page.records.is_empty();
        if !self.at_head {
            let mut records = VecDeque::from(page.records);
            // A store that answers late may send what is known already.
            while records
                .front()
                .is_some_and(|record| record.offset() <= cursor.offset())
            {
                records.pop_front();
            }
            self.catch_up(Catching::Paging(records));
        }
    }

    fn page(&mut self) -> Option<&mut VecDeque<Record>> {
        self.catching_up.as_deref_mut()?.page()
    }

    /// Delivers what follows the cursor of the page that was read.
    fn take_records(&mut self, joined: bool) -> Option<Step> {
        let cursor = self.cursor?;
        let Some(next) = self.page()?.front() else {
            self.catching_up = None;
            return None;
        };
        let previous = next.previous_offset();
        if previous != cursor.offset() {
            self.gap(
                GapReason::Lost,
                None,
                Position::new(cursor.epoch(), previous),
            );
        }
        if let (Some(_), Some(cursor)) = (&self.gap, self.cursor) {
            return self.take_announcement(cursor);
        }
        let records = self.page()?;
        let mut end = cursor.offset();
        let follows = |record: &&Record| {
            let follows = record.previous_offset() == end;
            end = record.offset();
            follows
        };
        let len = records.iter().take_while(follows).count();
        let run: Vec<Record> = records.drain(..len).collect();
        let to = Position::new(cursor.epoch(), run.last()?.offset());
        let is_event = |record: &Record| record.content().kind() == RecordKind::Event;
        self.pages = self.pages.saturating_add(1);
        self.moved(to, run.iter().any(is_event));
        if joined {
            let mut blocks = Vec::new();
            write_blocks(&mut blocks, to.epoch(), &run);
            return (!blocks.is_empty()).then(|| Step::Joined(blocks.into()));
        }
        let frames = run.iter().map(|record| Frame::new(to.epoch(), record));
        Some(Step::Frames(frames.collect(), to))
    }

    /// Goes on at `position`, behind what is missing.
    fn gap(&mut self, reason: GapReason, missed: Option<u64>, position: Position) {
        self.gap = Some(Box::new(Gap::new(reason, missed)));
        self.cursor = Some(position);
        self.settled = true;
        self.at_head = false;
    }

    /// Goes on as a new client would: the cursor is of no use in this log.
    fn lose_log(&mut self, reason: GapReason, head: Position) {
        self.gap = Some(Box::new(Gap::new(reason, None)));
        self.settled = true;
        self.at_head = false;
        self.begin_anew(Some(head));
    }

    /// Begins as a new client does, with `head` for where the topic is now, if that is known.
    fn begin_anew(&mut self, head: Option<Position>) {
        self.cursor = None;
        match self.begin {
            Begin::Live => self.cursor = head,
            Begin::Newest(events) => self.read(ReadFrom::Newest(events.into())),
            Begin::Oldest => self.read(ReadFrom::Oldest),
        }
    }

    fn fail(&mut self, from: ReadFrom, error: &StoreError) -> Option<Step> {
        tracing::warn!(
            topic = self.topic().as_str(),
            error = error as &dyn std::error::Error,
            "history could not be read",
        );
        let limit = self.feeds().unavailable_after();
        let catching_up = self.catching_up.as_deref_mut()?;
        let outage = catching_up.outage.get_or_insert_with(Outage::new);
        if outage.is_over(limit) {
            return Some(self.end_unavailable());
        }
        catching_up.step = Catching::Pausing(from, Box::pin(tokio::time::sleep(outage.pause())));
        None
    }

    fn end_unavailable(&mut self) -> Step {
        self.ended = true;
        self.catching_up = None;
        Step::Unavailable(self.cursor)
    }
}
