//! Who records a response: a task of its own, whoever listens.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    time::Duration,
};

use tokio::{
    task::coop::consume_budget,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Entered, Listener, Name, Owner, Recordings, Rules, StoreFailure,
    log::{Log, LogError},
    note::{Note, Outcome},
    production::{Production, Todo},
};
use crate::{
    connection::{Source, WeakStream, caught, drop_caught},
    event::EventName,
    store::{NewRecord, RecordKind},
    sync::Arc,
    topic_name::TopicName,
    wire::{Block, DecodedEvent, Decoder},
};

/// How much is appended at once at most, in bytes and in records, unless one event is larger.
const BATCH_BYTES: usize = 64 * 1024;
const BATCH_RECORDS: usize = 256;

/// Events of ours that say where a client is, which those who listen are told by their own.
const PLACES: [&str; 2] = ["sse.open", "sse.heartbeat"];

/// The one who records a response. It does nothing until it [runs](Self::run).
pub(crate) struct Producer {
    recordings: Arc<Recordings>,
    production: Arc<Production>,
    topic: TopicName,
    rules: Rules,
    recorder: Recorder,
    decoder: Decoder,
    retry: Option<Duration>,
    /// When its next sign of life is due.
    alive_at: Instant,
    _entered: Entered,
    /// What is held as long as it runs.
    held: Vec<Box<dyn Send>>,
}

/// Where events go.
enum Recorder {
    NotYet,
    Log(Log),
    /// To those who listen here, and nowhere else.
    Nowhere,
}

impl Recordings {
    /// Begins to record a response that has no name yet. Its first listener is the client that asked.
    pub(crate) fn begin(
        self: &Arc<Self>,
        owner: &Owner,
        rules: Rules,
    ) -> Result<(Producer, Listener), getrandom::Error> {
        let name = owner.new_name()?;
        let topic = owner.topic(name);
        Ok(self.produce(name, topic, rules, Recorder::NotYet))
    }

    pub(super) fn produce_in(
        self: &Arc<Self>,
        name: Name,
        log: Log,
        rules: Rules,
    ) -> (Producer, Listener) {
        let topic = log.topic().clone();
        self.produce(name, topic, rules, Recorder::Log(log))
    }

    fn produce(
        self: &Arc<Self>,
        name: Name,
        topic: TopicName,
        rules: Rules,
        recorder: Recorder,
    ) -> (Producer, Listener) {
        let production = Production::new(rules, self.feeds.store.retention());
        if let Recorder::Log(log) = &recorder {
            production.begin(log.head());
        }
        let listener = Listener::first(self, name, topic.clone(), rules, &production);
        let producer = Producer {
            _entered: self.enter(&topic, &production),
            recordings: Arc::clone(self),
            production,
            topic,
            rules,
            recorder,
            decoder: Decoder::new(),
            retry: None,
            alive_at: Instant::now() + rules.alive_every(),
            held: Vec::new(),
        };
        (producer, listener)
    }
}

impl Producer {
    /// What ends it from outside.
    pub(crate) fn stream(&self) -> WeakStream {
        WeakStream::of(&self.production)
    }

    /// Holds something until the response is over.
    pub(crate) fn hold(&mut self, held: impl Send + 'static) {
        self.held.push(Box::new(held));
    }

    /// Records what `opening` opens, until it is over: `None` if that is no event stream after all.
    ///
    /// Dropping this is the death of a producer, which its listeners are told.
    pub(crate) async fn run<S: Source>(mut self, opening: impl Future<Output = Option<S>>) {
        let _closed = Closed(Arc::clone(&self.production));
        let mut end = self.produce(opening).await;
        if let (Recorder::Log(log), false) = (&mut self.recorder, end.is_told) {
            let ended = match end.is_stream {
                true => log.end(end.outcome).await,
                false => log.give_up().await,
            };
            match ended {
                Ok(outcome) => end.outcome = outcome,
                Err(error) => complain(&self.topic, &error),
            }
        }
        self.production.end(end.outcome);
    }

