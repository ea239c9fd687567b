//! What a follower has under way with the store.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Sleep, sleep};

use crate::{
    store::{BoxFuture, DynStore, Read, ReadFrom, Record, StoreError, StoreErrorKind},
    subscription::reader::{Outage, PAGE_BYTES, READ_TIMEOUT},
    sync::Arc,
    topic_name::TopicName,
};

/// Boxed apart, since most clients are at the window most of the time.
#[derive(Debug)]
pub(super) struct CatchingUp {
    pub(super) step: Catching,
    pub(super) outage: Option<Outage>,
}

pub(super) enum Catching {
    Reading(Reading),
    /// Records of a page that were not delivered yet.
    Paging(VecDeque<Record>),
    Pausing(ReadFrom, Pin<Box<Sleep>>),
}

pub(super) struct Reading {
    from: ReadFrom,
    answer: BoxFuture<'static, Result<Read, StoreError>>,
    /// Made only for a store that does not answer at once.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Catching {
    pub(super) fn read(store: Arc<dyn DynStore>, topic: TopicName, from: ReadFrom) -> Self {
        Self::Reading(Reading {
            from,
            answer: Box::pin(async move { store.read(&topic, from, PAGE_BYTES).await }),
            deadline: None,
        })
    }
}

impl CatchingUp {
    /// The records of a page, if there is one.
    pub(super) fn page(&mut self) -> Option<&mut VecDeque<Record>> {
        match &mut self.step {
            Catching::Paging(records) => Some(records),
            _ => None,
        }
    }
}

impl Reading {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<(ReadFrom, Result<Read, StoreError>)> {
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

impl fmt::Debug for Catching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reading(_) => "Reading",
            Self::Paging(_) => "Paging",
            Self::Pausing(..) => "Pausing",
        })
    }
}
