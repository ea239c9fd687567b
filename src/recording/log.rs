//! The log of a response, to the one who produces it.
//!
//! # Why there is one producer, and one end
//!
//! A producer appends only while the head of the log is the one up to which it knows the log, and it
//! goes on only where no end is in what it knows. Whoever ends a log, the producer itself or a listener
//! that has not heard of it for a lease, does it with an append of the same condition. So of two that
//! append at once one is refused; what refused it is read; and if that has an end, the producer has no
//! more to say. Notes of others need no condition: they decide nothing, and a producer that they were
//! in the way of tries again behind them.
//!
//! The condition is also why an append whose answer was lost can be tried again: if it was stored after
//! all, the head is another one, and the records are found there.

use std::{error::Error, fmt, time::Duration};

use backon::ExponentialBackoff;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Rules,
    note::{Note, Outcome},
};
use crate::{
    store::{
        Append, Appended, NewRecord, Page, Position, Read, ReadFrom, Record, RecordKind,
        StoreError, StoreErrorKind,
    },
    subscription::{Feeds, MAX_PAUSE, PAGE_BYTES, in_time, pauses},
    sync::Arc,
    topic_name::TopicName,
};

/// The log that one producer appends to.
#[derive(Debug)]
pub(super) struct Log {
    feeds: Arc<Feeds>,
    topic: TopicName,
    head: Position,
    rules: Rules,
}

/// Why a producer cannot go on with its log.
#[derive(Debug)]
pub(super) enum LogError {
    /// Somebody has ended it.
    Ended(Outcome),
    /// It is gone, or there is another one in its place.
    Gone,
    Store(StoreError),
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(outcome) => write!(f, "the record was ended: {outcome}"),
            Self::Gone => f.write_str("the record is gone"),
            Self::Store(_) => f.write_str("the record could not be stored"),
        }
    }
}

impl Error for LogError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Ended(_) | Self::Gone => None,
            Self::Store(error) => Some(error),
        }
    }
}

impl Log {
    /// Begins the log of `topic`, which has no log yet, and begins at `head` if that is known. `None` if
    /// somebody else has begun it.
    pub(super) async fn begin(
        feeds: &Arc<Feeds>,
        topic: TopicName,
        head: Option<Position>,
        rules: &Rules,
    ) -> Result<Option<Self>, StoreError> {
        let mut tries = Tries::new(rules.lease);
        let head = loop {
            let found = match head {
                Some(head) => break head,
                None => in_time(feeds.store.heads(std::slice::from_ref(&topic))).await,
            };
            match found.map(|heads| heads.first().copied()) {
                Ok(Some(head)) => break head,
                Ok(None) => return Err(StoreErrorKind::Damaged.into()),
                Err(error) => tries.fail(error).await?,
            }
        };
        let mut log = Self {
            feeds: Arc::clone(feeds),
            topic,
            head,
            rules: *rules,
        };
        let token = format!("{:x}", fastrand::u128(..));
        match log.append(&[Note::Begun { token }.record()]).await {
            Ok(_) => Ok(Some(log)),
            Err(LogError::Ended(_) | LogError::Gone) => Ok(None),
            Err(LogError::Store(error)) => Err(error),
        }
    }

    pub(super) const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The position behind the last record that is known.
    pub(super) const fn head(&self) -> Position {
        self.head
    }

    /// Appends, and returns what others have noted meanwhile.
    ///
    /// Not cancel safe.
    pub(super) async fn append(&mut self, records: &[NewRecord]) -> Result<Vec<Note>, LogError> {
        let mut tries = Tries::new(self.rules.lease);
        let mut all = Vec::new();
        loop {
            match self.attempt(records, &mut tries).await? {
                Attempt::Stored(notes) => {
                    all.extend(notes);
                    return Ok(all);
                }
                Attempt::Noted(notes) => all.extend(notes),
            }
        }
    }

