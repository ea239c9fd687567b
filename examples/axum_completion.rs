//! An answer that survives its connection, under axum: `cargo run --example axum_completion --features axum`,
//! then open <http://127.0.0.1:3000>, or
//!
//! ```console
//! $ curl -N -H 'Authorization: Bearer me' 'http://127.0.0.1:3000/completion?prompt=trains'
//! $ curl -N -H 'Authorization: Bearer me' 'http://127.0.0.1:3000/completion?prompt=trains&lastEventId=r.…'
//! $ curl -N -H 'Authorization: Bearer me' -H 'Content-Type: application/json' \
//!     -d '{"stream":true,"messages":[{"role":"user","content":"trains"}]}' \
//!     http://127.0.0.1:3000/v1/chat/completions
//! ```
//!
//! `PORT` and `PACE_MS` (30, for a word) change what it does. With the feature `redis` and a `REDIS_URL`,
//! an answer that one process writes goes on at any other. The same under actix-web is
//! `actix_completion`.

#[path = "completion/shared.rs"]
pub(crate) mod shared;

use std::{error::Error, net::Ipv4Addr, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, COOKIE, SET_COOKIE},
    },
    response::{AppendHeaders, Html, IntoResponse},
    routing::{get, post},
    serve::ListenerExt,
};
use futures_util::Stream;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use tower_sse::{Drain, Event, Grant, Sse, tune_socket};

use shared::{
    Chat, Completions, PAGE, Question, TIME_TO_FINISH, completions, log_to_stderr, number, session,
    shutdown_signal,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    log_to_stderr();
    let stop = shutdown_signal()?;
    let stopping = CancellationToken::new();
    let drain = Drain::new(stopping.clone())
        .letting_finish()
        .within(TIME_TO_FINISH);
    let app = app(completions(&drain).await?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number("PORT", 3000)?)).await?;
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|socket| tune_socket(socket));
    let server = axum::serve(listener, app.into_make_service())
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    let served = async {
        let served = server.await;
        // Those answers, too, that nobody listens to.
        drain.drained().await;
        served
    };
    let stopped = async {
        stop.await;
        stopping.cancel();
        // Nobody holds the server up.
        sleep(TIME_TO_FINISH + Duration::from_millis(500)).await;
    };
    tokio::select! {
        served = served => Ok(served?),
        () = stopped => Ok(()),
    }
}

pub(crate) fn app(completions: Completions) -> Router {
    let by_id = get(ask)
        .post(post_question)
        .route_layer(completions.by_id());
    let by_key = post(chat).route_layer(completions.by_key());
    Router::new()
        .route("/completion", by_id)
        .route("/v1/chat/completions", by_key)
        .route("/stop", post(stop).route_layer(completions.policy()))
        .route("/", get(page))
        .with_state(completions)
}

async fn ask(
    State(completions): State<Completions>,
    Query(question): Query<Question>,
) -> Sse<impl Stream<Item = Event> + Send> {
    Sse::new(completions.model.answer(&question.prompt))
}

async fn post_question(
    State(completions): State<Completions>,
    Json(question): Json<Question>,
) -> Sse<impl Stream<Item = Event> + Send> {
    Sse::new(completions.model.answer(&question.prompt))
}

async fn chat(
    State(completions): State<Completions>,
    Json(chat): Json<Chat>,
) -> Sse<impl Stream<Item = Event> + Send> {
    Sse::new(completions.model.answer(chat.prompt()))
}

/// Stops the answer that has an event of this id.
async fn stop(State(completions): State<Completions>, grant: Grant, id: String) -> StatusCode {
    match completions.stop(&id, &grant).await {
        Ok(true) => StatusCode::NO_CONTENT,
        Ok(false) => StatusCode::NOT_FOUND,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn page(headers: HeaderMap) -> Result<impl IntoResponse, StatusCode> {
    let cookies = headers
        .get(COOKIE)
        .and_then(|cookies| cookies.to_str().ok());
    let session = session(cookies.unwrap_or_default());
    let session = session.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let session = AppendHeaders(session.map(|session| (SET_COOKIE, session)));
    Ok(([(CACHE_CONTROL, "no-store")], session, Html(PAGE)))
}
