//! The task that appends: all that wait go into one transaction.

use std::{error::Error, mem, sync::Arc, time::Duration};

use tokio::{sync::mpsc::Receiver, time::timeout};
use tokio_postgres::{Row, Statement, types::ToSql};

use super::{
    failure::Failure,
    heads::{number, numbers, position},
    link::{Link, Parameters, Session},
};
use crate::{
    millis::millis,
    store::{
        Append, Appended, Position, RecordKind, StoreErrorKind,
        error::damaged,
        request::{Answer, Asker, Request, refuse, with_waiting},
        seen::Seen,
    },
    topic_name::TopicName,
};

/// How many appends go into one transaction.
const BATCH: usize = 512;

/// What goes into one transaction.
struct Batch {
    /// In the order of their topics.
    appends: Vec<(TopicName, Append)>,
    askers: Vec<Asker>,
}

impl Batch {
    fn of(mut requests: Vec<Request>) -> Self {
        // All who write lock topics in this order.
        requests.sort_by(|one, next| one.topic.cmp(&next.topic));
        let each = requests.into_iter().map(|r| ((r.topic, r.append), r.asker));
        let (appends, askers) = each.unzip();
        Self { appends, askers }
    }

    fn alone(self) -> impl Iterator<Item = Self> {
        let each = self.appends.into_iter().zip(self.askers);
        each.map(|(append, asker)| Self {
            appends: vec![append],
            askers: vec![asker],
        })
    }

    fn refuse(self, failure: Failure) {
        let error = failure.of_append();
        refuse(self.askers, error.kind(), &error);
    }
}

pub(super) struct Writer {
    pub(super) link: Link,
    pub(super) seen: Arc<Seen>,
    pub(super) connected: Option<Connected>,
}

/// A connection with its statements.
pub(super) struct Connected {
    session: Session,
    append: Statement,
    notify: Statement,
}

impl Writer {
    /// Appends until the store is dropped.
    pub(super) async fn run(mut self, mut queue: Receiver<Request>) {
        while let Some(first) = queue.recv().await {
            let mut batch = Batch::of(with_waiting(first, &mut queue, BATCH));
            match self.write(&mut batch).await {
                Ok(()) => {}
                // All of it was undone, for what may be the fault of one.
                Err(failure) if failure.is_refusal() && batch.appends.len() > 1 => {
                    for mut alone in batch.alone() {
                        if let Err(failure) = self.write(&mut alone).await {
                            alone.refuse(failure);
                        }
                    }
                }
                Err(failure) => batch.refuse(failure),
            }
        }
    }

    /// Writes a batch and answers it, unless that fails.
    async fn write(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let wait = self.link.answer;
        let seen = Arc::clone(&self.seen);
        let connected = self.connected().await?;
        let client = &connected.session.client;
        let columns = Columns::of(&batch.appends, &seen);
        let parameters = columns.parameters();
        let askers = &mut batch.askers;
        let appending = async {
            let row = client.query_one(&connected.append, &parameters).await?;
            let outcomes = outcomes(&row)?;
            let answers = mem::take(askers).into_iter().zip(outcomes);
            for ((asker, outcome), (topic, _)) in answers.zip(&batch.appends) {
                if let Ok(Appended::Stored(head) | Appended::Conflict(head)) = outcome {
                    seen.note(topic, head);
                }
                asker.answer(outcome);
            }
            Ok(())
        };
        // The wake-ups are a transaction behind: a lock of all who notify is not held over a write.
        // What was not stored wakes somebody for nothing.
        let mut woken = columns.topics.clone();
        woken.dedup();
        let woken: Parameters<'_> = &[&woken];
        let notifying = client.execute(&connected.notify, woken);
        let done = timeout(wait, async {
            let (appended, notified) = tokio::join!(appending, notifying);
            if let Err(error) = notified {
                tracing::debug!(error = &error as &dyn Error, "no wake-ups");
            }
            appended
        });
        let done = done.await.unwrap_or(Err(Failure::Late));
        if done.as_ref().is_err_and(|failure| !failure.is_refusal()) {
            self.connected = None;
        }
        match batch.askers.is_empty() {
            // Only the wake-ups have failed.
            true => Ok(()),
            false => done,
        }
    }

    async fn connected(&mut self) -> Result<&Connected, Failure> {
        if let Some(connected) = &self.connected
            && connected.session.client.is_closed()
        {
            self.connected = None;
        }
        match &mut self.connected {
            Some(connected) => Ok(connected),
            none => Ok(none.insert(connect(&self.link).await?)),
        }
    }
}