    async fn produce<S: Source>(&mut self, opening: impl Future<Output = Option<S>>) -> End {
        let mut alarm = pin!(sleep_until(self.alive_at));
        if let Recorder::NotYet = self.recorder
            && let Err(end) = self.begin().await
        {
            return end;
        }
        let mut source = match self.turn(alarm.as_mut(), opening).await {
            Ok(Some(source)) => source,
            Ok(None) => return End::NO_STREAM,
            Err(end) => return end,
        };
        let end = self.record(alarm, &mut source).await;
        // Before the end is told, which may take a while.
        drop_caught(source);
        end
    }

    /// Records all that a stream has.
    async fn record<S: Source>(&mut self, mut alarm: Pin<&mut Sleep>, source: &mut S) -> End {
        loop {
            let next = poll_fn(|cx| caught(|| source.poll_bytes(cx)));
            let taken = match self.turn(alarm.as_mut(), next).await {
                Ok(Some(Ok(sent))) => self.take(&sent.bytes).await,
                Ok(Some(Err(error))) => {
                    let error = &*error as &dyn Error;
                    tracing::error!(
                        error,
                        topic = self.topic.as_str(),
                        "event stream has failed"
                    );
                    Err(Outcome::Failed.into())
                }
                Ok(None) => Err(Outcome::Finished.into()),
                Err(end) => Err(end),
            };
            if let Err(end) = taken {
                return end;
            }
        }
    }

