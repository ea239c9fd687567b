//! The examples of signed tokens: log in, get a ticket, watch.

#[allow(dead_code, clippy::duplicate_mod, reason = "each is a program")]
#[path = "../../examples/actix_tokens.rs"]
mod actix_tokens;
#[allow(dead_code, clippy::duplicate_mod, reason = "each is a program")]
#[path = "../../examples/axum_tokens.rs"]
mod axum_tokens;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower_sse::{Hub, TopicName};

use crate::{
    client::soon,
    servers::{Kind, Server, listen},
};

const KINDS: [Kind; 2] = [Kind::Axum, Kind::Actix];
const ALICE: &str = r#"{"user":"alice","password":"open sesame"}"#;

/// An example that runs.
struct Example {
    hub: Hub,
    address: SocketAddr,
    server: Server,
}

impl Example {
    fn start(kind: Kind, token: Duration, ticket: Duration) -> Self {
        let (hub, listener) = (Hub::new(), listen());
        let address = listener.local_addr().unwrap();
        let server = match kind {
            Kind::Actix => {
                let auth = actix_tokens::shared::Auth::new(token, ticket).unwrap();
                let app = actix_tokens::app(auth, hub.clone());
                let server = HttpServer::new(move || App::new().configure(app.clone()));
                let server = server.workers(1).disable_signals();
                let server = server.listen(listener.into_std().unwrap()).unwrap();
                Server::of_actix(address, server.run())
            }
            _ => {
                let auth = axum_tokens::shared::Auth::new(token, ticket).unwrap();
                Server::of_axum(listener, axum_tokens::app(auth, hub.clone()))
            }
        };
        Self {
            hub,
            address,
            server,
        }
    }

