//! The thread that writes: all appends that wait go into one commit.

use std::error::Error;

use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use super::{Shared, failure::failed, tables::Tables, topics::Topics};
use crate::{
    store::{
        Append, Appended, StoreError, StoreErrorKind,
        error::unavailable,
        request::{Asker, Request, refuse, with_waiting},
    },
    topic_name::TopicName,
};

/// Writes until the store is dropped, or a commit fails.
///
/// After a failure nobody knows what the disk holds: a page whose write failed may still be read from
/// the memory of the system. So the store does not go on; the next opening checks the file.
pub(super) fn run(mut queue: Receiver<Request>, shared: &Shared, mut topics: Topics) {
    while let Some(batch) = next_batch(&mut queue, topics.has_gone()) {
        if let Err(error) = commit(shared, &mut topics, batch) {
            tracing::error!(error = &error as &dyn Error, "file store has failed");
            break;
        }
    }
    queue.close();
    while let Ok(request) = queue.try_recv() {
        request.asker.answer(Err(unavailable(FAILED)));
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
    Some(with_waiting(first, queue, usize::MAX))
}

/// Commits a batch and answers it, also where that fails.
fn commit(shared: &Shared, topics: &mut Topics, batch: Vec<Request>) -> Result<(), StoreError> {
    let fail = |askers: Vec<Asker>, kind, error| {
        refuse(askers, kind, &error);
        Err(error)
    };
    let each = batch.into_iter().map(|r| ((r.topic, r.append), r.asker));
    let (appends, askers): (Vec<_>, Vec<_>) = each.unzip();
    let (transaction, appended) = match write(shared, topics, appends) {
        Ok(written) => written,
        // Nothing of it was committed.
        Err(error) => return fail(askers, error.kind(), error),
    };
    let committed = transaction.commit().map_err(failed);
    let snapshot = match committed.and_then(|()| shared.begin_read()) {
        Ok(snapshot) => snapshot,
        Err(error) => return fail(askers, StoreErrorKind::OutcomeUnknown, error),
    };
    let changed = topics.publish(snapshot);
    for topic in &changed {
        shared.listeners.wake(topic);
    }
    for (asker, appended) in askers.into_iter().zip(appended) {
        asker.answer(Ok(appended));
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
