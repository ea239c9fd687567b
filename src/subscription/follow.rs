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

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use super::{
    feed::{Listener, Polled},
    feeds::Feeds,
    frame::{Frame, write_blocks},
    reader::{Outage, PAGE_BYTES, READ_TIMEOUT},
};
use crate::{
    event::{Gap, GapReason},
    store::{BoxFuture, Page, Position, Read, ReadFrom, Record, StoreError, StoreErrorKind},
    sync::Arc,
    topic_name::TopicName,
};

/// How many answers of the store are worked through in one poll.
const MAX_TURNS: usize = 32;

/// Where a follower begins that has no position to resume from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// At this head, or at the one that the reader finds.
    Live(Option<Position>),
    Newest(u64),
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

/// What is sent before the next record.
#[derive(Debug)]
enum Announce {
    Nothing,
    /// The position, unless there is a record to carry one at once.
    Open,
    Gap(Gap),
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
    feeds: Arc<Feeds>,
    topic: TopicName,
    begin: Begin,
    listener: Option<Listener>,
    state: State,
    cursor: Option<Position>,
    announce: Announce,
    /// Whether something was sent, so that an eviction from now on is this connection's slowness. A
    /// window that has not come as far as the log proves nothing about a client that resumes.
    settled: bool,
    /// Whether the store has said that nothing follows the cursor.
    at_head: bool,
    outage: Option<Outage>,
}

enum State {
    /// At the window, or to be.
    Following,
    Reading(Reading),
    /// Records of a page that were not delivered yet.
    Paging(VecDeque<Record>),
    Pausing(ReadFrom, Pin<Box<Sleep>>),
    Ended,
}

struct Reading {
    from: ReadFrom,
    answer: BoxFuture<'static, Result<Read, StoreError>>,
    /// Made only for a store that does not answer at once.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Follower {
    pub(super) fn new(feeds: Arc<Feeds>, topic: TopicName, resume: Resume, begin: Begin) -> Self {
        let (cursor, announce) = match resume {
            Resume::After(position) => (Some(position), Announce::Nothing),
            Resume::Nothing => (None, Announce::Open),
            Resume::Unusable => (None, Announce::Gap(Gap::new(GapReason::Unknown, None))),
        };
        let mut follower = Self {
            feeds,
            topic,
            begin,
            listener: None,
            state: State::Following,
            cursor,
            announce,
            settled: false,
            at_head: false,
            outage: None,
        };
        if cursor.is_none() {
            follower.begin_anew();
        }
        follower
    }

    pub(super) fn without_priming(&mut self) {
        if matches!(self.announce, Announce::Open) {
            self.announce = Announce::Nothing;
        }
    }

