//! Where processes keep their records.

#[cfg(feature = "file")]
use std::{fs, path::PathBuf};

#[cfg(feature = "nats")]
use servers::Nats;
#[cfg(feature = "postgres")]
use servers::Postgres;
use servers::{Engine, Redis, Server};

/// A store of a test's own, as long as this is there.
pub(crate) struct Place {
    /// What a process is told of it.
    pub(crate) store: String,
    /// How many processes share it.
    pub(crate) shared_by: usize,
    _held: Box<dyn Send>,
}

impl Place {
    fn new(store: String, shared_by: usize, held: impl Send + 'static) -> Self {
        Self {
            store,
            shared_by,
            _held: Box::new(held),
        }
    }

    fn server<E: Engine>(settings: &[&str]) -> Option<Self> {
        let server = Server::<E>::start(settings)?;
        Some(Self::new(server.url(), 2, server))
    }

    pub(crate) fn memory() -> Self {
        Self::new("memory".to_owned(), 1, ())
    }

    #[cfg(feature = "file")]
    pub(crate) fn file() -> Self {
        let name = format!("tower-sse-{:016x}", fastrand::u64(..));
        let directory = Directory(std::env::temp_dir().join(name));
        fs::create_dir(&directory.0).unwrap();
        let file = directory.0.join("records");
        Self::new(file.to_str().unwrap().to_owned(), 1, directory)
    }

    pub(crate) fn redis() -> Option<Self> {
        Self::server::<Redis>(&[])
    }

    #[cfg(feature = "nats")]
    pub(crate) fn nats() -> Option<Self> {
        Self::server::<Nats>(&[])
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres() -> Option<Self> {
        Self::server::<Postgres>(&[])
    }

    /// One of each store whose server is here.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::memory()];
        #[cfg(feature = "file")]
        all.push(Self::file());
        all.extend(Self::redis());
        #[cfg(feature = "nats")]
        all.extend(Self::nats());
        #[cfg(feature = "postgres")]
        all.extend(Self::postgres());
        all
    }
}

#[cfg(feature = "file")]
struct Directory(PathBuf);

#[cfg(feature = "file")]
impl Drop for Directory {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}
