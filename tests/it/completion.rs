//! The examples of answers that survive their connection.

#[allow(dead_code, clippy::duplicate_mod, reason = "each is a program")]
#[path = "../../examples/actix_completion.rs"]
mod actix_completion;
#[allow(dead_code, clippy::duplicate_mod, reason = "each is a program")]
#[path = "../../examples/axum_completion.rs"]
mod axum_completion;
mod page;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, web};
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower_sse::{
    Drain,
    store::{EventStore, MemoryStore},
};

use crate::{
    client::{End, Request, Response},
    servers::{Kind, Server, listen},
    whatwg::Event,
};
use axum_completion::shared::Model;

const KINDS: [Kind; 2] = [Kind::Axum, Kind::Actix];
const PROMPT: &str = "trains";
const GAP: &str = "event: sse.gap\ndata: {\"reason\":\"unknown\"}\nid: r.ended\n\n";

/// A word in no time, and one that takes so long that a whole answer takes minutes.
const AT_ONCE: Duration = Duration::from_millis(1);
const SLOWLY: Duration = Duration::from_millis(500);

/// What a page imports that uses a client of others.
const FOREIGN: [(&str, &str); 2] = [
    (
        "/vendor/fetch",
        include_str!("../vendor/fetch-event-source/fetch.js"),
    ),
    (
        "/vendor/parse",
        include_str!("../vendor/fetch-event-source/parse.js"),
    ),
];

/// An example that runs.
struct Example {
    server: Server,
    /// How many answers were begun.
    answers: Arc<AtomicUsize>,
}

impl Example {
    fn start(kind: Kind, pace: Duration) -> Self {
        Self::over(MemoryStore::new(), kind, pace)
    }