    /// Finds out where the follower begins, without delivering anything from there. Returns a step
    /// only where it ends instead.
    pub(super) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        self.feeds.ensure_reader();
        for _ in 0..MAX_TURNS {
            if self.cursor.is_some() || matches!(self.state, State::Ended) {
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

    /// Returns what comes next. With `joined`, events come as blocks.
    ///
    /// Nothing is read or followed before the first call.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>, joined: bool) -> Poll<Option<Step>> {
        self.feeds.ensure_reader();
        for _ in 0..MAX_TURNS {
            if matches!(self.state, State::Ended) {
                return Poll::Ready(None);
            }
            let step = ready!(self.poll_turn(cx, joined));
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
        match &mut self.state {
            State::Ended => Poll::Ready(None),
            State::Following => match self.cursor {
                None => self.poll_tail(cx),
                Some(cursor) => self.poll_window(cx, cursor, joined),
            },
            State::Reading(reading) => {
                let (from, answer) = ready!(reading.poll(cx));
                Poll::Ready(self.take_answer(from, answer))
            }
            State::Pausing(from, pause) => {
                ready!(pause.as_mut().poll(cx));
                let from = *from;
                self.read(from);
                Poll::Ready(None)
            }
            State::Paging(_) => Poll::Ready(self.take_records(joined)),
        }
    }

    fn listener(&mut self) -> &Listener {
        self.listener
            .get_or_insert_with(|| self.feeds.feed(&self.topic).listen())
    }

    /// Begins at the end of the window, once the reader has learned where that is.
    fn poll_tail(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let listener = self.listener();
        let unavailable = match listener.poll(None, false, cx.waker()) {
            Polled::NotYet { unavailable } => unavailable,
            _ => false,
        };
        // After the waker is armed, so that a window that comes later wakes.
        self.cursor = listener.feed.tail();
        match self.cursor {
            Some(_) => Poll::Ready(None),
            None if unavailable => Poll::Ready(self.end_unavailable()),
            None => Poll::Pending,
        }
    }

    fn poll_window(
        &mut self,
        cx: &mut Context<'_>,
        cursor: Position,
        joined: bool,
    ) -> Poll<Option<Step>> {
        if matches!(self.announce, Announce::Gap(_)) {
            return Poll::Ready(self.take_announcement(cursor));
        }
        match self.listener().poll(Some(cursor), joined, cx.waker()) {
            Polled::Joined(blocks, to) => {
                self.moved(to);
                Poll::Ready((!blocks.is_empty()).then_some(Step::Joined(blocks)))
            }
            Polled::Frames(frames, to) => {
                self.moved(to);
                Poll::Ready(Some(Step::Frames(frames, to)))
            }
            Polled::Elsewhere => self.ask(cursor),
            Polled::NotYet { .. } if !self.at_head => self.ask(cursor),
            // Further than the window, which may be late; or further than the log, which only the
            // store can tell.
            Polled::AtEnd { beyond: true, .. } if !self.at_head => {
                let feed = Arc::clone(&self.listener().feed);
                self.feeds.read_soon(&feed);
                self.ask(cursor)
            }
            Polled::AtEnd { unavailable, .. } | Polled::NotYet { unavailable } => {
                match self.take_announcement(cursor) {
                    Some(step) => Poll::Ready(Some(step)),
                    None if unavailable => Poll::Ready(self.end_unavailable()),
                    None => Poll::Pending,
                }
            }
        }
    }

    fn ask(&mut self, cursor: Position) -> Poll<Option<Step>> {
        self.read(ReadFrom::After(cursor));
        Poll::Ready(None)
    }

    fn moved(&mut self, to: Position) {
        self.cursor = Some(to);
        self.announce = Announce::Nothing;
        self.settled = true;
        self.at_head = false;
    }

    fn take_announcement(&mut self, cursor: Position) -> Option<Step> {
        match std::mem::replace(&mut self.announce, Announce::Nothing) {
            Announce::Nothing => None,
            Announce::Open => {
                self.settled = true;
                Some(Step::Open(cursor))
            }
            Announce::Gap(gap) => Some(Step::Gap(gap, cursor)),
        }
    }

    fn read(&mut self, from: ReadFrom) {
        let (store, topic) = (Arc::clone(&self.feeds.store), self.topic.clone());
        self.state = State::Reading(Reading {
            from,
            answer: Box::pin(async move { store.read(&topic, from, PAGE_BYTES).await }),
            deadline: None,
        });
    }

    fn take_answer(&mut self, from: ReadFrom, answer: Result<Read, StoreError>) -> Option<Step> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.fail(from, &error),
        };
        self.outage = None;
        self.state = State::Following;
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
            self.state = State::Paging(records);
        }
    }

    /// Delivers what follows the cursor of the page that was read.
    fn take_records(&mut self, joined: bool) -> Option<Step> {
        let (State::Paging(records), Some(cursor)) = (&mut self.state, self.cursor) else {
            return None;
        };
        let Some(next) = records.front() else {
            self.state = State::Following;
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
        if let (Announce::Gap(_), Some(cursor)) = (&self.announce, self.cursor) {
            return self.take_announcement(cursor);
        }
        let State::Paging(records) = &mut self.state else {
            return None;
        };
        let mut end = cursor.offset();
        let follows = |record: &&Record| {
            let follows = record.previous_offset() == end;
            end = record.offset();
            follows
        };
        let len = records.iter().take_while(follows).count();
        let run: Vec<Record> = records.drain(..len).collect();
        let to = Position::new(cursor.epoch(), run.last()?.offset());
        self.moved(to);
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
        self.announce = Announce::Gap(Gap::new(reason, missed));
        self.cursor = Some(position);
        self.settled = true;
        self.at_head = false;
    }

    /// Goes on as a new client would: the cursor is of no use in this log.
    fn lose_log(&mut self, reason: GapReason, head: Position) {
        self.announce = Announce::Gap(Gap::new(reason, None));
        self.settled = true;
        self.at_head = false;
        if let Begin::Live(_) = self.begin {
            self.begin = Begin::Live(Some(head));
        }
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.cursor = None;
        match self.begin {
            Begin::Live(head) => self.cursor = head,
            Begin::Newest(events) => self.read(ReadFrom::Newest(events)),
            Begin::Oldest => self.read(ReadFrom::Oldest),
        }
    }

    fn fail(&mut self, from: ReadFrom, error: &StoreError) -> Option<Step> {
        tracing::warn!(
            topic = self.topic.as_str(),
            error = error as &dyn std::error::Error,
            "history could not be read",
        );
        let outage = self.outage.get_or_insert_with(Outage::new);
        if outage.is_over(self.feeds.unavailable_after()) {
            return self.end_unavailable();
        }
        self.state = State::Pausing(from, Box::pin(sleep(outage.pause())));
        None
    }

    fn end_unavailable(&mut self) -> Option<Step> {
        self.state = State::Ended;
        self.listener = None;
        Some(Step::Unavailable(self.cursor))
    }
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(ReadFrom, Result<Read, StoreError>)> {
        if let Poll::Ready(answer) = self.answer.as_mut().poll(cx) {
            return Poll::Ready((self.from, answer));
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(READ_TIMEOUT)));
        ready!(deadline.as_mut().poll(cx));
        let late = StoreError::new(StoreErrorKind::Unavailable, "no answer in time");
        Poll::Ready((self.from, Err(late)))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Following => "Following",
            Self::Reading(_) => "Reading",
            Self::Paging(_) => "Paging",
            Self::Pausing(..) => "Pausing",
            Self::Ended => "Ended",
        })
    }
}
