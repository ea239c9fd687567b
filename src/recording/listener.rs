//! One client of a recorded response.

mod steps;
mod watch;

use std::{
    error::Error,
    fmt,
    task::{Context, Poll, ready},
    time::Duration,
};

use smol_str::{SmolStr, format_smolstr};

use super::{
    ENDED, Name, Recordings, Rules,
    id::UNRECORDED,
    note::Outcome,
    production::{Now, Production, Seat},
};
use crate::{
    connection::{BoxError, Source},
    event::{EndReason, Event, Gap, GapReason, bye, gap, not_resumable, open},
    last_event_id::ResumeOutcome,
    sent::{Sent, Standing},
    store::Position,
    subscription::{Begin, Floor, Follower, Resume},
    sync::Arc,
    topic_name::TopicName,
};
use watch::Watch;

/// One client of a recorded response, as the source of its connection.
pub(crate) struct Listener {
    recordings: Arc<Recordings>,
    /// What its ids begin with.
    prefix: Box<str>,
    topic: TopicName,
    rules: Rules,
    phase: Phase,
    /// Up to where the client was sent the record.
    cursor: Option<Position>,
    /// Where it came back from.
    start: Option<Position>,
    /// What its last id says: always an event, or where it begins or goes on behind a gap.
    place: Option<Position>,
    /// Where the events are that it was sent before their producer knew that they are stored. Only a
    /// producer appends events, so these are those that it appended last.
    uncertain: Vec<u64>,
    /// What it is told first.
    gap: Option<GapReason>,
    resume: ResumeOutcome,
    /// What the stream has said about reconnecting, for the next event.
    retry: Option<Duration>,
    /// Where the producer is in this process, the place there.
    seat: Option<Seat>,
    end_reason: EndReason,
}

enum Phase {
    /// The record is still to be begun.
    Opening,
    Following(Box<Following>),
    /// The log is gone that it was following, up to there.
    Gone(Option<Position>),
    /// What comes is in no record.
    Passing,
    /// This is last, and then the stream ends or fails.
    Ending(Outcome),
    Failing(Outcome),
    Over,
}

struct Following {
    follower: Follower,
    watch: Watch,
}

impl Listener {
    /// The first one of a response that this process produces.
    pub(super) fn first(
        recordings: &Arc<Recordings>,
        name: Name,
        topic: TopicName,
        rules: Rules,
        production: &Arc<Production>,
    ) -> Self {
        Self {
            phase: Phase::Opening,
            seat: Some(production.sit(0)),
            ..Self::new(recordings, name, topic, rules)
        }
    }

    /// One that comes back to where it was.
    pub(super) fn after(
        recordings: &Arc<Recordings>,
        name: Name,
        topic: TopicName,
        rules: Rules,
        at: Position,
    ) -> Self {
        let mut listener = Self {
            resume: ResumeOutcome::Resumed,
            seat: recordings
                .production(&topic)
                .map(|one| one.sit(at.offset())),
            ..Self::new(recordings, name, topic, rules)
        };
        listener.follow(Resume::After(at));
        listener.cursor = Some(at);
        listener.start = Some(at);
        listener.place = Some(at);
        listener
    }

    /// One that is sent all from the beginning.
    pub(super) fn from_start(
        recordings: &Arc<Recordings>,
        name: Name,
        topic: TopicName,
        rules: Rules,
    ) -> Self {
        let mut listener = Self {
            seat: recordings.production(&topic).map(|one| one.sit(0)),
            ..Self::new(recordings, name, topic, rules)
        };
        listener.follow(Resume::Nothing);
        listener
    }

    fn new(recordings: &Arc<Recordings>, name: Name, topic: TopicName, rules: Rules) -> Self {
        Self {
            recordings: Arc::clone(recordings),
            prefix: name.to_string().into(),
            topic,
            rules,
            phase: Phase::Over,
            cursor: None,
            start: None,
            place: None,
            uncertain: Vec::new(),
            gap: None,
            resume: ResumeOutcome::New,
            retry: None,
            seat: None,
            end_reason: EndReason::Complete,
        }
    }

    /// Tells the client first that it is not sent what it came for.
    pub(crate) fn tell_gap(&mut self, reason: GapReason) {
        self.gap = Some(reason);
        self.resume = ResumeOutcome::Gap(reason);
    }

    fn follow(&mut self, resume: Resume) {
        let feeds = &self.recordings.feeds;
        let mut follower = Follower::new(
            feeds,
            &self.topic,
            resume,
            Begin::Oldest,
            None,
            Floor::default(),
        );
        follower.without_priming();
        self.phase = Phase::Following(Box::new(Following {
            follower,
            watch: Watch::new(self.rules.lease),
        }));
    }

