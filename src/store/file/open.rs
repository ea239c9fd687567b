//! Opening the file, and making it.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{Database, ReadableDatabase, ReadableTable};

use super::{
    Limits, Published,
    clock::Clock,
    failure::failed,
    format::{EPOCH_KEY, FORMAT, FORMAT_KEY, GONE, LIVES, LOGS, Log, META, RECORDS},
    tables::Tables,
    topics::Topics,
};
use crate::{
    store::{
        Epoch, StoreError,
        error::{damaged, unavailable},
    },
    sync::{Arc, Mutex},
    topic_name::TopicName,
};

/// How much of the file the engine keeps in memory.
const CACHE: usize = 64 * 1024 * 1024;

/// A file that is open, and what stands in it.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) store: Epoch,
    pub(super) published: Arc<Mutex<Published>>,
    pub(super) clock: Clock,
    pub(super) topics: Topics,
}

pub(super) fn open(path: &Path, limits: Limits) -> Result<Opened, StoreError> {
    if !path.try_exists().map_err(unavailable)? {
        create(path)?;
    }
    // The engine is not sure to take a file that it did not write without a panic.
    let opened = catch_unwind(AssertUnwindSafe(|| load(path, limits)));
    opened.unwrap_or_else(|_| Err(damaged("not a file of this store, or a broken one")))
}

fn load(path: &Path, limits: Limits) -> Result<Opened, StoreError> {
    let mut engine = Database::builder();
    engine
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    let database = engine.open(path).map_err(failed)?;
    let snapshot = database.begin_read().map_err(failed)?;
    let meta = snapshot.open_table(META).map_err(failed)?;
    let number = |key| {
        let number = meta.get(key).map_err(failed)?;
        let number = number.ok_or_else(|| damaged(format!("the file does not tell its {key}")));
        number.map(|number| number.value())
    };
    let format = number(FORMAT_KEY)?;
    if format != FORMAT {
        let message = format!("the file has format {format}, this version reads {FORMAT}");
        return Err(damaged(message));
    }
    let store = Epoch::new(number(EPOCH_KEY)?);
    let (mut logs, mut lives) = (HashMap::new(), HashMap::new());
    for row in snapshot
        .open_table(LOGS)
        .map_err(failed)?
        .iter()
        .map_err(failed)?
    {
        let (name, log) = row.map_err(failed)?;
        let name = TopicName::new(name.value()).map_err(damaged)?;
        logs.insert(name, Log::from_row(log.value())?);
    }
    for row in snapshot
        .open_table(LIVES)
        .map_err(failed)?
        .iter()
        .map_err(failed)?
    {
        let (bucket, life) = row.map_err(failed)?;
        lives.insert(bucket.value(), life.value());
    }
    let mut gone = VecDeque::new();
    for row in snapshot
        .open_table(GONE)
        .map_err(failed)?
        .iter()
        .map_err(failed)?
    {
        gone.push_back(row.map_err(failed)?.0.value());
    }
    let clock = logs.values().map(|log| log.clock).max();
    let clock = Clock::new(clock.unwrap_or(0));
    drop(meta);
    let published = Arc::new(Mutex::new(Published {
        snapshot: Arc::new(snapshot),
        logs,
        lives,
    }));
    let mut topics = Topics::new(store, limits, &published, gone);
    make_room(&database, &mut topics, &clock)?;
    Ok(Opened {
        database,
        store,
        published,
        clock,
        topics,
    })
}

/// The limits may have become smaller, and time has passed.
fn make_room(database: &Database, topics: &mut Topics, clock: &Clock) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut tables = Tables::open(&transaction)?;
        topics.evict_all(&mut tables, clock.now())?;
        topics.save(&mut tables)?;
    }
    transaction.commit().map_err(failed)?;
    topics.publish(database.begin_read().map_err(failed)?);
    Ok(())
}

/// Makes an empty store under another name first, so that no half of one is ever found at `path`.
fn create(path: &Path) -> Result<(), StoreError> {
    let name = path
        .file_name()
        .ok_or_else(|| unavailable("not the name of a file"))?;
    let mut draft = name.to_owned();
    draft.push(format!(".{:016x}.new", fastrand::u64(..)));
    let draft = Draft(path.with_file_name(draft));
    let database = Database::create(&draft.0).map_err(failed)?;
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut meta = transaction.open_table(META).map_err(failed)?;
        meta.insert(FORMAT_KEY, FORMAT).map_err(failed)?;
        let epoch = Epoch::random().get();
        meta.insert(EPOCH_KEY, epoch).map_err(failed)?;
        transaction.open_table(LOGS).map_err(failed)?;
        transaction.open_table(LIVES).map_err(failed)?;
        transaction.open_table(GONE).map_err(failed)?;
        transaction.open_table(RECORDS).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    database.close().map_err(failed)?;
    match fs::hard_link(&draft.0, path) {
        // Another one was faster, and it is theirs.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        linked => linked.map_err(unavailable)?,
    }
    drop(draft);
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    sync_directory(directory.unwrap_or(Path::new(".")))
}

struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "draft of a file store stays"
            );
        }
    }
}

/// Makes the name of the file as durable as the file.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    let directory = fs::File::open(directory).map_err(unavailable)?;
    directory.sync_all().map_err(unavailable)
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> Result<(), StoreError> {
    Ok(())
}
