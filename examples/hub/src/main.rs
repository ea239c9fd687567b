//! A standalone hub: `cargo run -p hub -- --port 4000 --store memory`.
//!
//! `--help` says what else it takes, and what it serves.

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use axum::serve::ListenerExt;
use hub::{HELP, Settings, StoreChoice, app, cannot_listen, exit, log_to_stderr, shutdown_signal};
use tokio::net::TcpListener;
use tower_sse::{
    store::{EventStore, FileStore, MemoryStore, NatsStore, PostgresStore, RedisStore},
    tune_socket,
};

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let Some(settings) = Settings::read(env::args_os().skip(1))? else {
        return Ok(io::stdout().write_all(HELP.as_bytes())?);
    };
    let stop = shutdown_signal()?;
    tokio::select! {
        result = open_and_serve(&settings) => result,
        () = stop => Ok(()),
    }
}

async fn open_and_serve(settings: &Settings) -> Result<(), Box<dyn Error>> {
    match &settings.store {
        StoreChoice::Memory => {
            let mut store = MemoryStore::new();
            if let Some(events) = settings.retain {
                store = store.max_events(events);
            }
            serve(store, settings).await
        }
        StoreChoice::File(path) => {
            let mut options = FileStore::options();
            if let Some(events) = settings.retain {
                options = options.max_events(events);
            }
            serve(options.open(path)?, settings).await
        }
        StoreChoice::Nats(url) => {
            let mut options = NatsStore::options();
            if let Some(events) = settings.retain {
                options = options.max_events(events);
            }
            serve(options.connect(url).await?, settings).await
        }
        StoreChoice::Postgres(url) => {
            let mut options = PostgresStore::options();
            if let Some(events) = settings.retain {
                options = options.max_events(events);
            }
            serve(options.connect(url).await?, settings).await
        }
        StoreChoice::Redis(url) => {
            let mut options = RedisStore::options();
            if let Some(events) = settings.retain {
                options = options.max_events(events);
            }
            serve(options.connect(url).await?, settings).await
        }
    }
}

async fn serve(store: impl EventStore, settings: &Settings) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(settings.address)
        .await
        .map_err(|error| cannot_listen(settings.address, &error))?;
    log_to_stderr();
    settings.access.announce();
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|socket| tune_socket(socket));
    // A graceful shutdown would wait for open streams, which never end by themselves.
    let app = app(store, settings).into_make_service();
    Ok(axum::serve(listener, app).await?)
}