    /// Waits for the record, and sends the client its place in it.
    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        let Some(seat) = &self.seat else {
            self.phase = Phase::Ending(Outcome::Lost);
            return Poll::Ready(None);
        };
        let look = seat.look(cx);
        let Some(at) = look.from else {
            return match look.now {
                Now::Recorded => Poll::Pending,
                now => Poll::Ready(self.leave_record(now, None)),
            };
        };
        self.follow(Resume::After(at));
        self.cursor = Some(at);
        self.place = Some(at);
        Poll::Ready(match self.gap.take() {
            Some(reason) => self.tell(gap(Gap::new(reason, None), None), self.id(at)),
            None if self.rules.ids => self.tell(open(), self.id(at)),
            None => None,
        })
    }

    fn poll_following(&mut self, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        if let Some(reason) = self.gap.take() {
            // Without an id: where the record begins is not known yet, and asked again it is told again.
            return Poll::Ready(self.tell(gap(Gap::new(reason, None), None), None));
        }
        let Phase::Following(following) = &mut self.phase else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(step) = following.follower.poll_step(cx, false) {
            return Poll::Ready(match step {
                Some(step) => self.take(step),
                None => self.end(EndReason::Complete),
            });
        }
        let cursor = following.follower.told();
        let look = self.seat.as_ref().map(|seat| seat.look(cx));
        match look.map(|look| (look.now, look.head)) {
            // Its producer is here, and alive.
            Some((Now::Recorded, _)) => return Poll::Pending,
            Some((now @ (Now::Passing | Now::Ended(_)), head)) if has_reached(cursor, head) => {
                return Poll::Ready(self.leave_record(now, None));
            }
            // The log still has more.
            Some((Now::Passing | Now::Ended(_), _)) => return Poll::Pending,
            Some((Now::Lost, _)) => following.watch.give_up_producer(),
            None => {}
        }
        let Some(cursor) = cursor else {
            return Poll::Pending;
        };
        let log = watch::Log {
            feeds: &self.recordings.feeds,
            topic: &self.topic,
            rules: &self.rules,
            at: cursor,
            is_live: following.follower.standing().live,
        };
        following.watch.poll(&log, cx);
        Poll::Pending
    }

    /// The log is gone, and what is not in it may be here.
    fn poll_gone(&mut self, at: Option<Position>, cx: &Context<'_>) -> Poll<Option<Sent>> {
        match self.seat.as_ref().map(|seat| seat.look(cx)) {
            // It will find out.
            Some(look) if look.now == Now::Recorded => Poll::Pending,
            Some(look) if look.now == Now::Passing => {
                let missing = (!has_reached(at, look.head)).then_some(GapReason::Lost);
                Poll::Ready(self.leave_record(look.now, missing))
            }
            Some(look) if has_reached(at, look.head) => {
                Poll::Ready(self.leave_record(look.now, None))
            }
            _ => {
                let gap = self.tell(unknown(), SmolStr::new_static(ENDED));
                self.end(EndReason::Complete);
                Poll::Ready(gap)
            }
        }
    }

    /// What follows is in no record.
    fn leave_record(&mut self, now: Now, missing: Option<GapReason>) -> Option<Sent> {
        self.phase = match now {
            Now::Ended(outcome) => Phase::Ending(outcome),
            Now::Lost => Phase::Ending(Outcome::Lost),
            Now::Recorded | Now::Passing => Phase::Passing,
        };
        if now != Now::Passing {
            return None;
        }
        let has_all = self.seat.as_ref().is_none_or(|seat| {
            let certain = seat.certain();
            self.uncertain.retain(|offset| *offset > certain);
            let read = self.uncertain.len() as u64;
            // Its id is of an event that was read elsewhere, or on another connection.
            let came_with = self.start.is_some_and(|start| start.offset() > certain);
            let has_all = match came_with {
                true => seat.pass_behind_all(read),
                false => {
                    seat.pass_behind(read);
                    true
                }
            };
            has_all && !seat.is_late()
        });
        let missing = missing.or((!has_all).then_some(GapReason::Lost));
        match missing.or(self.gap.take()) {
            Some(reason) => self.tell(
                gap(Gap::new(reason, None), None),
                SmolStr::new_static(UNRECORDED),
            ),
            None if self.rules.ids => self.tell(not_resumable(), SmolStr::new_static(UNRECORDED)),
            None => None,
        }
    }

    fn poll_passing(&mut self, cx: &Context<'_>) -> Poll<Option<Sent>> {
        let Some(seat) = &self.seat else {
            self.phase = Phase::Ending(Outcome::Lost);
            return Poll::Ready(None);
        };
        // First, so that what comes after the look wakes.
        seat.look(cx);
        match seat.next_passed() {
            Ok(Some((bytes, events))) => Poll::Ready(Some(Sent {
                bytes,
                events,
                gap: None,
            })),
            Ok(None) => Poll::Pending,
            // It is whole, and its client is to come back as one that has all.
            Err(Outcome::Finished) if self.rules.ids => {
                self.end(EndReason::Complete);
                Poll::Ready(self.tell(open(), SmolStr::new_static(ENDED)))
            }
            Err(outcome) => {
                self.phase = Phase::Ending(outcome);
                Poll::Ready(None)
            }
        }
    }

    /// The id of a place in the record.
    fn id(&self, at: Position) -> SmolStr {
        format_smolstr!("{}{at}", self.prefix)
    }

    /// An event of ours, with an id where there are any.
    fn tell(&self, event: Event, id: impl Into<Option<SmolStr>>) -> Option<Sent> {
        let reason = event.gap().map(Gap::reason);
        let event = match id.into().filter(|_| self.rules.ids) {
            Some(id) => event.id_text(id),
            None => event,
        };
        Some(Sent {
            bytes: event.encode(),
            events: 0,
            gap: reason,
        })
    }

    fn end(&mut self, reason: EndReason) -> Option<Sent> {
        self.phase = Phase::Over;
        self.end_reason = reason;
        None
    }

    /// Tells the client how it has ended, where that is not by itself.
    fn tell_outcome(&mut self, outcome: Outcome) -> Option<Sent> {
        let reason = match outcome {
            Outcome::Finished => return self.end(EndReason::Complete),
            Outcome::Cancelled => EndReason::Cancelled,
            Outcome::Failed => EndReason::Failed,
            Outcome::Lost => EndReason::Lost,
        };
        self.end(reason);
        // Without the `sse.bye`, a clean end would say that it is whole.
        if outcome != Outcome::Cancelled || !self.rules.ids {
            self.phase = Phase::Failing(outcome);
        }
        match self.rules.ids {
            true => self.tell(bye(reason), SmolStr::new_static(ENDED)),
            false => None,
        }
    }
}

