//! What a follower reads from the store.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use super::{
    Follower, Step,
    catching_up::{Answer, Catching, CatchingUp, Paging, Source},
};
use crate::{
    event::{EndReason, GapReason},
    store::{Page, Position, Read, ReadFrom, Record, RecordKind, StoreError},
    subscription::{
        budget::{Given, Out, piece},
        frame::{Frame, write_blocks},
        reader::Outage,
    },
    sync::Arc,
};

impl Follower {
    /// Reads, if need be once the client has let go of what it was given.
    pub(super) fn read(&mut self, from: ReadFrom) {
        let now = self.catching_up.as_deref();
        let given = now.and_then(|now| now.given.as_ref());
        if given.is_some_and(Given::is_in_the_way) {
            self.catch_up(Catching::Waiting(from, None));
        } else {
            self.read_now(from);
        }
    }

    pub(super) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let Some(CatchingUp {
            step: Catching::Waiting(from, patience),
            given: Some(given),
            ..
        }) = self.catching_up.as_deref_mut()
        else {
            return Poll::Ready(None);
        };
        let from = *from;
        let Some(patience) = patience else {
            *patience = Some(given.patience());
            return Poll::Ready(Some(Step::Line));
        };
        if given.poll_dropped(cx).is_pending() && patience.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.read_now(from);
        Poll::Ready(None)
    }

    fn read_now(&mut self, from: ReadFrom) {
        let feeds = self.feeds();
        let source = Source {
            store: Arc::clone(&feeds.store),
            budget: feeds.budget(),
            topic: self.topic().clone(),
            unavailable_after: feeds.unavailable_after(),
        };
        self.catch_up(Catching::read(source, from));
    }

    fn catch_up(&mut self, step: Catching) {
        match &mut self.catching_up {
            Some(catching_up) => catching_up.step = step,
            none => {
                *none = Some(Box::new(CatchingUp {
                    step,
                    outage: None,
                    given: None,
                }));
            }
        }
    }

    pub(super) fn take_answer(&mut self, from: ReadFrom, answer: Answer) -> Option<Step> {
        let (answer, out) = match answer {
            Answer::Read(answer, out) => (answer, out),
            Answer::Failed(error) => return self.fail(from, &error),
            Answer::Starved => return Some(self.end(EndReason::Unavailable)),
        };
        self.read_is_done();
        match answer {
            Read::Page(page) => self.take_page(page, out),
            Read::Evicted(evicted) => {
                self.live = false;
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
            Read::Ahead(_) if self.is_before_floor() => self.at_head = true,
            Read::Ahead(head) => self.lose_log(GapReason::Ahead, head),
        }
        None
    }

    fn take_page(&mut self, page: Page, out: Option<Arc<Out>>) {
        let cursor = match self.cursor {
            Some(cursor) if cursor.epoch() == page.start.epoch() => cursor,
            // A new client, or one that came before the log: the store says where that is.
            _ => self.raise(page.start, page.head),
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
            let given = out.as_ref().map(Given::new);
            self.catch_up(Catching::Paging(Paging { records, out }));
            if let Some(now) = self.catching_up.as_deref_mut()
                && !now.given.as_ref().is_some_and(Given::is_kept)
            {
                now.given = given;
            }
        }
    }

    fn read_is_done(&mut self) {
        if let Some(now) = &mut self.catching_up {
            now.step = Catching::Between;
            now.outage = None;
        }
    }

    fn page(&mut self) -> Option<&mut Paging> {
        self.catching_up.as_deref_mut()?.page()
    }

    /// Delivers what follows the cursor of the page that was read.
    pub(super) fn take_records(&mut self, joined: bool) -> Option<Step> {
        let cursor = self.cursor?;
        let Some(next) = self.page()?.records.front() else {
            self.read_is_done();
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
        if let (true, Some(cursor)) = (self.has_gap(), self.cursor) {
            return self.take_announcement(cursor);
        }
        // What goes first is copied, with the reconnection time before it. That is not in the budget,
        // so it is little.
        let most = if joined && !self.settled {
            1
        } else {
            usize::MAX
        };
        let page = self.page()?;
        let mut end = cursor.offset();
        let follows = |record: &&Record| {
            let follows = record.previous_offset() == end;
            end = record.offset();
            follows
        };
        let len = page.records.iter().take(most).take_while(follows).count();
        let mut run: Vec<Record> = page.records.drain(..len).collect();
        let out = match page.records.is_empty() {
            true => page.out.take(),
            false => page.out.clone(),
        };
        let to = Position::new(cursor.epoch(), run.last()?.offset());
        let hidden = self.hidden(run.iter().map(Record::appended_at));
        run.drain(..hidden);
        let is_event = |record: &Record| record.content().kind() == RecordKind::Event;
        self.pages = self.pages.saturating_add(1);
        self.moved(to, run.iter().any(is_event));
        if joined {
            let mut blocks = Vec::new();
            let events = write_blocks(&mut blocks, to.epoch(), &run);
            return (events > 0).then(|| Step::Joined(piece(blocks, out), events));
        }
        if run.is_empty() {
            return None;
        }
        let frames = run.iter().map(|record| Frame::new(to.epoch(), record));
        Some(Step::Frames(frames.collect(), to, out))
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
            return Some(self.end(EndReason::Unavailable));
        }
        catching_up.step = Catching::Pausing(from, Box::pin(tokio::time::sleep(outage.pause())));
        None
    }
}
