//! What a follower has under way with the store.

use std::{
    collections::VecDeque,
    fmt,
    future::{pending, poll_fn},
    mem,
    panic::resume_unwind,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Sleep};

use crate::{
    store::{BoxFuture, DynStore, Read, ReadFrom, Record, StoreError},
    subscription::{
        budget::{Budget, Given, Out},
        reader::{Outage, PAGE_BYTES, in_time},
    },
    sync::Arc,
    topic_name::TopicName,
};

/// Boxed apart, since most clients are at the window most of the time.
#[derive(Debug)]
pub(super) struct CatchingUp {
    pub(super) step: Catching,
    pub(super) outage: Option<Outage>,
    pub(super) given: Option<Given>,
}

pub(super) enum Catching {
    /// All that was read is delivered, and it is not known yet whether the window has the rest.
    Between,
    /// Reads once the client has let go of what it was given; with a clock once it was told to.
    Waiting(ReadFrom, Option<Pin<Box<Sleep>>>),
    Reading(Reading),
    Paging(Paging),
    Pausing(ReadFrom, Pin<Box<Sleep>>),
}

/// Records of a page that were not delivered yet.
pub(super) struct Paging {
    pub(super) records: VecDeque<Record>,
    pub(super) out: Option<Arc<Out>>,
}

/// What became of a read.
pub(super) enum Answer {
    Read(Read, Option<Arc<Out>>),
    Failed(StoreError),
    /// It did not come to its turn, since the store has answered nobody for too long.
    Starved,
}

/// What a read needs.
pub(super) struct Source {
    pub(super) store: Arc<dyn DynStore>,
    pub(super) budget: Arc<Budget>,
    pub(super) topic: TopicName,
    pub(super) unavailable_after: Duration,
}

pub(super) struct Reading {
    from: ReadFrom,
    running: Running,
}

enum Running {
    Here(BoxFuture<'static, Answer>),
    /// What is not answered at once gets a task, so that a client that is not polled any more keeps
    /// its turn from nobody.
    Apart(Task),
}

impl Catching {
    pub(super) fn read(source: Source, from: ReadFrom) -> Self {
        Self::Reading(Reading {
            from,
            running: Running::Here(Box::pin(source.read(from))),
        })
    }
}

impl CatchingUp {
    /// The records of a page, if there is one.
    pub(super) fn page(&mut self) -> Option<&mut Paging> {
        match &mut self.step {
            Catching::Paging(page) => Some(page),
            _ => None,
        }
    }
}

impl Source {
    async fn read(self, from: ReadFrom) -> Answer {
        let turn = tokio::select! {
            biased;
            turn = self.budget.turn() => turn,
            () = self.budget.silence(self.unavailable_after) => return Answer::Starved,
        };
        let mut read = pin!(self.store.read(&self.topic, from, PAGE_BYTES));
        // A clock is for a store that does not answer at once.
        let answer = match poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await {
            Poll::Ready(answer) => answer,
            Poll::Pending => in_time(read).await,
        };
        match answer {
            Ok(read) => {
                let bytes = match &read {
                    Read::Page(page) => page.records.iter().map(Record::size).sum(),
                    _ => 0,
                };
                let out = turn.answered(bytes);
                Answer::Read(read, out)
            }
            Err(error) => Answer::Failed(error),
        }
    }
}

impl Reading {
    /// Returns what was read from where; no answer if the runtime has ended on which it was read.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(ReadFrom, Option<Answer>)> {
        let answer = match &mut self.running {
            Running::Here(answer) => {
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready((self.from, Some(answer)));
                }
                if cfg!(shuttle) {
                    return Poll::Pending;
                }
                let answer = mem::replace(answer, Box::pin(pending()));
                let mut task = Task(tokio::spawn(answer));
                let polled = task.poll(cx);
                self.running = Running::Apart(task);
                polled
            }
            Running::Apart(task) => task.poll(cx),
        };
        Poll::Ready((self.from, ready!(answer)))
    }
}

/// A task that ends with its owner.
struct Task(JoinHandle<Answer>);

impl Task {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(answer) => Poll::Ready(Some(answer)),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_ended) => Poll::Ready(None),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Catching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Between => "Between",
            Self::Waiting(..) => "Waiting",
            Self::Reading(_) => "Reading",
            Self::Paging(_) => "Paging",
            Self::Pausing(..) => "Pausing",
        })
    }
}