    /// Ends the log, unless others have noted something. Returns that.
    pub(super) async fn end_unless_noted(
        &mut self,
        outcome: Outcome,
    ) -> Result<Option<Vec<Note>>, LogError> {
        let mut tries = Tries::new(self.rules.lease);
        match self.attempt(&[outcome.record()], &mut tries).await? {
            Attempt::Stored(_) => Ok(None),
            Attempt::Noted(notes) => Ok(Some(notes)),
        }
    }

    /// Ends the log, unless somebody has; returns how.
    pub(super) async fn end(&mut self, outcome: Outcome) -> Result<Outcome, LogError> {
        match self.append(&[outcome.record()]).await {
            Ok(_) => Ok(outcome),
            Err(LogError::Ended(before)) => Ok(before),
            Err(error) => Err(error),
        }
    }

    /// Ends a log in which nothing has happened, so that it may begin anew.
    pub(super) async fn give_up(&mut self) -> Result<Outcome, LogError> {
        self.rules.kept_for = Duration::from_millis(1);
        self.end(Outcome::Failed).await
    }

    /// Appends, unless others have meanwhile.
    async fn attempt(
        &mut self,
        records: &[NewRecord],
        tries: &mut Tries,
    ) -> Result<Attempt, LogError> {
        let gone_after = self.rules.gone_after(records);
        loop {
            let append = Append::new(records.iter().cloned())
                .while_head(self.head)
                .gone_after(gone_after);
            let appended = self.feeds.store.append(&self.topic, append);
            match self.in_time(appended).await {
                Ok(Appended::Stored(head)) => {
                    self.show(records, head);
                    self.head = head;
                    return Ok(Attempt::Stored(Vec::new()));
                }
                Ok(Appended::Conflict(_)) => {
                    let found = self.read_on(tries).await?;
                    if !found.is_empty() {
                        return understand(&found, records);
                    }
                    // The store has changed its mind.
                    tries.fail(StoreErrorKind::Unavailable.into()).await?;
                }
                Err(error) => tries.fail(error).await?,
            }
        }
    }

    /// Shows those who listen here what is stored, where its places are known.
    fn show(&self, records: &[NewRecord], head: Position) {
        let start = self.head;
        let is_run = start.epoch() == head.epoch()
            && head.offset().checked_sub(start.offset()) == Some(records.len() as u64);
        if is_run {
            let placed = (start.offset() + 1..).zip(records);
            let placed = placed.map(|(offset, record)| Record::new(offset, record.clone()));
            let records = placed.collect();
            let page = Page {
                start,
                records,
                head,
            };
            self.feeds.show(&self.topic, &page);
        }
    }

    /// What a store has not answered by then may or may not have happened.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        // There is no clock.
        if cfg!(shuttle) {
            return answer.await;
        }
        let late = |late| Err(StoreError::new(StoreErrorKind::OutcomeUnknown, late));
        timeout(self.rules.lease, answer).await.unwrap_or_else(late)
    }

    /// Reads what others have appended.
    async fn read_on(&mut self, tries: &mut Tries) -> Result<Vec<NewRecord>, LogError> {
        let mut found = Vec::new();
        loop {
            let from = ReadFrom::After(self.head);
            let read = self.feeds.store.read(&self.topic, from, PAGE_BYTES);
            match self.in_time(read).await {
                // It begins elsewhere only where that is the beginning of the log.
                Ok(Read::Page(page)) => {
                    self.head = page.end();
                    found.extend(page.records.into_iter().map(Record::into_content));
                    if self.head == page.head {
                        return Ok(found);
                    }
                }
                Ok(_) => return Err(LogError::Gone),
                Err(error) => tries.fail(error).await?,
            }
        }
    }
}

/// What an append has come to.
#[derive(Debug)]
enum Attempt {
    /// It is stored, by an earlier attempt perhaps, behind what others have noted.
    Stored(Vec<Note>),
    /// It is not, since others have noted something.
    Noted(Vec<Note>),
}

