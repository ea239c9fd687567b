//! A process that produces and sends recorded responses, in axum and in actix-web at once.
//!
//! It is this binary again, told by its environment what it is. It does what it is told on its standard
//! input, and ends with it.

use std::{
    collections::HashMap,
    env, io,
    io::Write,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
#[cfg(feature = "file")]
use tower_sse::store::FileStore;
#[cfg(feature = "nats")]
use tower_sse::store::NatsStore;
#[cfg(feature = "postgres")]
use tower_sse::store::PostgresStore;
use tower_sse::{
    Drain, Leaving, Resumable, SseLayer,
    store::{MemoryStore, RedisStore},
};

use crate::{
    client::{Client, Protocol, Request, Response, soon},
    place::Place,
    site::{Kind, Server, Site, Streamed},
    text,
};

const SETUP: &str = "TOWER_SSE_RECORDED";
/// Marks the lines of the process among those of the test harness.
const MARK: &str = "told: ";

/// What a process is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// An address, `memory`, or the path of a file.
    pub(crate) store: String,
    pub(crate) lease: Duration,
    pub(crate) kept_for: Duration,
    /// For how long an answer goes on without a listener.
    pub(crate) goes_on: Duration,
    pub(crate) drain: Duration,
}

impl Setup {
    /// So that nothing happens by itself.
    pub(crate) fn new(place: &Place) -> Self {
        Self::at(place.store.clone())
    }

    pub(crate) fn at(store: String) -> Self {
        let long = Duration::from_secs(600);
        Self {
            store,
            lease: long,
            kept_for: long,
            goes_on: long,
            drain: long,
        }
    }

    async fn resumable(&self) -> Resumable {
        let (scheme, _) = self.store.split_once(':').unwrap_or((&self.store, ""));
        let resumable = match scheme {
            "memory" => Resumable::new(MemoryStore::new()),
            "redis" => Resumable::new(RedisStore::connect(&self.store).await.unwrap()),
            #[cfg(feature = "nats")]
            "nats" => Resumable::new(NatsStore::connect(&self.store).await.unwrap()),
            #[cfg(feature = "postgres")]
            "postgres" => Resumable::new(PostgresStore::connect(&self.store).await.unwrap()),
            #[cfg(feature = "file")]
            _ => Resumable::new(FileStore::open(&self.store).unwrap()),
            #[cfg(not(feature = "file"))]
            _ => panic!("{} is no store", self.store),
        };
        let resumable = resumable
            .lease(self.lease)
            .kept_for(self.kept_for)
            .leaving(Leaving::Continue(self.goes_on))
            .without_subject();
        resumable.idempotency_key(|request| {
            let key = request.header("idempotency-key")?;
            Some(String::from_utf8(key.to_vec()).unwrap())
        })
    }
}

/// A process of a test's own. It is killed when this is dropped.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    addresses: HashMap<&'static str, SocketAddr>,
}