    /// Waits for what is next, while it sees to all else.
    async fn turn<T>(
        &mut self,
        mut alarm: Pin<&mut Sleep>,
        next: impl Future<Output = T>,
    ) -> Result<T, End> {
        let mut next = pin!(next);
        loop {
            // A stream that is always ready would let nobody else run.
            consume_budget().await;
            let now = Instant::now();
            let (waits, until) = match self.production.todo(now) {
                Todo::Stop => return Err(Outcome::Cancelled.into()),
                Todo::Drained => {
                    tracing::warn!(topic = self.topic.as_str(), "a response was cut off");
                    return Err(Outcome::Failed.into());
                }
                Todo::Abandoned => {
                    self.end_abandoned().await?;
                    continue;
                }
                Todo::Wait(until) => (true, until),
                Todo::GoOn(until) => (false, until),
            };
            if self.alive_at <= now {
                self.append(vec![Note::Alive.record()]).await?;
                continue;
            }
            let due = until.map_or(self.alive_at, |until| until.min(self.alive_at));
            // Not for each event: it goes off too early then, and is set anew.
            if due < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                () = self.production.changed.notified() => {}
                () = alarm.as_mut() => {}
                next = next.as_mut(), if !waits => return Ok(next),
            }
        }
    }

    /// Begins the record.
    async fn begin(&mut self) -> Result<(), End> {
        let feeds = &self.recordings.feeds;
        match Log::begin(feeds, self.topic.clone(), None, &self.rules).await {
            Ok(Some(log)) => {
                self.production.begin(log.head());
                self.recorder = Recorder::Log(log);
                Ok(())
            }
            // It was there before, under a name that nobody could know.
            Ok(None) => self.lose(&LogError::Gone, Vec::new()),
            Err(error) => self.lose(&LogError::Store(error), Vec::new()),
        }
    }

    /// Ends what nobody listens to, unless somebody does, elsewhere.
    async fn end_abandoned(&mut self) -> Result<(), End> {
        let Recorder::Log(log) = &mut self.recorder else {
            return Err(Outcome::Cancelled.into());
        };
        match log.end_unless_noted(Outcome::Cancelled).await {
            Ok(None) => Err(End::told(Outcome::Cancelled)),
            Ok(Some(notes)) => {
                self.production.hear(&notes);
                Ok(())
            }
            Err(error) => self.lose(&error, Vec::new()),
        }
    }

    /// Takes bytes of the stream, cut anywhere.
    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        let mut batch = Vec::new();
        let mut size = 0;
        loop {
            let event = match self.decoder.decode(&mut bytes) {
                Ok(Some(event)) => event,
                Ok(None) => return self.append(batch).await,
                Err(error) => {
                    self.append(batch).await?;
                    let error = &error as &dyn Error;
                    tracing::error!(
                        error,
                        topic = self.topic.as_str(),
                        "event stream has failed"
                    );
                    return Err(Outcome::Failed.into());
                }
            };
            if let Some(retry) = self.decoder.retry()
                && self.retry.replace(retry) != Some(retry)
            {
                let millis = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
                batch.push(Note::Retry { millis }.record());
            }
            let Some(record) = to_record(event) else {
                continue;
            };
            size += record.size();
            batch.push(record);
            if size >= BATCH_BYTES || batch.len() >= BATCH_RECORDS {
                self.append(std::mem::take(&mut batch)).await?;
                size = 0;
            }
        }
    }

    /// Appends to the record, or sends what is in none.
    async fn append(&mut self, records: Vec<NewRecord>) -> Result<(), End> {
        self.alive_at = Instant::now() + self.rules.alive_every();
        if records.is_empty() {
            return Ok(());
        }
        let Recorder::Log(log) = &mut self.recorder else {
            self.pass(&records);
            return Ok(());
        };
        match log.append(&records).await {
            Ok(notes) => {
                let events = records.iter().filter(|record| is_event(record));
                self.production
                    .append(log.head(), events.map(NewRecord::size));
                self.production.hear(&notes);
                Ok(())
            }
            Err(error) => self.lose(&error, records),
        }
    }

    /// The record cannot go on; `records` are not in it, as far as is known.
    fn lose(&mut self, error: &LogError, records: Vec<NewRecord>) -> Result<(), End> {
        if let LogError::Ended(outcome) = error {
            let topic = self.topic.as_str();
            tracing::warn!(topic, %outcome, "the record of a response was ended by others");
            return Err(End::told(*outcome));
        }
        complain(&self.topic, error);
        if self.rules.failing == StoreFailure::Fail {
            return Err(End::told(Outcome::Failed));
        }
        self.recorder = Recorder::Nowhere;
        let uncertain = records.iter().filter(|record| is_event(record)).count();
        self.production.end_record(uncertain as u64);
        self.pass(&records);
        Ok(())
    }

    /// Sends what is in no record.
    fn pass(&self, records: &[NewRecord]) {
        for event in records.iter().filter(|record| is_event(record)) {
            let block = Block {
                name: event.name().map(EventName::as_str),
                data: event.data(),
                ..Block::default()
            };
            let mut bytes = Vec::new();
            block.write(&mut bytes);
            self.production.pass(bytes.into());
        }
    }
}

/// How a production ends.
struct End {
    outcome: Outcome,
    /// Whether the record says so already, or cannot.
    is_told: bool,
    is_stream: bool,
}

impl End {
    const NO_STREAM: Self = Self {
        outcome: Outcome::Failed,
        is_told: false,
        is_stream: false,
    };

    const fn told(outcome: Outcome) -> Self {
        Self {
            outcome,
            is_told: true,
            is_stream: true,
        }
    }
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            is_told: false,
            is_stream: true,
        }
    }
}

/// Tells those who listen that there is no producer any more, however that came.
struct Closed(Arc<Production>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn complain(topic: &TopicName, error: &LogError) {
    let error = error as &dyn Error;
    tracing::error!(
        error,
        topic = topic.as_str(),
        "a response cannot be recorded"
    );
}

fn is_event(record: &NewRecord) -> bool {
    record.kind() == RecordKind::Event
}

/// `None` for what is about the stream that it was cut from.
fn to_record(event: DecodedEvent) -> Option<NewRecord> {
    let (event_type, data) = event.into_parts();
    let name = match &*event_type {
        "message" => None,
        place if PLACES.contains(&place) => return None,
        _ => Some(EventName::of_others(event_type)),
    };
    Some(NewRecord::event(name, data))
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("production", &self.production)
            .finish_non_exhaustive()
    }
}
