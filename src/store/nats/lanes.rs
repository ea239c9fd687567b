//! Appending: one message at a time for each topic of a process.
//!
//! What waits for a topic at the same time is published as one message, so that processes race only
//! with each other. The server takes a message only as the next after the one that its links were made
//! from, so what a message says of its predecessors is true, and a condition that held still does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    Core, Limits, Tail,
    failure::Failure,
    message::{self, Links, MOST_RECORDS, encode, offset, packed_size},
};
use crate::{
    millis::millis,
    store::{
        Append, Appended, Epoch, NewRecord, Position, StoreError, StoreErrorKind,
        error::unavailable,
        request::{Answer, Request, refuse},
    },
    sync::{Mutex, lock},
    topic_name::TopicName,
};

/// How many appends wait in a lane; more wait for a place in it.
const WAITING: usize = 256;
/// How many bytes are joined in one message, unless one append has more.
const JOINED: usize = 128 * 1024;
/// A lane without an append ends after this long.
const IDLE: Duration = Duration::from_secs(10);
/// For how long to try where other processes are faster.
const RACING: Duration = Duration::from_secs(10);

/// The lanes of a store. They end with it.
pub(super) struct Lanes {
    core: Arc<Core>,
    lanes: Mutex<HashMap<TopicName, mpsc::Sender<Request>>>,
}

impl Lanes {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            lanes: Mutex::default(),
        }
    }

    pub(super) async fn append(&self, topic: &TopicName, append: Append) -> Answer {
        let (mut request, answer) = Request::new(topic.clone(), append);
        // A lane that ends gives back what it did not take.
        while let Err(mpsc::error::SendError(back)) = self.lane(&request.topic).send(request).await
        {
            request = back;
        }
        answer.await
    }

    fn lane(&self, topic: &TopicName) -> mpsc::Sender<Request> {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(topic).filter(|lane| !lane.is_closed()) {
            return lane.clone();
        }
        if lanes.len().is_power_of_two() {
            lanes.retain(|_, lane| !lane.is_closed());
        }
        let (lane, requests) = mpsc::channel(WAITING);
        let worker = Lane {
            core: Arc::clone(&self.core),
            topic: topic.clone(),
            known: None,
        };
        tokio::spawn(worker.run(requests));
        lanes.insert(topic.clone(), lane.clone());
        lane
    }
}

/// What the next message of a topic follows.
#[derive(Clone)]
struct Known {
    /// The last message of the subject; 0 where there is none.
    sequence: u64,
    head: Position,
    log: Option<Log>,
    ends_at: Option<u64>,
    /// What was known before a connection was lost may be of another server.
    generation: u64,
}

/// What the next message of a log says of it.
#[derive(Clone)]
struct Log {
    epoch: Epoch,
    from: u64,
    birth: u64,
    events: u64,
    bytes: u64,
}

struct Lane {
    core: Arc<Core>,
    topic: TopicName,
    known: Option<Known>,
}

/// What becomes of the requests of a message.
struct Plan {
    /// For each request: the conflict, or how many records stand in the message up to its last.
    answers: Vec<Result<usize, Position>>,
    records: Vec<NewRecord>,
    ends: Option<u64>,
    changes: bool,
}

