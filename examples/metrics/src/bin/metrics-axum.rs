//! Live metrics under axum: `cargo run -p metrics-example`, then open <http://127.0.0.1:3000>.
//!
//! `PORT`, `METRICS_INTERVAL_MS`, `METRICS_TOKEN` and `METRICS_OTHER_TOKEN` change what it does; see
//! `Settings`. The same service under actix-web is `cargo run -p metrics-example --bin metrics-actix`.

use std::{error::Error, future::ready, process::ExitCode, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::header::CONTENT_TYPE,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use metrics::{
    ASSETS, Asset, Figures, Requests, Sampler, Settings, TOPIC, cannot_listen, exit, log_to_stderr,
    shutdown_signal,
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use tower_sse::{Hub, LastEventId, Sse, SseLayer, Start, Subscription, tune_socket};

const STREAM: &str = "/api/metrics/stream";

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_env()?;
    let stop = shutdown_signal()?;
    let listener = TcpListener::bind(settings.address)
        .await
        .map_err(|error| cannot_listen(settings.address, &error))?;
    log_to_stderr();
    settings.access.announce();

    let figures = Figures::record()?;
    let hub = Hub::new();
    let requests = Requests::default();
    let _sampler = Sampler::start(&hub, requests.clone(), settings.interval).await?;

    tracing::info!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|socket| tune_socket(socket));
    let stopping = CancellationToken::new();
    // A Tower layer does not know the pattern of its route.
    let policy = settings.access.layer().name(STREAM);
    let app = app(hub, requests, policy.drain(stopping.clone()), figures);
    let server = axum::serve(listener, app.into_make_service())
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    let stopped = async {
        stop.await;
        // Ends the streams, and with them what the server waits for; but nobody holds it up.
        stopping.cancel();
        sleep(Duration::from_millis(1_500)).await;
    };
    tokio::select! {
        result = server => result?,
        () = stopped => {}
    }
    Ok(())
}

fn app(hub: Hub, requests: Requests, policy: SseLayer, figures: Figures) -> Router {
    let mut app = Router::new()
        .route(STREAM, get(stream))
        .route_layer(policy)
        .with_state(hub)
        .route("/metrics", get(move || ready(text(&figures))));
    for asset in &ASSETS {
        app = app.route(asset.path, get(|| async { serve(asset) }));
    }
    app.layer(middleware::from_fn_with_state(requests, count))
}

async fn stream(State(hub): State<Hub>, last: LastEventId) -> Sse<Subscription> {
    Sse::new(hub.subscribe(TOPIC, last).start(Start::Newest(1)))
}

fn text(figures: &Figures) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, Figures::CONTENT_TYPE)], figures.text())
}

fn serve(asset: &'static Asset) -> impl IntoResponse {
    (asset.headers(), asset.body)
}

async fn count(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    requests.count();
    next.run(request).await
}
