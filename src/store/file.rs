//! The store in one file of one machine.

mod clock;
mod failure;
mod format;
mod open;
mod read;
mod tables;
mod topics;
mod writer;

use std::{
    collections::HashMap, fmt, num::NonZeroUsize, path::Path, thread::JoinHandle, time::Duration,
};

use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::{Semaphore, mpsc};

use super::{
    Append, Appended, Epoch, EventStore, NewRecord, Position, Read, ReadFrom, Retention,
    StoreError, StoreErrorKind, Wakes,
    error::{damaged, unavailable},
    listeners::Listeners,
    request::Request,
};
use crate::{
    millis::millis,
    sync::{Arc, Mutex, lock},
    topic_name::TopicName,
};
use clock::Clock;
use failure::failed;
use format::{Log, bucket};
use read::{Answer, Place, Reading};
use writer::FAILED;

/// How many appends wait for the writer; more wait for a place.
const QUEUE: usize = 1024;
/// How many reads use the disk at a time.
const READS: usize = 16;
/// A record that the engine takes, with room for what stands around it.
const MAX_RECORD: usize = 1024 * 1024 * 1024;

/// A store that keeps its logs in a file of the machine.
///
/// ```
/// # use std::num::NonZeroUsize;
/// use tower_sse::{Hub, store::FileStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("tower-sse-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("events");
/// let store = FileStore::options()
///     .max_events(NonZeroUsize::MIN.saturating_add(9_999))
///     .open(&path)?;
/// let hub = Hub::with_store(store);
/// # drop(hub);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
///
/// # What survives
///
/// An append is answered when it was written and `fsync` has returned. There is no other setting.
///
/// | what happens | what is lost |
/// |---|---|
/// | the store is dropped and opened again | nothing; epochs and positions stay |
/// | the process is killed at any moment | nothing that was answered |
/// | the machine stops, the power is cut | nothing that was answered, if disk and file system keep what `fsync` promises |
/// | the file is put back to an older copy | what came after the copy; clients that have seen it are told. With n events lost, the chance that a client is not is about n in 2^31 |
/// | the file is damaged or cut short | [`open`](FileOptions::open) reads and checks all of it, and refuses it |
///
/// A copy has to be of one moment: of a closed store, or a snapshot of the file system. Damage to the
/// last commit before a kill cannot be told from a commit that was cut off, and is undone like one.
///
/// When a write fails, for want of space too, the store does not go on: every further call is
/// [`Unavailable`](StoreErrorKind::Unavailable) until the file is opened again.
///
/// # Limits
///
/// | limit | default | what goes |
/// |---|---|---|
/// | [events a topic](FileOptions::max_events) | 100,000 | its oldest |
/// | [bytes a topic](FileOptions::max_bytes) | 64 MiB | its oldest |
/// | [age](FileOptions::max_age) | none | what is older, at the time of reading, by a wall clock that never goes back |
/// | [bytes in all](FileOptions::max_total_bytes) | 1 GiB | the topic that was appended to least recently, whole |
///
/// Space is given back to the file in pages of 4 KiB, and used again; the file itself shrinks when
/// the pages at its end are free, and can be twice as large as what is counted. Events past their age give theirs back when their topic is appended
/// to and when the file is opened, a topic past its end of life when anything is appended.
///
/// In memory are the head of each topic, some 300 bytes, and up to 64 MiB of the file. To open it takes
/// about a second for each GiB of the file, where the system has it in memory.
///
/// # Cost
///
/// One thread writes. It takes all appends that wait into one commit, so that many publishers share
/// an `fsync`. Reads are done on Tokio's threads for blocking work, 16 at a time, and seek in a tree.
///
/// # The engine
///
/// It is [redb](https://docs.rs/redb) 4.5, a B-tree in one file. Measured against fjall 3.1, an LSM
/// tree, on the pattern of this store (events of 150 bytes, `fsync` before each answer, two cores, one
/// virtual disk); more is better in the first two rows:
///
/// | | redb | fjall |
/// |---|---|---|
/// | appends/s, 1 publisher | 1 | 2.6 |
/// | appends/s, 64 publishers in groups | 1 | 1.1 |
/// | reading 1,000 records behind an offset, of 200,000 | 1 | 2.0 |
/// | opening 200,000 records after a kill | 1 (20 ms) | 16 |
/// | the file, 1,000,000 appended and 10,000 kept | 1 (1.8 MiB) | 130 |
/// | files, threads of its own | 1, 0 | many, several |
///
/// redb was chosen since it checks all of a file against checksums when it is opened, and tells one
/// that was cut short: fjall opened without a word with 499 of 1,000 records whose journal was cut.
/// With many publishers, where speed counts, they are the same.
pub struct FileStore {
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    reads: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// Settings of a [`FileStore`] that is to be opened.
#[derive(Clone, Debug)]
#[must_use]
pub struct FileOptions {
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    events: u64,
    bytes: u64,
    /// In milliseconds.
    age: Option<u64>,
    total_bytes: u64,
}

struct Shared {
    /// `None` once the store is dropped.
    database: Mutex<Option<Database>>,
    store: Epoch,
    limits: Limits,
    clock: Clock,
    published: Arc<Mutex<Published>>,
    listeners: Listeners,
}

/// What is committed.
///
/// Heads and records change for readers in one step. A snapshot of its own for each read could be ahead
/// of the heads, so that the next answer would take back what a reader has seen.
struct Published {
    /// The records.
    snapshot: Arc<ReadTransaction>,
    logs: HashMap<TopicName, Log>,
    lives: HashMap<u16, u64>,
}

impl FileOptions {
    /// Sets how many events a topic retains at most.
    pub fn max_events(mut self, events: NonZeroUsize) -> Self {
        self.limits.events = wide(events.get());
        self
    }