pub(super) async fn connect(link: &Link) -> Result<Connected, Failure> {
    let session = link.session("append").await?;
    let client = &session.client;
    let prepared = timeout(link.answer, async {
        let append = client.prepare(&link.schema.append).await?;
        Ok::<_, tokio_postgres::Error>((append, client.prepare(&link.schema.notify).await?))
    });
    match prepared.await {
        Ok(Ok((append, notify))) => Ok(Connected {
            session,
            append,
            notify,
        }),
        Ok(Err(error)) => Err(Failure::NotSent(error.into())),
        Err(elapsed) => Err(Failure::NotSent(elapsed.into())),
    }
}

/// The parameters of the statement.
#[derive(Default)]
struct Columns<'a> {
    topics: Vec<&'a str>,
    while_epochs: Vec<Option<i64>>,
    while_offsets: Vec<Option<i64>>,
    gone_after: Vec<Option<i64>>,
    seen_epochs: Vec<Option<i64>>,
    seen_offsets: Vec<Option<i64>>,
    counts: Vec<i64>,
    event_counts: Vec<i64>,
    event_bytes: Vec<i64>,
    largest: Vec<i64>,
    record_append: Vec<i32>,
    record_number: Vec<i32>,
    kinds: Vec<i16>,
    names: Vec<Option<&'a [u8]>>,
    datas: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(appends: &'a [(TopicName, Append)], seen: &Seen) -> Self {
        let mut columns = Self::default();
        for ((topic, append), at) in appends.iter().zip(1..) {
            columns.push(topic, append, seen.head(topic), at);
        }
        columns
    }

    fn push(&mut self, topic: &'a TopicName, append: &'a Append, seen: Option<Position>, at: i32) {
        let (while_epoch, while_offset) = append.condition().map(numbers).unzip();
        let (seen_epoch, seen_offset) = seen.map(numbers).unzip();
        self.topics.push(topic.as_str());
        self.while_epochs.push(while_epoch);
        self.while_offsets.push(while_offset);
        self.gone_after
            .push(append.end_of_life().and_then(end_of_life));
        self.seen_epochs.push(seen_epoch);
        self.seen_offsets.push(seen_offset);
        let (mut count, mut events, mut bytes, mut largest) = (0, 0, 0, 0);
        for (record, at_number) in append.records().iter().zip(1..) {
            let size = number(record.size());
            if record.kind() == RecordKind::Event {
                events += 1;
                bytes += size;
            }
            count += 1;
            largest = size.max(largest);
            self.record_append.push(at);
            self.record_number.push(at_number);
            self.kinds.push(match record.kind() {
                RecordKind::Event => 0,
                RecordKind::Lease => 1,
                RecordKind::End => 2,
            });
            let name = record.name().map(|name| name.as_str().as_bytes());
            self.names.push(name);
            self.datas.push(record.data().as_bytes());
        }
        self.counts.push(count);
        self.event_counts.push(events);
        self.event_bytes.push(bytes);
        self.largest.push(largest);
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 15] {
        [
            &self.topics,
            &self.while_epochs,
            &self.while_offsets,
            &self.gone_after,
            &self.seen_epochs,
            &self.seen_offsets,
            &self.counts,
            &self.event_counts,
            &self.event_bytes,
            &self.largest,
            &self.record_append,
            &self.record_number,
            &self.kinds,
            &self.names,
            &self.datas,
        ]
    }
}

/// In milliseconds. Beyond ten thousand years, it is none.
fn end_of_life(after: Duration) -> Option<i64> {
    let millis = i64::try_from(millis(after)).ok()?;
    (millis < 315_360_000_000_000).then_some(millis)
}

fn outcomes(row: &Row) -> Result<Vec<Answer>, tokio_postgres::Error> {
    let outcomes: Vec<i16> = row.try_get(0)?;
    let epochs: Vec<i64> = row.try_get(1)?;
    let offsets: Vec<i64> = row.try_get(2)?;
    let heads = epochs.into_iter().zip(offsets);
    let answers = outcomes.into_iter().zip(heads);
    let answers = answers.map(|(outcome, (epoch, offset))| {
        let head = position(epoch, offset)?;
        match outcome {
            0 => Ok(Appended::Stored(head)),
            1 => Ok(Appended::Conflict(head)),
            2 => Err(StoreErrorKind::TooLarge.into()),
            _ => Err(damaged(
                "the log has records that were inserted past the functions",
            )),
        }
    });
    Ok(answers.collect())
}
