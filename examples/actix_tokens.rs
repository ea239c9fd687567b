//! Signed tokens and tickets under actix-web:
//! `cargo run --example actix_tokens --features actix,tickets`, then open <http://127.0.0.1:3000>, or
//!
//! ```console
//! $ login='{"user":"alice","password":"open sesame"}'
//! $ token=$(curl -s -H 'Content-Type: application/json' -d "$login" http://127.0.0.1:3000/login)
//! $ ticket=$(curl -s -X POST -H "Authorization: Bearer $token" http://127.0.0.1:3000/ticket)
//! $ curl -N "http://127.0.0.1:3000/stream?ticket=$ticket"
//! ```
//!
//! `PORT`, `TOKEN_SECONDS` (3600) and `TICKET_SECONDS` (60) change what it does. The same under axum is
//! `axum_tokens`.

#[path = "tokens/shared.rs"]
pub(crate) mod shared;

use std::{error::Error, net::Ipv4Addr};

use actix_web::{
    App, HttpResponse, HttpServer,
    http::header::{CACHE_CONTROL, ContentType},
    web::{self, Data, Json, ServiceConfig},
};
use tower_sse::{Grant, Hub, LastEventId, Sse, Subscription, tune_actix_socket};

use shared::{Auth, Login, PAGE, auth_from_env, count, counter_of, number};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::new();
    let app = app(auth_from_env()?, hub.clone());
    let server = HttpServer::new(move || App::new().configure(app.clone()))
        .on_connect(tune_actix_socket)
        .bind((Ipv4Addr::LOCALHOST, number("PORT", 3000)?))?
        .disable_signals();
    for address in server.addrs() {
        eprintln!("listening on http://{address}");
    }
    // A graceful shutdown would wait for open streams, which never end by themselves.
    tokio::select! {
        served = server.run() => Ok(served?),
        counted = count(hub) => counted,
        stop = tokio::signal::ctrl_c() => Ok(stop?),
    }
}

pub(crate) fn app(auth: Auth, hub: Hub) -> impl Fn(&mut ServiceConfig) + Clone {
    move |app| {
        let ticket = web::resource("/ticket").wrap(auth.by_token());
        let stream = web::resource("/stream").wrap(auth.by_ticket());
        app.app_data(Data::new(auth.clone()))
            .app_data(Data::new(hub.clone()))
            .service(ticket.route(web::post().to(self::ticket)))
            .service(stream.route(web::get().to(self::stream)))
            .route("/login", web::post().to(login))
            .route("/", web::get().to(page));
    }
}

async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .body(PAGE)
}

async fn login(auth: Data<Auth>, login: Json<Login>) -> HttpResponse {
    match auth.login(&login) {
        Ok(Some(token)) => secret(token),
        Ok(None) => HttpResponse::Unauthorized().finish(),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn ticket(auth: Data<Auth>, grant: Grant) -> HttpResponse {
    match auth.ticket(&grant) {
        Some(ticket) => secret(ticket),
        None => HttpResponse::Unauthorized().finish(),
    }
}

fn secret(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text)
}

async fn stream(
    hub: Data<Hub>,
    grant: Grant,
    last: LastEventId,
) -> actix_web::Result<Sse<Subscription>> {
    let topic = counter_of(grant.subject_name().unwrap_or_default())?;
    Ok(Sse::new(grant.admit(hub.subscribe(topic, last))?))
}