    /// Sets how many bytes of names and data a topic retains at most. A larger record is refused, as
    /// is one of more than 1 GiB.
    pub fn max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.limits.bytes = wide(bytes.get());
        self
    }

    /// Sets the age from which an event is no longer read.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.limits.age = Some(millis(age));
        self
    }

    /// Sets how many bytes all topics together take at most, with an allowance for what it takes to
    /// keep a record and a topic. The topic that was appended to last always stays.
    pub fn max_total_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.limits.total_bytes = wide(bytes.get());
        self
    }

    /// Opens the file, or makes it where there is none.
    ///
    /// This reads all of the file and blocks meanwhile. Limits may differ from those of the last time.
    ///
    /// # Errors
    ///
    /// [`Damaged`](StoreErrorKind::Damaged) when there is a file that is not one of this store, is of
    /// another format, or is broken: it is left alone. [`Unavailable`](StoreErrorKind::Unavailable)
    /// when it is open already, in this process or another, or the system refuses.
    pub fn open(self, path: impl AsRef<Path>) -> Result<FileStore, StoreError> {
        let opened = open::open(path.as_ref(), self.limits)?;
        let shared = Arc::new(Shared {
            database: Mutex::new(Some(opened.database)),
            store: opened.store,
            limits: self.limits,
            clock: opened.clock,
            published: opened.published,
            listeners: Listeners::default(),
        });
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new().name("tower-sse-file".into());
        let writer = writer
            .spawn({
                let shared = Arc::clone(&shared);
                move || writer::run(requests, &shared, opened.topics)
            })
            .map_err(unavailable)?;
        Ok(FileStore {
            queue: Some(queue),
            writer: Some(writer),
            reads: Arc::new(Semaphore::new(READS)),
            shared,
        })
    }
}

