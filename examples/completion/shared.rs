//! What both examples of resumable answers share: who writes the answers, who may read them, and where
//! they are recorded.

use std::{
    env,
    error::Error,
    io,
    iter::once,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{signal, time::sleep};
use tower_sse::{
    Denial, Drain, Event, Grant, RequestView, Resumable, SseLayer, StatusCode, TokenFinder,
    store::{EventStore, MemoryStore, StoreError},
};

pub(crate) const PAGE: &str = include_str!("page.html");
/// How long answers that are being written have when the server stops.
pub(crate) const TIME_TO_FINISH: Duration = Duration::from_secs(10);
const COOKIE: &str = "completion_session";
const LONGEST_PROMPT: usize = 200;

/// What our own clients ask.
#[derive(Deserialize)]
pub(crate) struct Question {
    pub(crate) prompt: String,
}

/// What chat clients ask, as far as it matters here.
#[derive(Deserialize)]
pub(crate) struct Chat {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

impl Chat {
    pub(crate) fn prompt(&self) -> &str {
        self.messages.last().map_or("", |last| &last.content)
    }
}

/// Writes answers, word by word, always the same ones.
#[derive(Clone)]
pub(crate) struct Model {
    pace: Duration,
    /// How many it has begun.
    pub(crate) answers: Arc<AtomicUsize>,
}

impl Model {
    /// Makes one that needs so long for a word.
    pub(crate) fn new(pace: Duration) -> Self {
        Self {
            pace,
            answers: Arc::default(),
        }
    }

    /// What it will have written in the end.
    pub(crate) fn text(prompt: &str) -> String {
        let prompt: String = prompt.chars().take(LONGEST_PROMPT).collect();
        let answer = include_str!("answer.txt").trim_end();
        format!("You asked: “{prompt}”\n\n{answer}")
    }

    /// Writes an answer, in chunks as of a chat completion, as long as this is polled.
    pub(crate) fn answer(&self, prompt: &str) -> impl Stream<Item = Event> + Send + use<> {
        let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(number, "writing an answer");
        let text = Self::text(prompt);
        let words: Vec<_> = text.split_inclusive(' ').map(str::to_owned).collect();
        let chunk = move |delta: Value, reason: Option<&str>| {
            let chunk = json!({
                "id": format!("chatcmpl-{number}"),
                "object": "chat.completion.chunk",
                "created": 1_700_000_000,
                "model": "local",
                "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }],
            });
            Event::new(chunk.to_string())
        };
        let first = chunk(json!({ "role": "assistant", "content": "" }), None);
        let last = [chunk(json!({}), Some("stop")), Event::new("[DONE]")];
        let words = words
            .into_iter()
            .map(move |word| chunk(json!({ "content": word }), None));
        let pace = self.pace;
        stream::iter(once(first).chain(words).chain(last)).then(move |event| async move {
            sleep(pace).await;
            event
        })
    }
}

/// Answers that are recorded, each for who has asked.
#[derive(Clone)]
pub(crate) struct Completions {
    pub(crate) model: Model,
    recorded: Resumable,
    drain: Drain,
}

impl Completions {
    pub(crate) fn new(store: impl EventStore, model: Model, drain: &Drain) -> Self {
        let recorded = Resumable::new(store).idempotency_key(|request| {
            let key = str::from_utf8(request.header("idempotency-key")?).ok()?;
            Some(key.to_owned())
        });
        Self {
            model,
            recorded,
            drain: drain.clone(),
        }
    }

    /// The policy of all routes: a browser is known by its session, other clients by a token. Whatever
    /// they are, nobody else comes back to their answers.
    pub(crate) fn policy(&self) -> SseLayer {
        let tokens = TokenFinder::new().bearer().cookie(COOKIE);
        let layer = SseLayer::new().authorize(move |request: RequestView| {
            let token = tokens.first(&request);
            async move {
                let token = token.ok_or_else(|| {
                    Denial::refuse(StatusCode::UNAUTHORIZED, "a session or a token is needed\n")
                })?;
                Ok(Grant::new().subject(token.reveal()))
            }
        });
        layer.drain(&self.drain)
    }

    /// That of a route whose clients come back by the ids of events.
    pub(crate) fn by_id(&self) -> SseLayer {
        self.policy().resumable(&self.recorded)
    }

    /// That of a route whose clients know nothing but chunks. They come back by their key.
    pub(crate) fn by_key(&self) -> SseLayer {
        self.policy().resumable(self.recorded.clone().without_ids())
    }

    /// Stops an answer. Returns whether it was still being written.
    pub(crate) async fn stop(&self, id: &str, grant: &Grant) -> Result<bool, StoreError> {
        self.recorded.stop(id, grant.subject_name()).await
    }
}

/// The cookie that a browser gets with the page, unless it has one. Behind TLS it would be `Secure`.
pub(crate) fn session(cookies: &str) -> Result<Option<String>, getrandom::Error> {
    let mut names = cookies.split(';').filter_map(|pair| pair.split_once('='));
    if names.any(|(name, _)| name.trim() == COOKIE) {
        return Ok(None);
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let random = BASE64_URL_SAFE_NO_PAD.encode(random);
    Ok(Some(format!(
        "{COOKIE}={random}; Path=/; HttpOnly; SameSite=Strict"
    )))
}

/// What the environment asks for.
pub(crate) async fn completions(drain: &Drain) -> Result<Completions, Box<dyn Error>> {
    let model = Model::new(Duration::from_millis(number("PACE_MS", 30)?));
    match env::var("REDIS_URL") {
        Ok(url) => on_redis(&url, model, drain).await,
        Err(_) => Ok(Completions::new(MemoryStore::new(), model, drain)),
    }
}

#[cfg(feature = "redis")]
async fn on_redis(url: &str, model: Model, drain: &Drain) -> Result<Completions, Box<dyn Error>> {
    let store = tower_sse::store::RedisStore::connect(url).await?;
    Ok(Completions::new(store, model, drain))
}

#[cfg(not(feature = "redis"))]
async fn on_redis(_: &str, _: Model, _: &Drain) -> Result<Completions, Box<dyn Error>> {
    Err("REDIS_URL needs the feature `redis`".into())
}

/// A number from the environment: milliseconds, a port.
pub(crate) fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T, String> {
    match env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name} must be a number")),
        Err(_) => Ok(default),
    }
}

pub(crate) fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
}

/// Resolves at the first Ctrl-C or SIGTERM after the call.
#[cfg(unix)]
pub(crate) fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal::unix::signal(signal::unix::SignalKind::interrupt())?;
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves at the first Ctrl-C.
#[cfg(windows)]
pub(crate) fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