    fn over(store: impl EventStore, kind: Kind, pace: Duration) -> Self {
        let (listener, drain) = (listen(), Drain::new(CancellationToken::new()));
        match kind {
            Kind::Actix => {
                use actix_completion::shared::{Completions, Model};
                let model = Model::new(pace);
                let answers = Arc::clone(&model.answers);
                let app = actix_completion::app(Completions::new(store, model, &drain));
                let foreign = |app: &mut web::ServiceConfig| {
                    for (path, script) in FOREIGN {
                        let answer = move || async move {
                            HttpResponse::Ok()
                                .content_type("text/javascript")
                                .body(script)
                        };
                        app.route(path, web::get().to(answer));
                    }
                };
                let address = listener.local_addr().unwrap();
                let server =
                    HttpServer::new(move || App::new().configure(app.clone()).configure(foreign));
                let server = server.workers(1).disable_signals();
                let server = server.listen(listener.into_std().unwrap()).unwrap();
                let server = Server::of_actix(address, server.run());
                Self { server, answers }
            }
            _ => {
                use axum_completion::shared::Completions;
                let model = Model::new(pace);
                let answers = Arc::clone(&model.answers);
                let app = axum_completion::app(Completions::new(store, model, &drain));
                let app = FOREIGN.iter().fold(app, |app: Router, (path, script)| {
                    let answer = || async { ([(CONTENT_TYPE, "text/javascript")], *script) };
                    app.route(path, get(answer))
                });
                let server = Server::of_axum(listener, app);
                Self { server, answers }
            }
        }
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    async fn send(&self, request: Request) -> Response {
        self.server.client().await.send(request).await
    }

    /// Stops an answer, and returns the status.
    async fn stop(&self, session: &str, id: &str) -> u16 {
        let request = of(session, Request::new("POST", "/stop")).body(id.to_owned());
        self.send(request).await.status
    }
}

fn of(session: &str, request: Request) -> Request {
    request.header("cookie", format!("other=1; completion_session={session}"))
}

fn ask(session: &str) -> Request {
    of(
        session,
        Request::get(format!("/completion?prompt={PROMPT}")),
    )
}

fn ask_by_post(session: &str, key: &str) -> Request {
    let request = of(session, Request::new("POST", "/completion"));
    let request = request.header("content-type", "application/json");
    let request = request.header("idempotency-key", key);
    request.body(format!(r#"{{"prompt":"{PROMPT}"}}"#))
}

fn chat(key: &str) -> Request {
    let request = Request::new("POST", "/v1/chat/completions");
    let request = request.header("authorization", "Bearer sk-alice");
    let request = request.header("content-type", "application/json");
    let request = request.header("idempotency-key", key);
    request.body(format!(
        r#"{{"model":"local","stream":true,"messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{PROMPT}"}}]}}"#
    ))
}

/// The words of chunks, with which they came.
fn words<'a>(data: impl IntoIterator<Item = &'a str>) -> String {
    let words = data.into_iter().filter(|data| *data != "[DONE]");
    let words = words.map(|data| {
        let chunk: Value = serde_json::from_str(data).unwrap();
        let content = &chunk["choices"][0]["delta"]["content"];
        content.as_str().unwrap_or_default().to_owned()
    });
    words.collect()
}

fn messages(events: &[Event]) -> impl Iterator<Item = &str> {
    let messages = events.iter().filter(|(name, ..)| name == "message");
    messages.map(|(_, data, _)| &**data)
}

/// Asks, each time for what follows, of one after the other, with connections that do not last.
async fn read_in_pieces(examples: &[&Example], request: &Request) -> String {
    let mut events: Vec<Event> = Vec::new();
    for example in examples.iter().cycle() {
        let mut request = request.clone();
        if let Some((.., id)) = events.last() {
            request = request.header("last-event-id", id);
        }
        let mut response = example.send(request).await;
        assert_eq!(response.status, 200);
        let came = loop {
            let came = response.parsed().events;
            if came.len() >= 40 || response.more().await.is_some() {
                break response.parsed().events;
            }
        };
        events.extend(came);
        if events.last().unwrap().1 == "[DONE]" {
            let (.., id) = events.last().unwrap();
            let over = ask("alice").header("last-event-id", id);
            assert_eq!(example.send(over).await.status, 204);
            break;
        }
    }
    assert_eq!(events[0].0, "sse.open");
    assert_eq!(messages(&events).count(), events.len() - 1);
    words(messages(&events))
}

#[tokio::test]
async fn answer_goes_on_where_the_connection_was_cut() {
    for kind in KINDS {
        let example = Example::start(kind, AT_ONCE);
        for (request, answers) in [(ask("alice"), 1), (ask_by_post("alice", "1"), 2)] {
            let text = read_in_pieces(&[&example], &request).await;
            assert_eq!(text, Model::text(PROMPT));
            assert_eq!(example.answers(), answers);
        }
        example.server.stop().await;
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn answer_goes_on_at_another_one_that_shares_redis() {
    use servers::Redis;
    use tower_sse::store::RedisStore;

    let Some(redis) = servers::Server::<Redis>::start(&[]) else {
        return;
    };
    let mut examples = Vec::new();
    for kind in KINDS {
        let store = RedisStore::connect(&redis.url()).await.unwrap();
        examples.push(Example::over(store, kind, AT_ONCE));
    }
    let text = read_in_pieces(&[&examples[0], &examples[1]], &ask("alice")).await;
    assert_eq!(text, Model::text(PROMPT));
    let answers = examples.iter().map(Example::answers);
    assert_eq!(answers.collect::<Vec<_>>(), [1, 0]);
    for example in examples {
        example.server.stop().await;
    }
}

#[tokio::test]
async fn who_asks_again_with_a_key_is_not_answered_twice() {
    for kind in KINDS {
        let example = Example::start(kind, AT_ONCE);
        // The first one is lost before anything has come.
        drop(example.send(ask_by_post("alice", "1")).await);
        for (session, key, answers) in [("alice", "1", 1), ("alice", "2", 2), ("bob", "1", 3)] {
            let mut response = example.send(ask_by_post(session, key)).await;
            assert_eq!(response.end().await, End::Complete);
            assert_eq!(
                words(messages(&response.parsed().events)),
                Model::text(PROMPT)
            );
            assert_eq!(example.answers(), answers, "{session} {key}");
        }
        example.server.stop().await;
    }
}

#[tokio::test]
async fn nobody_else_comes_back_to_an_answer_or_stops_it() {
    for kind in KINDS {
        let example = Example::start(kind, SLOWLY);
        let mut response = example.send(ask("alice")).await;
        let id = response.events(1).await.remove(0).2;
        let nobody = Request::get(format!("/completion?prompt={PROMPT}&lastEventId={id}"));
        assert_eq!(example.send(nobody).await.status, 401);
        let mut of_bob = example.send(ask("bob").header("last-event-id", &id)).await;
        assert_eq!(of_bob.end().await, End::Complete);
        assert!(of_bob.text().ends_with(GAP), "{}", of_bob.text());
        assert_eq!(example.stop("bob", &id).await, 404);
        assert_eq!(example.stop("alice", "unknown").await, 404);

        assert_eq!(example.stop("alice", &id).await, 204);
        assert_eq!(response.end().await, End::Complete);
        let (name, data, id) = response.parsed().events.pop().unwrap();
        assert_eq!((&*name, &*data), ("sse.bye", r#"{"reason":"cancelled"}"#));
        let over = example.send(ask("alice").header("last-event-id", id)).await;
        assert_eq!((over.status, example.answers()), (204, 1));
        example.server.stop().await;
    }
}

#[tokio::test]
async fn chat_clients_are_sent_nothing_but_chunks() {
    for kind in KINDS {
        let example = Example::start(kind, AT_ONCE);
        for answers in [1, 1] {
            let mut response = example.send(chat("1")).await;
            assert_eq!(response.header("content-type"), Some("text/event-stream"));
            assert_eq!(response.end().await, End::Complete);
            let blocks = response.text().strip_suffix("\n\n").unwrap();
            let data: Vec<&str> = blocks
                .split("\n\n")
                .enumerate()
                .map(|(at, block)| {
                    // A comment, and the time of the first block, mean nothing to these clients.
                    let mut lines = block
                        .lines()
                        .filter(|line| *line != ":" && !(at == 0 && line.starts_with("retry: ")));
                    let data = lines.next().and_then(|line| line.strip_prefix("data: "));
                    assert_eq!(lines.next(), None, "{block}");
                    data.unwrap()
                })
                .collect();
            assert_eq!(data.last(), Some(&"[DONE]"));
            assert_eq!(words(data.iter().copied()), Model::text(PROMPT));
            let last: Value = serde_json::from_str(data[data.len() - 2]).unwrap();
            assert_eq!(last["choices"][0]["finish_reason"], "stop");
            assert_eq!(example.answers(), answers);
        }
        let nobody = Request::new("POST", "/v1/chat/completions");
        assert_eq!(example.send(nobody).await.status, 401);
        example.server.stop().await;
    }
}

#[tokio::test]
async fn page_comes_with_a_session_once() {
    for kind in KINDS {
        let example = Example::start(kind, AT_ONCE);
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let response = example.send(Request::get("/")).await;
            let cookie = response.header("set-cookie").unwrap();
            let (session, rest) = cookie.split_once(';').unwrap();
            assert_eq!(rest, " Path=/; HttpOnly; SameSite=Strict");
            sessions.push(session.to_owned());
        }
        assert_ne!(sessions[0], sessions[1]);
        let request = Request::get("/").header("cookie", &sessions[0]);
        assert_eq!(example.send(request).await.header("set-cookie"), None);
        example.server.stop().await;
    }
}