impl FileStore {
    /// Opens the file with the default limits, or makes it where there is none.
    ///
    /// # Errors
    ///
    /// As [`FileOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::options().open(path)
    }

    /// Returns the settings to open a file with.
    pub fn options() -> FileOptions {
        FileOptions {
            limits: Limits {
                events: 100_000,
                bytes: 64 * 1024 * 1024,
                age: None,
                total_bytes: 1024 * 1024 * 1024,
            },
        }
    }

    /// Where the writer is asked, unless it has failed.
    fn queue(&self) -> Result<&mpsc::Sender<Request>, StoreError> {
        let queue = self.queue.as_ref().filter(|queue| !queue.is_closed());
        queue.ok_or_else(|| unavailable(FAILED))
    }
}

impl Shared {
    fn begin_write(&self) -> Result<redb::WriteTransaction, StoreError> {
        match &*lock(&self.database) {
            Some(database) => database.begin_write().map_err(failed),
            None => Err(unavailable("the store is closed")),
        }
    }

    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        match &*lock(&self.database) {
            Some(database) => database.begin_read().map_err(failed),
            None => Err(unavailable("the store is closed")),
        }
    }

    fn place(&self, published: &Published, topic: &TopicName, now: u64) -> Place {
        let log = published.logs.get(topic).copied();
        let absent = published.life(bucket(topic.as_str()));
        Place {
            absent: Position::new(self.store, absent),
            log: log.filter(|log| !log.is_gone(now)),
        }
    }

    fn head(&self, topic: &TopicName) -> Position {
        let now = self.clock.now();
        self.place(&lock(&self.published), topic, now).head()
    }
}

impl Published {
    fn life(&self, bucket: u16) -> u64 {
        self.lives.get(&bucket).copied().unwrap_or(0)
    }
}

impl EventStore for FileStore {
    async fn append(&self, topic: &TopicName, append: Append) -> Result<Appended, StoreError> {
        let max = self.shared.limits.bytes.min(wide(MAX_RECORD));
        let too_large = |record: &NewRecord| wide(record.size()) > max;
        if append.records().iter().any(too_large) {
            return Err(StoreErrorKind::TooLarge.into());
        }
        let (request, answer) = Request::new(topic.clone(), append);
        let sent = self.queue()?.send(request).await;
        sent.map_err(|_| unavailable(FAILED))?;
        answer.await
    }

    async fn read(
        &self,
        topic: &TopicName,
        from: ReadFrom,
        max_bytes: NonZeroUsize,
    ) -> Result<Read, StoreError> {
        self.queue()?;
        let shared = &self.shared;
        let now = shared.clock.now();
        let (place, snapshot) = {
            let published = lock(&shared.published);
            let place = shared.place(&published, topic, now);
            (place, Arc::clone(&published.snapshot))
        };
        let log = match place.answer(from) {
            Answer::Now(read) => return Ok(read),
            Answer::In(log) => log,
        };
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let permit = permit.map_err(unavailable)?;
        let reading = Reading {
            store: shared.store,
            log,
            age: shared.limits.age,
            now,
        };
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            reading.read(&snapshot, from, max_bytes)
        });
        // The engine may panic on a file that was changed under its hands.
        read.await.unwrap_or_else(|failed| match failed.is_panic() {
            true => Err(damaged(failed)),
            false => Err(unavailable(failed)),
        })
    }

    async fn heads(&self, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
        self.queue()?;
        Ok(topics.iter().map(|topic| self.shared.head(topic)).collect())
    }

    fn head_now(&self, topic: &TopicName) -> Option<Position> {
        self.queue().ok()?;
        Some(self.shared.head(topic))
    }

    fn retention(&self) -> Option<Retention> {
        Some(Retention {
            events: Some(self.shared.limits.events),
            bytes: Some(self.shared.limits.bytes),
        })
    }

    async fn watch(&self, wakes: Wakes) -> StoreError {
        self.shared.listeners.watch(wakes).await
    }
}

impl Drop for FileStore {
    /// Waits for what is being written, and gives the file free.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            // What is woken by the writer may be the last to hold the store.
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            tracing::error!("the writer of a file store has panicked");
        }
        let database = lock(&self.shared.database).take();
        if let Some(Err(error)) = database.map(Database::close) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "file store was not closed well"
            );
        }
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