impl Source for Listener {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Sent, BoxError>>> {
        loop {
            let sent = match self.phase {
                Phase::Opening => ready!(self.poll_opening(cx)),
                Phase::Following(_) => ready!(self.poll_following(cx)),
                Phase::Gone(at) => ready!(self.poll_gone(at, cx)),
                Phase::Passing => ready!(self.poll_passing(cx)),
                Phase::Ending(outcome) => self.tell_outcome(outcome),
                Phase::Failing(outcome) => {
                    self.phase = Phase::Over;
                    return Poll::Ready(Some(Err(Box::new(NotWhole(outcome)))));
                }
                Phase::Over => return Poll::Ready(None),
            };
            if let Some(sent) = sent {
                return Poll::Ready(Some(Ok(sent)));
            }
        }
    }

    fn is_plain(&self) -> bool {
        !self.rules.ids
    }

    fn last_id(&self) -> Option<SmolStr> {
        match self.phase {
            _ if !self.rules.ids => None,
            Phase::Following(_) => self.place.map(|at| self.id(at)),
            Phase::Opening | Phase::Gone(_) => None,
            Phase::Passing => Some(SmolStr::new_static(UNRECORDED)),
            Phase::Ending(_) | Phase::Failing(_) | Phase::Over => Some(SmolStr::new_static(ENDED)),
        }
    }

    fn standing(&self) -> Option<Standing> {
        let live = match &self.phase {
            Phase::Following(following) => following.follower.standing().live,
            _ => true,
        };
        Some(Standing {
            resume: Some(self.resume),
            live,
        })
    }

    fn end_reason(&self) -> EndReason {
        self.end_reason
    }

    fn send_away(&mut self, reason: EndReason) {
        if let (Some(seat), true) = (&mut self.seat, reason != EndReason::Revoked) {
            seat.expect_back();
        }
    }
}

/// That a response is not whole, to the log; its clients see it break off.
#[derive(Debug)]
struct NotWhole(Outcome);

impl fmt::Display for NotWhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a recorded response is not whole, but {}", self.0)
    }
}

impl Error for NotWhole {}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its name is what it is protected by.
        f.debug_struct("Listener")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Whether a client that was sent all up to a place was sent all up to this one.
fn has_reached(cursor: Option<Position>, place: Option<Position>) -> bool {
    place.is_none_or(|place| {
        cursor.is_some_and(|at| at.epoch() == place.epoch() && at.offset() >= place.offset())
    })
}

/// What a client is told whose response is not here, for whatever reason.
pub(crate) fn unknown() -> Event {
    gap(Gap::new(GapReason::Unknown, None), None)
}
