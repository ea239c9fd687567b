//! Where an open stream stands.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Line, Polled};
use crate::{
    connection::{
        BoxError, Source, StreamFailed,
        decorate::{Retry, decorate},
        end::Ends,
        flush::Flush,
        over::Over,
        pace::Pace,
        terms::{Companion, Companions, Terms},
        watched::Watched,
    },
    event::{EndReason, HEARTBEAT, bye},
    wire::{COMMENT_LINE, LineScanner},
};

/// Is small: there is one for each client.
pub(super) struct State<S> {
    source: Option<S>,
    phase: Phase,
    pace: Pace,
    /// Is sent with the first event.
    retry: Option<Retry>,
    /// Whether the bytes are no text to add to.
    opaque: bool,
    heartbeat_event: bool,
    /// Why the stream is over.
    over: Option<EndReason>,
    /// Whether somebody is still to be told of that.
    untold: bool,
    /// Who polls the body, while the server waits for us.
    task: Option<Waker>,
    /// Boxed, since most streams have none.
    companions: Option<Box<Companions>>,
    watched: Watched,
}

enum Phase {
    Opening,
    Open,
    /// The stream is over; this is the last of its bytes.
    Parting(Box<Bytes>),
    /// The stream is over, for it has failed; what came before is on its way.
    Failing(Box<Flush>),
    Ended,
}

