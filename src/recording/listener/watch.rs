//! Watching a producer that is not in this process, or is no more.
//!
//! A producer appends something at least three times in a lease. Who listens judges that by its own
//! monotonic clock, from when it saw something last, so clocks need not agree. What it then appends is
//! the end, under the condition that it has seen all that there is: if the producer has appended
//! meanwhile, nothing is stored, and if the end is stored, the producer cannot append any more.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    recording::{
        Rules,
        note::{Note, Outcome},
    },
    store::{Append, Appended, BoxFuture, NewRecord, Position, StoreError},
    subscription::{Feeds, in_time},
    sync::Arc,
    topic_name::TopicName,
};

/// What one listener knows of the producer, and tells it.
pub(super) struct Watch {
    lease: Duration,
    heard: Instant,
    /// When it is to be noted that somebody listens.
    note_at: Instant,
    has_noted: bool,
    is_lost: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    appending: Option<BoxFuture<'static, Result<Appended, StoreError>>>,
}

/// The log that is followed, and where its listener is.
pub(super) struct Log<'a> {
    pub(super) feeds: &'a Arc<Feeds>,
    pub(super) topic: &'a TopicName,
    pub(super) rules: &'a Rules,
    pub(super) at: Position,
    /// Whether it has seen all that there is.
    pub(super) is_live: bool,
}

impl Watch {
    pub(super) fn new(lease: Duration) -> Self {
        let now = Instant::now();
        Self {
            lease,
            heard: now,
            // What is still to be read may have an end: a note behind it would keep the record.
            note_at: now.checked_add(lease / 3).unwrap_or(now),
            has_noted: false,
            is_lost: false,
            alarm: None,
            appending: None,
        }
    }

    /// Its producer has appended something.
    pub(super) fn hear(&mut self) {
        self.heard = Instant::now();
    }

    /// Its producer was here, and is no more: there is no need to wait.
    pub(super) fn give_up_producer(&mut self) {
        self.is_lost = true;
    }

    /// Sees to it that the producer knows of this listener, and that its death is noticed.
    pub(super) fn poll(&mut self, log: &Log<'_>, cx: &mut Context<'_>) {
        loop {
            if let Some(appending) = &mut self.appending {
                let Poll::Ready(appended) = appending.as_mut().poll(cx) else {
                    return;
                };
                self.appending = None;
                match appended {
                    Ok(Appended::Stored(_)) => {}
                    // What others have said is read first; there is nothing to note if that is the end.
                    Ok(Appended::Conflict(_)) => {
                        let soon = Instant::now().checked_add(self.lease / 30);
                        self.note_at = soon.map_or(self.note_at, |at| at.min(self.note_at));
                    }
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        let topic = log.topic.as_str();
                        tracing::warn!(error, topic, "a recorded response could not be watched");
                    }
                }
                // In case the store does not tell of what was appended.
                log.feeds.wake(log.topic);
            }
            let now = Instant::now();
            let lost_at = self.heard.checked_add(self.lease);
            if self.is_lost || lost_at.is_some_and(|at| at <= now) {
                // Once; then it waits for another lease, should others be in the way.
                self.is_lost = false;
                self.heard = now;
                self.note_at = now.checked_add(self.lease).unwrap_or(now);
                self.appending = Some(log.append(Outcome::Lost.record(), Condition::AtHead));
            } else if self.note_at <= now || (log.is_live && !self.has_noted) {
                let condition = match log.is_live && !self.has_noted {
                    true => Condition::AtHead,
                    false => Condition::None,
                };
                self.has_noted = true;
                self.note_at = now.checked_add(self.lease).unwrap_or(now);
                self.appending = Some(log.append(Note::Listened.record(), condition));
            } else if !self.sleeps(lost_at.map_or(self.note_at, |at| at.min(self.note_at)), cx) {
                return;
            }
        }
    }

    /// Whether it is time.
    fn sleeps(&mut self, until: Instant, cx: &mut Context<'_>) -> bool {
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        // Not for each event: it goes off too early then.
        if until < alarm.deadline() || alarm.is_elapsed() {
            alarm.as_mut().reset(until);
        }
        alarm.as_mut().poll(cx).is_ready()
    }
}

enum Condition {
    None,
    /// Nobody has appended anything that this listener has not seen.
    AtHead,
}

impl Log<'_> {
    fn append(
        &self,
        record: NewRecord,
        condition: Condition,
    ) -> BoxFuture<'static, Result<Appended, StoreError>> {
        let (feeds, topic) = (Arc::clone(self.feeds), self.topic.clone());
        let gone_after = self.rules.gone_after(std::slice::from_ref(&record));
        let append = Append::new([record]).gone_after(gone_after);
        let append = match condition {
            Condition::None => append,
            Condition::AtHead => append.while_head(self.at),
        };
        Box::pin(async move { in_time(feeds.store.append(&topic, append)).await })
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("lease", &self.lease)
            .field("heard", &self.heard)
            .finish_non_exhaustive()
    }
}