/// What was found where `records` were to be appended.
fn understand(found: &[NewRecord], records: &[NewRecord]) -> Result<Attempt, LogError> {
    let is_stored = found.windows(records.len()).any(|run| run == records);
    let mut notes = Vec::new();
    for record in found
        .iter()
        .filter(|record| !is_stored || !records.contains(record))
    {
        match (record.kind(), Note::of(record)) {
            (RecordKind::End, _) => return Err(LogError::Ended(Outcome::parse(record.data()))),
            // There is another producer.
            (RecordKind::Event, _) | (_, Some(Note::Begun { .. })) => return Err(LogError::Gone),
            (_, note) => notes.extend(note),
        }
    }
    match is_stored {
        true => Ok(Attempt::Stored(notes)),
        false => Ok(Attempt::Noted(notes)),
    }
}

/// Attempts, until it has taken too long.
struct Tries {
    until: Option<Instant>,
    pauses: ExponentialBackoff,
}

impl Tries {
    fn new(patience: Duration) -> Self {
        Self {
            until: Instant::now().checked_add(patience),
            pauses: pauses(),
        }
    }

    /// Waits for the next attempt, unless another one is of no use.
    async fn fail(&mut self, error: StoreError) -> Result<(), StoreError> {
        let is_passing = matches!(
            error.kind(),
            StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
        );
        let pause = self.pauses.next().unwrap_or(MAX_PAUSE);
        let next = Instant::now().checked_add(pause);
        if !is_passing
            || self
                .until
                .is_some_and(|until| next.is_none_or(|next| next > until))
        {
            return Err(error);
        }
        sleep(pause).await;
        Ok(())
    }
}

#[cfg(all(test, not(shuttle)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        num::NonZeroUsize,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{
        recording::{Leaving, StoreFailure},
        store::{Epoch, EventStore, MemoryStore},
    };

    /// The head of a topic without a log, in stores where that is of no log to come.
    const ABSENT: Position = Position::new(Epoch::new(7), 3);

    /// Stores the first append, and does not say so.
    struct Mute {
        store: MemoryStore,
        beginning: Position,
        has_lost: AtomicBool,
    }

    impl Mute {
        fn place(&self, at: Position) -> Position {
            match at {
                ABSENT => self.beginning,
                at => at,
            }
        }
    }

    impl EventStore for Mute {
        async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
            let append = match append.condition() {
                Some(at) => append.while_head(self.place(at)),
                None => append,
            };
            let answer = self.store.append(topic, append).await;
            match self.has_lost.swap(true, Ordering::Relaxed) {
                true => answer,
                false => Err(StoreErrorKind::OutcomeUnknown.into()),
            }
        }

        async fn read(
            &self,
            topic: &TopicName,
            from: ReadFrom,
            max_bytes: NonZeroUsize,
        ) -> Result<Read, StoreError> {
            let from = match from {
                ReadFrom::After(at) => ReadFrom::After(self.place(at)),
                from => from,
            };
            self.store.read(topic, from, max_bytes).await
        }

        async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
            self.store.heads(topics).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_whose_beginning_is_not_acknowledged_is_begun_once() {
        let topic = TopicName::from_static("recorded/one");
        let store = MemoryStore::new();
        let feeds = Feeds::new(Arc::new(Mute {
            beginning: store.head_now(&topic).unwrap(),
            store,
            has_lost: AtomicBool::new(false),
        }));
        let rules = Rules {
            lease: Duration::from_secs(10),
            kept_for: Duration::from_secs(600),
            leaving: Leaving::Cancel,
            failing: StoreFailure::Fail,
            ids: true,
        };
        let begun = Log::begin(&feeds, topic.clone(), Some(ABSENT), &rules)
            .await
            .unwrap();
        let mut log = begun.expect("nobody else has begun it");
        log.end(Outcome::Finished).await.unwrap();
        let read = feeds.store.read(&topic, ReadFrom::Oldest, PAGE_BYTES).await;
        let Read::Page(page) = read.unwrap() else {
            panic!("it is there");
        };
        let kinds = page.records.iter().map(|record| record.content().kind());
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            [RecordKind::Lease, RecordKind::End]
        );
        assert_eq!(log.head(), page.head);
    }
}
