//! The thread that writes: all appends that wait go into one commit.

use std::{error::Error, mem, sync::Arc};

use tokio::sync::{
    mpsc::{Receiver, error::TryRecvError},
    oneshot,
};

use super::{
    Shared,
    failure::failed,
    topics::{Tables, Topics},
};
use crate::{
    store::{Append, Appended, NewRecord, StoreError, StoreErrorKind, error::unavailable},
    topic_name::TopicName,
};

/// How many bytes of records one commit takes; a larger append has one of its own.
const BATCH: usize = 4 * 1024 * 1024;

type Answer = Result<Appended, StoreError>;

pub(super) struct Request {
    pub(super) topic: TopicName,
    pub(super) append: Append,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Request {
    fn size(&self) -> usize {
        self.append.records().iter().map(NewRecord::size).sum()
    }
}

/// Writes until the store is dropped, or a commit fails.
///
/// After a failure nobody knows what the disk holds: a page whose write failed may still be read from
/// the memory of the system. So the store does not go on; the next opening checks the file.
pub(super) fn run(mut queue: Receiver<Request>, shared: &Shared, mut topics: Topics) {
    while let Some(batch) = next_batch(&mut queue, topics.has_gone()) {
        if let Err(error) = commit(shared, &mut topics, batch) {
            tracing::error!(error = &*error as &dyn Error, "file store has failed");
            break;
        }
    }
    queue.close();
    while let Ok(request) = queue.try_recv() {
        answer(request.answer, Err(unavailable(FAILED)));
    }
}

pub(super) const FAILED: &str = "the store has failed, and has to be opened again";

/// Waits for appends, unless there is other work to do.
fn next_batch(queue: &mut Receiver<Request>, other_work: bool) -> Option<Vec<Request>> {
    let first = match queue.try_recv() {
        Ok(request) => request,
        Err(TryRecvError::Empty) if other_work => return Some(Vec::new()),
        Err(TryRecvError::Empty) => queue.blocking_recv()?,
        Err(TryRecvError::Disconnected) => return None,
    };
    let mut bytes = first.size();
    let mut batch = vec![first];
    while bytes < BATCH
        && let Ok(request) = queue.try_recv()
    {
        bytes += request.size();
        batch.push(request);
    }
    Some(batch)
}

/// Commits a batch and answers it, also where that fails.
fn commit(
    shared: &Shared,
    topics: &mut Topics,
    mut batch: Vec<Request>,
) -> Result<(), Arc<StoreError>> {
    let fail = |answers: Vec<oneshot::Sender<Answer>>, kind, error| {
        let error = Arc::new(error);
        for to in answers {
            answer(to, Err(StoreError::new(kind, Arc::clone(&error))));
        }
        Err(error)
    };
    let appends: Vec<_> = batch
        .iter_mut()
        .map(|request| {
            (
                request.topic.clone(),
                mem::replace(&mut request.append, Append::new([])),
            )
        })
        .collect();
    let senders: Vec<_> = batch.into_iter().map(|request| request.answer).collect();
    let (transaction, appended) = match write(shared, topics, appends) {
        Ok(written) => written,
        // Nothing of it was committed.
        Err(error) => return fail(senders, error.kind(), error),
    };
    let committed = transaction.commit().map_err(failed);
    let snapshot = match committed.and_then(|()| shared.begin_read()) {
        Ok(snapshot) => snapshot,
        Err(error) => return fail(senders, StoreErrorKind::OutcomeUnknown, error),
    };
    let changed = topics.publish(snapshot);
    for topic in &changed {
        shared.listeners.wake(topic);
    }
    for (sender, appended) in senders.into_iter().zip(appended) {
        answer(sender, Ok(appended));
    }
    Ok(())
}

fn write(
    shared: &Shared,
    topics: &mut Topics,
    appends: Vec<(TopicName, Append)>,
) -> Result<(redb::WriteTransaction, Vec<Appended>), StoreError> {
    let transaction = shared.begin_write()?;
    let mut appended = Vec::with_capacity(appends.len());
    {
        let mut tables = Tables::open(&transaction)?;
        for (topic, append) in appends {
            let now = shared.clock.now();
            appended.push(topics.append(&mut tables, &topic, append, now)?);
        }
        topics.sweep(&mut tables)?;
        topics.save(&mut tables)?;
    }
    Ok((transaction, appended))
}

fn answer(to: oneshot::Sender<Answer>, answer: Answer) {
    // Whoever asked may have gone.
    drop(to.send(answer));
}