impl Peer {
    pub(crate) async fn start(setup: &Setup) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "peer::serves", "--nocapture"])
            .env(SETUP, serde_json::to_string(setup).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut peer = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            addresses: HashMap::new(),
        };
        for name in ["axum", "actix"] {
            let port: u16 = peer.told().await.parse().unwrap();
            peer.addresses.insert(name, ([127, 0, 0, 1], port).into());
        }
        peer
    }

    /// Two that share a store.
    pub(crate) async fn two(setup: &Setup) -> [Self; 2] {
        [Self::start(setup).await, Self::start(setup).await]
    }

    async fn told(&mut self) -> String {
        loop {
            let line = soon(self.output.next_line()).await.unwrap();
            let line = line.expect("the process has ended");
            if let Some((_, told)) = line.split_once(MARK) {
                return told.to_owned();
            }
        }
    }

    async fn tell(&mut self, what: &str) {
        let line = format!("{what}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        self.input.flush().await.unwrap();
    }

    /// Lets its handlers of a path send this many events more.
    pub(crate) async fn release(&mut self, path: &str, events: usize) {
        self.tell(&format!("release {path} {events}")).await;
    }

    /// How often its handler ran.
    pub(crate) async fn runs(&mut self) -> usize {
        self.tell("runs").await;
        self.told().await.parse().unwrap()
    }

    /// How many streams of its handler there are.
    pub(crate) async fn alive(&mut self) -> usize {
        self.tell("alive").await;
        self.told().await.parse().unwrap()
    }

    /// Waits until its handler's streams are gone.
    pub(crate) async fn is_idle(&mut self) {
        soon(async {
            while self.alive().await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Has a response stopped, by its id.
    pub(crate) async fn stop(&mut self, id: &str) -> bool {
        self.tell(&format!("stop {id}")).await;
        self.told().await.parse().unwrap()
    }

    pub(crate) async fn send(&self, kind: Kind, request: Request) -> Response {
        let name = match kind {
            Kind::Actix => "actix",
            _ => "axum",
        };
        let client = Client::connect(self.addresses[name].into(), Protocol::Http11).await;
        client.send(request).await
    }

    pub(crate) async fn get(&self, kind: Kind, target: &str) -> Response {
        self.send(kind, Request::get(target)).await
    }

    pub(crate) async fn come_back(&self, kind: Kind, target: &str, id: &str) -> Response {
        let request = Request::get(target).header("last-event-id", id);
        self.send(kind, request).await
    }

    /// Ends it without a warning.
    pub(crate) async fn kill(&mut self) {
        soon(self.child.kill()).await.unwrap();
    }

    /// Has it end in order.
    pub(crate) fn terminate(&self) {
        assert!(servers::signal(self.child.id().unwrap(), "TERM"));
    }

    pub(crate) async fn has_ended(&mut self) {
        assert!(soon(self.child.wait()).await.unwrap().success());
    }
}

/// The handler of all paths: `/7` is an answer of seven events, `/fails/7` fails after them.
#[derive(Clone)]
struct Handler {
    permits: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    runs: Arc<AtomicUsize>,
    alive: Arc<Alive>,
}

/// All streams of a handler hold what is in it.
#[derive(Default)]
struct Alive(Arc<()>);

impl Handler {
    /// For what handlers of a path send.
    fn permits(&self, path: &str) -> Arc<Semaphore> {
        let mut permits = self.permits.lock().unwrap();
        let permits = permits.entry(path.to_owned());
        Arc::clone(permits.or_insert_with(|| Arc::new(Semaphore::new(0))))
    }

    fn stream(&self, path: &str) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let (rest, count) = path.rsplit_once('/').unwrap();
        let count: usize = count.parse().unwrap();
        let permits = self.permits(path);
        let alive = Arc::clone(&self.alive.0);
        let pieces = stream::unfold(
            (0, permits, alive),
            move |(number, permits, alive)| async move {
                if number == count {
                    return None;
                }
                permits.acquire().await.unwrap().forget();
                let mut block = text::block(number).into_bytes();
                // Anywhere, be it within a character.
                let half = block.split_off(number % block.len());
                let pieces = stream::iter([Ok(block.into()), Ok(half.into())]);
                Some((pieces, (number + 1, permits, alive)))
            },
        );
        let failure = match rest {
            "/fails" => vec![Err(io::Error::other("of the test"))],
            _ => Vec::new(),
        };
        pieces.flatten().chain(stream::iter(failure))
    }

    fn site(&self, layer: SseLayer) -> Site {
        let handler = self.clone();
        let site = Site::new(move |seen| Streamed {
            headers: vec![("content-type", "text/event-stream")],
            stream: handler.stream(&seen.path),
        });
        site.layer(layer)
    }
}

/// What the process is, where this is not a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves() {
    let Ok(setup) = env::var(SETUP) else {
        return;
    };
    let setup: Setup = serde_json::from_str(&setup).unwrap();
    let mut terminated = signal(SignalKind::terminate()).unwrap();
    let stop = CancellationToken::new();
    let drain = Drain::new(stop.clone()).within(setup.drain);
    let resumable = setup.resumable().await;
    let handler = Handler {
        permits: Arc::default(),
        runs: Arc::default(),
        alive: Arc::default(),
    };
    let site = handler.site(SseLayer::new().drain(&drain).resumable(&resumable));
    let servers: [Server; 2] = [site.serve(Kind::Axum).await, site.serve(Kind::Actix).await];
    for server in &servers {
        tell(server.port());
    }
    tokio::spawn(async move {
        obey(&handler, &resumable).await;
        // Whoever has started it is gone.
        std::process::exit(1);
    });
    terminated.recv().await.unwrap();
    stop.cancel();
    drain.drained().await;
    for server in servers {
        server.stop().await;
    }
    // What reads the standard input cannot be stopped.
    std::process::exit(0);
}

async fn obey(handler: &Handler, resumable: &Resumable) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("release", more) => {
                let (path, events) = more.split_once(' ').unwrap();
                handler.permits(path).add_permits(events.parse().unwrap());
            }
            ("runs", _) => tell(handler.runs.load(Ordering::Relaxed)),
            ("alive", _) => tell(Arc::strong_count(&handler.alive.0) - 1),
            ("stop", id) => tell(resumable.stop(id, None).await.unwrap()),
            _ => panic!("{line:?} is none of its orders"),
        }
    }
}

fn tell(what: impl ToString) {
    let line = format!("\n{MARK}{}\n", what.to_string());
    io::stdout().write_all(line.as_bytes()).unwrap();
}