    /// Sends a request, and reads its response up to the end, or up to this text.
    async fn send(&self, request: &str, body: &str, until: Option<&str>) -> (u16, String) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
        let headers = headers.replace('\n', "\r\n") + if headers.is_empty() { "" } else { "\r\n" };
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        let read = async {
            while socket.read_buf(&mut seen).await.unwrap() > 0 {
                let text = String::from_utf8_lossy(&seen);
                if until.is_some_and(|until| text.contains(until)) {
                    return true;
                }
            }
            false
        };
        let found = soon(read).await;
        let seen = String::from_utf8(seen).unwrap();
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        assert!(found || until.is_none() || status != 200, "{seen}");
        (status, body.to_owned())
    }

    async fn login(&self) -> String {
        let request = "POST /login\ncontent-type: application/json";
        let (status, token) = self.send(request, ALICE, None).await;
        assert_eq!(status, 200, "{token}");
        token
    }

    async fn ticket(&self, token: &str) -> (u16, String) {
        let request = format!("POST /ticket\nauthorization: Bearer {token}");
        self.send(&request, "", None).await
    }

    async fn stream(&self, ticket: &str, until: &str) -> (u16, String) {
        let request = format!("GET /stream?ticket={ticket}");
        self.send(&request, "", Some(until)).await
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn user_logs_in_gets_a_ticket_and_watches_a_counter_of_their_own() {
    for kind in KINDS {
        let example = Example::start(kind, MINUTE, MINUTE);
        let (status, page) = example.send("GET /", "", None).await;
        assert!(status == 200 && page.contains("EventSource"));

        let (status, ticket) = example.ticket(&example.login().await).await;
        assert_eq!(status, 200);
        for user in ["bob", "alice"] {
            let topic = TopicName::new(format!("counter/{user}")).unwrap();
            let topic = example.hub.topic::<String>(topic).unwrap();
            topic.publish(&format!("of {user}")).await.unwrap();
        }
        // An id that was never one is no harm.
        let request = format!("GET /stream?ticket={ticket}&lastEventId=unknown");
        let gap = Some(r#"{"reason":"unknown"}"#);
        assert_eq!(example.send(&request, "", gap).await.0, 200);
        let stream = example.stream(&ticket, "\"later\"");
        let publish = async {
            // Until the stream is there to see it.
            loop {
                for (user, text) in [("bob", "not alice's"), ("alice", "later")] {
                    let topic = TopicName::new(format!("counter/{user}")).unwrap();
                    let topic = example.hub.topic::<String>(topic).unwrap();
                    topic.publish(&text.to_owned()).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let (status, seen) = tokio::select! {
            seen = stream => seen,
            () = publish => unreachable!(),
        };
        assert_eq!(status, 200);
        assert!(!seen.contains("not alice's"), "{seen}");
        example.server.stop().await;
    }
}

#[tokio::test]
async fn nobody_gets_in_with_a_token_or_ticket_that_is_not_signed_here() {
    for kind in KINDS {
        let example = Example::start(kind, MINUTE, MINUTE);
        for (body, status) in [
            (r#"{"user":"alice","password":"wrong"}"#, 401),
            (r#"{"user":"mallory","password":"open sesame"}"#, 401),
            (r#"{"user":"alice","password":""}"#, 401),
        ] {
            let request = "POST /login\ncontent-type: application/json";
            assert_eq!(example.send(request, body, None).await.0, status, "{body}");
        }

        let token = example.login().await;
        assert_eq!(example.ticket(&token).await.0, 200);
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
            panic!("{token}");
        };
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let others = {
            let key = jsonwebtoken::EncodingKey::from_secret(&[1; 32]);
            let json = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &json, &key).unwrap()
        };
        let bob = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        let bob = String::from_utf8(bob).unwrap().replace("alice", "bob");
        for forged in [
            String::new(),
            others,
            format!("{header}.{claims}"),
            format!("{header}.{claims}."),
            format!("{header}.{}.{signature}", encode(&bob)),
            format!("{}.{claims}.", encode(r#"{"alg":"none"}"#)),
            format!("{}.{claims}.{signature}", encode(r#"{"alg":"none"}"#)),
            format!("{}.{claims}.{signature}", encode(r#"{"alg":"HS512"}"#)),
            format!("{}.{claims}.{signature}", encode(r#"{"alg":"RS256"}"#)),
            format!("{token}A"),
            token[1..].to_owned(),
            "a".repeat(9000),
        ] {
            assert_eq!(example.ticket(&forged).await.0, 401, "{forged:.200}");
        }

        let (_, ticket) = example.ticket(&token).await;
        // A token is no ticket, nor is a ticket a token.
        assert_eq!(example.ticket(&ticket).await.0, 401);
        for forged in ["", &token, &ticket[1..], &ticket[..ticket.len() - 2]] {
            assert_eq!(example.stream(forged, "\n\n").await.0, 401);
        }
        assert_eq!(example.stream(&ticket, "sse.open").await.0, 200);
        example.server.stop().await;
    }
}

#[tokio::test]
async fn ticket_and_token_are_refused_after_their_time() {
    for kind in KINDS {
        let example = Example::start(kind, MINUTE, Duration::from_millis(20));
        let (status, ticket) = example.ticket(&example.login().await).await;
        assert_eq!(status, 200);
        let started = Instant::now();
        while example.stream(&ticket, "sse.open").await.0 != 401 {
            assert!(started.elapsed() < MINUTE, "the ticket holds for ever");
        }
        assert_eq!(example.stream(&ticket, "sse.open").await.0, 401);
        example.server.stop().await;

        let example = Example::start(kind, Duration::ZERO, MINUTE);
        let token = example.login().await;
        assert_eq!(example.ticket(&token).await.0, 401);
        example.server.stop().await;
    }
}

#[tokio::test]
async fn stream_ends_with_the_token_that_its_ticket_was_made_for() {
    for kind in KINDS {
        let example = Example::start(kind, Duration::from_secs(2), MINUTE);
        let started = Instant::now();
        // Until three requests are done before the token ends.
        loop {
            assert!(started.elapsed() < MINUTE, "no stream was opened");
            let (_, ticket) = example.ticket(&example.login().await).await;
            let (status, _) = example.stream(&ticket, r#"{"reason":"expired"}"#).await;
            if status == 200 {
                break;
            }
        }
        example.server.stop().await;
    }
}
