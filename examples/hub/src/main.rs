//! A standalone hub: `cargo run -p hub -- --port 4000 --store memory`.
//!
//! `--help` says what else it takes, and what it serves.

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use axum::serve::ListenerExt;
use hub::{HELP, Settings, StoreChoice, app, cannot_listen, exit, log_to_stderr, shutdown_signal};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
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
    let stopping = CancellationToken::new();
    let stopped = async {
        stop.await;
        // Ends the streams, and with them what the server waits for; but nobody holds it up.
        stopping.cancel();
        sleep(Duration::from_millis(1_500)).await;
    };
    tokio::select! {
        result = open_and_serve(&settings, &stopping) => result,
        () = stopped => Ok(()),
    }
}

async fn open_and_serve(
    settings: &Settings,
    stopping: &CancellationToken,
) -> Result<(), Box<dyn Error>> {
    match &settings.store {
        StoreChoice::Memory => {
            let mut store = MemoryStore::new();
            if let Some(events) = settings.retain {
                store = store.max_events(events);
            }
            serve(store, settings, stopping).await
        }
        StoreChoice::File(path) => {
            let mut options = FileStore::options();
            if let Some(events) = settings.retain {
                options = options.max_events(events);
            }
            serve(options.open(path)?, settings, stopping).await
        }
        StoreChoice::Nats(url) => {
            let mut options = NatsStore::options();
            if let Some(events) = settings.retain {
                options = options.max_events(events);
            }
            serve(options.connect(url).await?, settings, stopping).await
        }
        StoreChoice::Postgres(url) => {
            let mut options = PostgresStore::options();
            if let Some(events) = settings.retain {
                options = options.max_events(events);
            }
            serve(options.connect(url).await?, settings, stopping).await
        }
        StoreChoice::Redis(url) => {
            let mut options = RedisStore::options();
            if let Some(events) = settings.retain {
                options = options.max_events(events);
            }
            serve(options.connect(url).await?, settings, stopping).await
        }
    }
}

async fn serve(
    store: impl EventStore,
    settings: &Settings,
    stopping: &CancellationToken,
) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(settings.address)
        .await
        .map_err(|error| cannot_listen(settings.address, &error))?;
    log_to_stderr();
    settings.access.announce();
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|socket| tune_socket(socket));
    let app = app(store, settings, stopping).into_make_service();
    let server = axum::serve(listener, app);
    Ok(server
        .with_graceful_shutdown(stopping.clone().cancelled_owned())
        .await?)
}