impl Lane {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(request) => request,
                None => match timeout(IDLE, requests.recv()).await {
                    Ok(Some(request)) => request,
                    Ok(None) => return,
                    Err(_) => {
                        requests.close();
                        match requests.recv().await {
                            Some(request) => request,
                            None => return,
                        }
                    }
                },
            };
            let mut size = packed_size(first.append.records());
            let mut count = first.append.records().len();
            let mut joined = vec![first];
            while let Ok(request) = requests.try_recv() {
                size += packed_size(request.append.records());
                count += request.append.records().len();
                if size > JOINED.min(self.core.link.max_payload() / 2) || count > MOST_RECORDS {
                    held = Some(request);
                    break;
                }
                joined.push(request);
            }
            self.append(joined).await;
        }
    }

    async fn append(&mut self, requests: Vec<Request>) {
        let done = self.try_append(&requests).await;
        match done {
            Ok(answers) => {
                for (request, answer) in requests.into_iter().zip(answers) {
                    request.asker.answer(Ok(answer));
                }
            }
            Err(failure) => {
                self.known = None;
                let error = failure.of_append();
                let askers = requests.into_iter().map(|request| request.asker);
                refuse(askers, error.kind(), &error);
            }
        }
    }

    async fn try_append(&mut self, requests: &[Request]) -> Result<Vec<Appended>, Failure> {
        let begun = Instant::now();
        let mut pause = 1;
        while begun.elapsed() < RACING {
            let generation = self.core.link.generation();
            let cached = self.known.take();
            let cached = cached.filter(|known| {
                known.generation == generation
                    && known.ends_at.is_none_or(|end| message::now() < end)
            });
            let is_fresh = cached.is_none();
            let known = match cached {
                Some(known) => known,
                None => self.look(generation).await?,
            };
            let plan = Plan::of(requests, &known);
            let is_stored_whole = plan.answers.iter().all(Result::is_ok) && plan.changes;
            if !is_stored_whole && !is_fresh {
                // Only what the server says now is a reason to refuse, or to do nothing.
                continue;
            }
            if !plan.changes {
                let head = known.head;
                self.known = Some(known);
                return Ok(plan.appended(|_| head));
            }
            match self.publish(&known, &plan).await {
                Ok((next, sequence)) => {
                    let (epoch, before) = (next.head.epoch(), next.previous(&known));
                    self.core.seen.note(&self.topic, next.head);
                    self.known = Some(next);
                    return Ok(plan.appended(|count| match count {
                        0 => before,
                        count => Position::new(epoch, offset(sequence, count - 1)),
                    }));
                }
                Err(Failure::Outrun) => {
                    sleep(Duration::from_millis(fastrand::u64(0..pause))).await;
                    pause = (pause * 2).min(32);
                }
                Err(Failure::NoStream) => {
                    self.core.link.shape().await.map_err(Failure::of_read)?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(unavailable("others append to the topic all the time").into())
    }

    /// Asks the server what the next message follows.
    async fn look(&self, generation: u64) -> Result<Known, Failure> {
        let unsent = |failure: Failure| Failure::Store(failure.of_read());
        let tail = self.core.tail(&self.topic).await.map_err(unsent)?;
        Ok(match tail {
            Tail::Absent { head, sequence } => Known {
                sequence,
                head,
                log: None,
                ends_at: None,
                generation,
            },
            Tail::Log(message) => {
                let (events, bytes) = message.totals();
                Known {
                    sequence: message.sequence,
                    head: message.head(),
                    ends_at: message.ends_at(),
                    log: Some(Log {
                        epoch: message.links.epoch,
                        from: message.links.from,
                        birth: message.birth(),
                        events,
                        bytes,
                    }),
                    generation,
                }
            }
        })
    }

    async fn publish(&self, known: &Known, plan: &Plan) -> Result<(Known, u64), Failure> {
        let links = match &known.log {
            Some(log) => Links {
                epoch: log.epoch,
                from: log.from,
                birth: log.birth,
                previous: known.head.offset(),
                events: log.events,
                bytes: log.bytes,
                ends: plan.ends,
            },
            None => Links {
                epoch: Epoch::random(),
                from: known.head.offset(),
                birth: 0,
                previous: 0,
                events: 0,
                bytes: 0,
                ends: plan.ends,
            },
        };
        let (headers, payload) = encode(&links, &plan.records);
        let sequence = self
            .core
            .link
            .publish(&self.topic, known.sequence, headers, payload)
            .await?;
        let (events, bytes) = message::totals(&links, &plan.records);
        let head = match plan.records.len() {
            0 => links.previous,
            count => offset(sequence, count - 1),
        };
        let now = message::now();
        let next = Known {
            sequence,
            head: Position::new(links.epoch, head),
            log: Some(Log {
                epoch: links.epoch,
                from: links.from,
                birth: if links.birth == 0 {
                    sequence
                } else {
                    links.birth
                },
                events,
                bytes,
            }),
            ends_at: links.ends.map(|ends| now.saturating_add(ends)),
            generation: known.generation,
        };
        Ok((next, sequence))
    }
}

impl Known {
    /// The head that appends of nothing had, in the life that goes on.
    fn previous(&self, before: &Self) -> Position {
        match before.log {
            Some(_) => before.head,
            None => self.head,
        }
    }
}

impl Plan {
    /// Takes the requests in order. A condition after the first record of the message is never the
    /// head that somebody has seen, for the message has no sequence yet.
    fn of(requests: &[Request], known: &Known) -> Self {
        let mut plan = Self {
            answers: Vec::with_capacity(requests.len()),
            records: Vec::new(),
            ends: None,
            changes: false,
        };
        let mut ends = known.ends_at.is_some();
        for Request { append, .. } in requests {
            let holds = |seen| plan.records.is_empty() && seen == known.head;
            if !append.condition().is_none_or(holds) {
                plan.answers.push(Err(known.head));
                continue;
            }
            let has_log = known.log.is_some() || !plan.records.is_empty();
            let is_more = !append.records().is_empty();
            plan.records.extend_from_slice(append.records());
            plan.answers.push(Ok(plan.records.len()));
            if is_more || has_log {
                let end = append.end_of_life();
                plan.changes |= is_more || end.is_some() || ends;
                ends = end.is_some();
                plan.ends = end.map(millis);
            }
        }
        plan
    }

    fn appended(&self, position: impl Fn(usize) -> Position) -> Vec<Appended> {
        let head = position(self.records.len());
        let answers = self.answers.iter().map(|answer| match answer {
            Ok(count) => Appended::Stored(position(*count)),
            // Where others of this process went before it in the same message, that is the head.
            Err(_) => Appended::Conflict(head),
        });
        answers.collect()
    }
}

/// Checks what no server has to be asked for.
pub(super) fn check(append: &Append, limits: Limits) -> Result<(), StoreError> {
    let too_large =
        |record: &NewRecord| u64::try_from(record.size()).is_ok_and(|s| s > limits.bytes);
    if append.records().len() > MOST_RECORDS || append.records().iter().any(too_large) {
        return Err(StoreErrorKind::TooLarge.into());
    }
    Ok(())
}
