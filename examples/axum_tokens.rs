//! Signed tokens and tickets under axum: `cargo run --example axum_tokens --features axum,tickets`,
//! then open <http://127.0.0.1:3000>, or
//!
//! ```console
//! $ login='{"user":"alice","password":"open sesame"}'
//! $ token=$(curl -s -H 'Content-Type: application/json' -d "$login" http://127.0.0.1:3000/login)
//! $ ticket=$(curl -s -X POST -H "Authorization: Bearer $token" http://127.0.0.1:3000/ticket)
//! $ curl -N "http://127.0.0.1:3000/stream?ticket=$ticket"
//! ```
//!
//! `PORT`, `TOKEN_SECONDS` (3600) and `TICKET_SECONDS` (60) change what it does. The same under
//! actix-web is `actix_tokens`.

#[path = "tokens/shared.rs"]
pub(crate) mod shared;

use std::{error::Error, net::Ipv4Addr};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::{Html, IntoResponse},
    routing::{get, post},
    serve::ListenerExt,
};
use tokio::net::TcpListener;
use tower_sse::{Grant, Hub, LastEventId, Sse, Subscription, tune_socket};

use shared::{Auth, Login, PAGE, auth_from_env, count, counter_of, number};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::new();
    let app = app(auth_from_env()?, hub.clone());
    let address = (Ipv4Addr::LOCALHOST, number("PORT", 3000)?);
    let listener = TcpListener::bind(address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|socket| tune_socket(socket));
    // A graceful shutdown would wait for open streams, which never end by themselves.
    tokio::select! {
        served = axum::serve(listener, app.into_make_service()) => Ok(served?),
        counted = count(hub) => counted,
        stop = tokio::signal::ctrl_c() => Ok(stop?),
    }
}

pub(crate) fn app(auth: Auth, hub: Hub) -> Router {
    Router::new()
        .route("/ticket", post(ticket).route_layer(auth.by_token()))
        .route("/login", post(login))
        .with_state(auth.clone())
        .route("/stream", get(stream).route_layer(auth.by_ticket()))
        .with_state(hub)
        .route("/", get(|| async { Html(PAGE) }))
}

async fn login(State(auth): State<Auth>, Json(login): Json<Login>) -> impl IntoResponse {
    match auth.login(&login) {
        Ok(Some(token)) => Ok(secret(token)),
        Ok(None) => Err(StatusCode::UNAUTHORIZED),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn ticket(State(auth): State<Auth>, grant: Grant) -> impl IntoResponse {
    auth.ticket(&grant)
        .map(secret)
        .ok_or(StatusCode::UNAUTHORIZED)
}

fn secret(text: String) -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], text)
}

async fn stream(
    State(hub): State<Hub>,
    grant: Grant,
    last: LastEventId,
) -> axum::response::Result<Sse<Subscription>> {
    let topic = counter_of(grant.subject_name().unwrap_or_default())?;
    Ok(Sse::new(grant.admit(hub.subscribe(topic, last))?))
}
