//! An answer that survives its connection, under actix-web:
//! `cargo run --example actix_completion --features actix`, then open <http://127.0.0.1:3000>, or
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
//! an answer that one process writes goes on at any other. The same under axum is `axum_completion`.

#[path = "completion/shared.rs"]
pub(crate) mod shared;

use std::{error::Error, net::Ipv4Addr, time::Duration};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    error::ErrorInternalServerError,
    http::header::{CACHE_CONTROL, COOKIE, ContentType, SET_COOKIE},
    web::{self, Data, Json, Query, ServiceConfig},
};
use futures_util::Stream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_sse::{Drain, Event, Grant, Sse, tune_actix_socket};

use shared::{
    Chat, Completions, PAGE, Question, TIME_TO_FINISH, completions, log_to_stderr, number, session,
    shutdown_signal,
};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    log_to_stderr();
    let stop = shutdown_signal()?;
    let stopping = CancellationToken::new();
    let drain = Drain::new(stopping.clone())
        .letting_finish()
        .within(TIME_TO_FINISH);
    let app = app(completions(&drain).await?);
    let server = HttpServer::new(move || App::new().configure(app.clone()))
        .on_connect(tune_actix_socket)
        // A client that has gone is noticed at once, and not when it does not take what is sent.
        .h1_allow_half_closed(false)
        .bind((Ipv4Addr::LOCALHOST, number("PORT", 3000)?))?
        .disable_signals();
    for address in server.addrs() {
        tracing::info!("listening on http://{address}");
    }
    let server = server.run();
    let handle = server.handle();
    let stopped = async {
        stop.await;
        stopping.cancel();
        // Those answers, too, that nobody listens to; but nobody holds the server up.
        let _ = timeout(TIME_TO_FINISH, drain.drained()).await;
        // What was sent last is on its way. A graceful stop would wait for idle connections, too.
        sleep(Duration::from_millis(100)).await;
        handle.stop(false).await;
    };
    tokio::select! {
        served = server => Ok(served?),
        () = stopped => Ok(()),
    }
}

pub(crate) fn app(completions: Completions) -> impl Fn(&mut ServiceConfig) + Clone {
    move |app| {
        let by_id = web::resource("/completion").wrap(completions.by_id());
        let by_key = web::resource("/v1/chat/completions").wrap(completions.by_key());
        let stop = web::resource("/stop").wrap(completions.policy());
        app.app_data(Data::new(completions.clone()))
            .service(
                by_id
                    .route(web::get().to(ask))
                    .route(web::post().to(post_question)),
            )
            .service(by_key.route(web::post().to(chat)))
            .service(stop.route(web::post().to(self::stop)))
            .route("/", web::get().to(page));
    }
}

async fn ask(
    completions: Data<Completions>,
    question: Query<Question>,
) -> Sse<impl Stream<Item = Event> + Send> {
    Sse::new(completions.model.answer(&question.prompt))
}

async fn post_question(
    completions: Data<Completions>,
    question: Json<Question>,
) -> Sse<impl Stream<Item = Event> + Send> {
    Sse::new(completions.model.answer(&question.prompt))
}

async fn chat(
    completions: Data<Completions>,
    chat: Json<Chat>,
) -> Sse<impl Stream<Item = Event> + Send> {
    Sse::new(completions.model.answer(chat.prompt()))
}

/// Stops the answer that has an event of this id.
async fn stop(completions: Data<Completions>, grant: Grant, id: String) -> HttpResponse {
    match completions.stop(&id, &grant).await {
        Ok(true) => HttpResponse::NoContent().finish(),
        Ok(false) => HttpResponse::NotFound().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn page(request: HttpRequest) -> actix_web::Result<HttpResponse> {
    let cookies = request.headers().get(COOKIE);
    let cookies = cookies.and_then(|cookies| cookies.to_str().ok());
    let session = session(cookies.unwrap_or_default()).map_err(ErrorInternalServerError)?;
    let mut response = HttpResponse::Ok();
    if let Some(session) = session {
        response.insert_header((SET_COOKIE, session));
    }
    Ok(response
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(ContentType::html())
        .body(PAGE))
}