impl<S: Source + Send + 'static> State<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source: Some(source),
            phase: Phase::Opening,
            pace: Pace::new(),
            retry: None,
            opaque: false,
            heartbeat_event: false,
            over: None,
            untold: false,
            task: None,
            companions: None,
            watched: Watched::default(),
        }
    }

    /// Whether the last byte is out.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Adds what a layer has. Only the first says how the stream goes.
    pub(super) fn join(&mut self, terms: Terms, is_first: bool) {
        let Terms {
            decoration,
            companions,
            watch,
        } = terms;
        if is_first {
            self.heartbeat_event = decoration.heartbeat_event;
            self.retry = decoration.retry.map(Retry::new);
            self.opaque = decoration.opaque;
            self.pace.set(decoration.heartbeat, decoration.write_stall);
        }
        if !companions.is_empty() {
            let all = self.companions.get_or_insert_default();
            all.extend(companions);
        }
        self.watched.join(watch);
        // It may be over before a layer further out has seen it.
        self.untold |= self.over.is_some();
    }

    /// The body is dropped.
    pub(super) fn leave(&mut self, ends: &Ends) {
        self.over(ends, EndReason::Disconnected);
        self.pace.stop();
        self.phase = Phase::Ended;
        self.task = None;
    }

    pub(super) fn poll(
        &mut self,
        line: &Arc<Line<S>>,
        cx: &mut Context<'_>,
        write_buffer: usize,
    ) -> Polled {
        let polled = self.poll_next(line, cx, write_buffer);
        // What comes after the stream is over is no part of it.
        if let (Some(_), Poll::Ready(Some(Ok(bytes)))) = (&self.source, &polled) {
            self.watched.hand(bytes.len());
        }
        polled
    }

    fn poll_next(
        &mut self,
        line: &Arc<Line<S>>,
        cx: &mut Context<'_>,
        write_buffer: usize,
    ) -> Polled {
        loop {
            if self.source.is_some() {
                self.look_for_end(line, cx);
            }
            match &mut self.phase {
                Phase::Opening => {
                    self.phase = Phase::Open;
                    line.ends.attend(|| line.waker());
                    if !self.opaque {
                        return self.hand(line, Bytes::from_static(COMMENT_LINE));
                    }
                }
                Phase::Open => match self.poll_source(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        let bytes = self.decorated(bytes);
                        if !bytes.is_empty() {
                            return self.hand(line, bytes);
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        self.watched.fail(&*error);
                        let reason = match self.source.as_ref().map(S::end_reason) {
                            None | Some(EndReason::Complete) => EndReason::Failed,
                            Some(reason) => reason,
                        };
                        self.over(&line.ends, reason);
                        self.phase = Phase::Failing(Box::new(Flush::Begin));
                    }
                    Poll::Ready(None) => {
                        let source = self.source.as_ref();
                        let reason = source.map_or(EndReason::Complete, S::end_reason);
                        self.over(&line.ends, reason);
                        self.phase = Phase::Ended;
                    }
                    Poll::Pending if self.beats() => {
                        let heartbeat = self.heartbeat();
                        return self.hand(line, heartbeat);
                    }
                    Poll::Pending => {
                        self.wait(cx);
                        self.keep(line);
                        return Poll::Pending;
                    }
                },
                Phase::Parting(bytes) => {
                    let bytes = mem::take(&mut **bytes);
                    self.phase = Phase::Ended;
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Phase::Failing(flush) => match flush.poll(cx, write_buffer) {
                    Poll::Ready(Some(bytes)) => return self.hand(line, bytes),
                    // It waits for the client to take what was handed out, but not for ever.
                    Poll::Pending if !self.pace.is_stalled(Instant::now()) => {
                        self.wait(cx);
                        return Poll::Pending;
                    }
                    Poll::Ready(None) | Poll::Pending => {
                        self.phase = Phase::Ended;
                        self.pace.stop();
                        return Poll::Ready(Some(Err(StreamFailed)));
                    }
                },
                Phase::Ended => {
                    self.pace.stop();
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Answers a call of the clock. Returns what is left to do without the lock.
    pub(super) fn answer(&mut self, line: &Arc<Line<S>>) -> impl FnOnce() + use<S> {
        let task = self.called(line);
        let over = self.take_over();
        move || {
            if let Some(task) = task {
                task.wake();
            }
            if let Some(over) = over {
                over.tell();
            }
        }
    }

    /// Returns whom to wake.
    fn called(&mut self, line: &Arc<Line<S>>) -> Option<Waker> {
        if self
            .source
            .as_ref()
            .is_some_and(|source| !source.is_at_home())
        {
            // What may not leave its thread is dropped there.
            return self.task.take();
        }
        // One look at the clock, so that what is not due by it is still to come by it.
        let now = Instant::now();
        if self.source.is_some() {
            let is_stalled = self.pace.is_stalled(now);
            let stalled = || is_stalled.then_some((EndReason::Stalled, None));
            if let Some((reason, retry)) = self.due_end(line, || now).or_else(stalled) {
                self.part(line, reason, retry);
                return self.task.take();
            }
        }
        self.watched.tell_counts();
        if let Some(due) = self.dues().filter(|due| *due > now).min() {
            self.pace.keep_on(due, || line.waker());
        }
        // Where no clock is left, who polls finds another.
        let is_due = self.dues().any(|due| due <= now || !self.pace.is_kept(due));
        is_due.then(|| self.task.take()).flatten()
    }

    fn companions(&self) -> impl Iterator<Item = &dyn Companion> {
        let all = self.companions.iter().flat_map(|all| all.iter());
        all.map(|one| &**one)
    }

    /// When there is something to do.
    fn dues(&self) -> impl Iterator<Item = Instant> {
        let companions = self.companions().filter_map(|one| one.due());
        let pace = match self.phase {
            Phase::Opening | Phase::Open | Phase::Failing(_) => self.pace.due(),
            Phase::Parting(_) | Phase::Ended => None,
        };
        companions.chain(pace)
    }

    /// Sees to it that the clock calls when there is something to do next.
    pub(super) fn keep(&mut self, line: &Arc<Line<S>>) {
        if let Some(due) = self.dues().min() {
            self.pace.keep(due, || line.waker());
        }
    }

    /// The stream is over: its source is dropped, and all else but its last bytes is ready to be given
    /// back.
    fn over(&mut self, ends: &Ends, reason: EndReason) {
        if let Some(source) = self.source.take() {
            self.watched.drop(source);
            self.over = Some(reason);
            self.untold = true;
            ends.close();
        }
    }

    pub(super) fn take_over(&mut self) -> Option<Over> {
        let reason = self.over.filter(|_| mem::take(&mut self.untold))?;
        Some(Over {
            reason,
            companions: self.companions.take(),
            watched: self.watched.take(),
        })
    }

    /// Ends a stream that would go on.
    fn part(&mut self, line: &Arc<Line<S>>, reason: EndReason, retry: Option<Duration>) {
        let Some(source) = &mut self.source else {
            return;
        };
        let id = source.last_id();
        source.send_away(reason);
        if source.is_plain() {
            self.phase = Phase::Failing(Box::new(Flush::Begin));
            return self.over(&line.ends, reason);
        }
        let scanner = source.scanner();
        // What is cut off within an event must not get its end from us.
        let speaks = !self.opaque && scanner.is_none_or(|scanner| scanner.is_between_events());
        let bye = speaks.then(|| {
            let own = self.retry.take().map(Retry::time);
            let bye = match retry.or(own) {
                Some(retry) => bye(reason).retry(retry),
                None => bye(reason),
            };
            match id {
                Some(id) => bye.id_text(id),
                None => bye,
            }
        });
        self.phase = Phase::Parting(Box::new(bye.map_or_else(Bytes::new, |bye| bye.encode())));
        self.pace.stop();
        self.over(&line.ends, reason);
    }

    /// The end that the stream has come to, if it has.
    fn due_end(
        &self,
        line: &Arc<Line<S>>,
        now: impl Fn() -> Instant,
    ) -> Option<(EndReason, Option<Duration>)> {
        if let Some(end) = line.ends.due(&now) {
            return Some((end.reason, end.retry));
        }
        let ends = self.companions().filter_map(|one| one.end());
        let (at, reason) = ends.min_by_key(|(at, _)| *at)?;
        (at <= now()).then_some((reason, None))
    }

    fn look_for_end(&mut self, line: &Arc<Line<S>>, cx: &mut Context<'_>) {
        line.ends.attend_if_any(|| line.waker());
        if let Some((reason, retry)) = self.due_end(line, Instant::now) {
            return self.part(line, reason, retry);
        }
        let mut companions = self.companions.iter_mut().flat_map(|all| all.iter_mut());
        let end = companions.find_map(|one| match one.poll_end(cx) {
            Poll::Ready(reason) => Some(reason),
            Poll::Pending => None,
        });
        if let Some(reason) = end {
            self.part(line, reason, None);
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.source {
            Some(source) => self.watched.poll(source, cx),
            None => Poll::Ready(None),
        }
    }

    fn decorated(&mut self, bytes: Bytes) -> Bytes {
        if self.opaque {
            return bytes;
        }
        let scanner = self.source.as_mut().and_then(S::scanner);
        let is_foreign = scanner.is_some();
        let bytes = decorate(bytes, scanner, &mut self.retry);
        if is_foreign {
            self.watched.pass_on(&bytes);
        }
        bytes
    }

    fn hand(&mut self, line: &Arc<Line<S>>, bytes: Bytes) -> Polled {
        self.pace.hand();
        self.keep(line);
        Poll::Ready(Some(Ok(bytes)))
    }

    /// The server waits for us.
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Whether a heartbeat is to be sent now.
    fn beats(&mut self) -> bool {
        self.pace.wait();
        // Where a line of theirs was begun, it is left out.
        self.pace.beats() && self.scanner().is_none_or(|scanner| scanner.at_line_start())
    }

    fn scanner(&mut self) -> Option<&mut LineScanner> {
        self.source.as_mut().and_then(S::scanner)
    }

    /// What is sent where a line starts.
    fn heartbeat(&mut self) -> Bytes {
        self.watched.beat();
        // Within an event of theirs, ours would be the end of it.
        let is_between = |scanner: &mut LineScanner| scanner.is_between_events();
        let is_event = self.heartbeat_event && self.scanner().is_none_or(is_between);
        Bytes::from_static(if is_event { HEARTBEAT } else { COMMENT_LINE })
    }
}
