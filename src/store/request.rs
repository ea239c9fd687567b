//! An append on its way to what writes it.

use tokio::sync::oneshot::{self, Sender};

use crate::{
    store::{Append, Appended, StoreError, StoreErrorKind},
    topic_name::TopicName,
};

pub(super) type Answer = Result<Appended, StoreError>;

pub(super) struct Request {
    pub(super) topic: TopicName,
    pub(super) append: Append,
    pub(super) asker: Asker,
}

/// Who waits for the answer to an append.
pub(super) struct Asker(Sender<Answer>);

impl Request {
    /// Returns the request, and what waits for its answer. Where that is lost, nobody knows what
    /// became of the append.
    pub(super) fn new(
        topic: TopicName,
        append: Append,
    ) -> (Self, impl Future<Output = Answer> + Send) {
        let (asker, answered) = oneshot::channel();
        let request = Self {
            topic,
            append,
            asker: Asker(asker),
        };
        let lost = |lost| Err(StoreError::new(StoreErrorKind::OutcomeUnknown, lost));
        (request, async move { answered.await.unwrap_or_else(lost) })
    }
}

impl Asker {
    pub(super) fn answer(self, answer: Answer) {
        // Whoever asked may have gone.
        drop(self.0.send(answer));
    }
}

/// Tells all of the same error, as one of this kind.
pub(super) fn refuse(
    askers: impl IntoIterator<Item = Asker>,
    kind: StoreErrorKind,
    error: &StoreError,
) {
    for asker in askers {
        asker.answer(Err(error.shared_as(kind)));
    }
}

/// How many bytes of records are written at once; a larger append is written alone.
#[cfg(any(feature = "file", feature = "postgres"))]
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Returns the appends that are to be written at once: the first, and what else waits.
#[cfg(any(feature = "file", feature = "postgres"))]
pub(super) fn with_waiting(
    first: Request,
    queue: &mut tokio::sync::mpsc::Receiver<Request>,
    most: usize,
) -> Vec<Request> {
    let size = |request: &Request| -> usize {
        let records = request.append.records();
        records.iter().map(|record| record.size()).sum()
    };
    let mut bytes = size(&first);
    let mut requests = vec![first];
    while bytes < BATCH_BYTES
        && requests.len() < most
        && let Ok(request) = queue.try_recv()
    {
        bytes += size(&request);
        requests.push(request);
    }
    requests
}
