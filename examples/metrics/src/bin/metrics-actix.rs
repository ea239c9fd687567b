//! Live metrics under actix-web: `cargo run -p metrics-example --bin metrics-actix`, then open
//! <http://127.0.0.1:3000>.
//!
//! `PORT`, `METRICS_INTERVAL_MS`, `METRICS_TOKEN` and `METRICS_OTHER_TOKEN` change what it does; see
//! `Settings`. The same service under axum is `cargo run -p metrics-example`.

use std::{error::Error, future::ready, process::ExitCode, time::Duration};

use actix_web::{
    App, HttpResponse, HttpServer, Route,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    guard,
    middleware::{self, Next},
    web,
};
use metrics::{
    ASSETS, Asset, Figures, Requests, Sampler, Settings, TOPIC, cannot_listen, exit, log_to_stderr,
    shutdown_signal,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_sse::{Drain, Hub, LastEventId, Sse, SseLayer, Start, Subscription, tune_actix_socket};

#[actix_web::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_env()?;
    let stop = shutdown_signal()?;

    let figures = Figures::record()?;
    let hub = Hub::new();
    let requests = Requests::default();
    let stopping = CancellationToken::new();
    let drain = Drain::new(stopping.clone());
    let server = {
        let policy = settings.access.layer().drain(&drain);
        let (hub, requests) = (hub.clone(), requests.clone());
        HttpServer::new(move || {
            app(
                hub.clone(),
                requests.clone(),
                policy.clone(),
                figures.clone(),
            )
        })
    };
    let server = server
        .on_connect(tune_actix_socket)
        .bind(settings.address)
        .map_err(|error| cannot_listen(settings.address, &error))?
        .disable_signals();
    log_to_stderr();
    settings.access.announce();
    let _sampler = Sampler::start(&hub, requests, settings.interval).await?;

    for address in server.addrs() {
        tracing::info!("listening on http://{address}");
    }
    let server = server.run();
    let handle = server.handle();
    let stopped = async {
        stop.await;
        stopping.cancel();
        // Nobody holds the server up.
        let _ = timeout(Duration::from_millis(1_500), drain.drained()).await;
        // What was sent last is on its way. A graceful stop would wait for idle connections, too.
        sleep(Duration::from_millis(100)).await;
        handle.stop(false).await;
    };
    tokio::select! {
        result = server => result?,
        () = stopped => {}
    }
    Ok(())
}

fn app(
    hub: Hub,
    requests: Requests,
    policy: SseLayer,
    figures: Figures,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let mut app = App::new()
        .app_data(web::Data::new(hub))
        .app_data(web::Data::new(requests))
        .service(
            web::resource("/api/metrics/stream")
                .wrap(policy)
                .route(get().to(stream)),
        )
        .route("/metrics", get().to(move || ready(text(&figures))));
    for asset in &ASSETS {
        app = app.route(asset.path, get().to(|| async { serve(asset) }));
    }
    app.wrap(middleware::from_fn(count))
}

async fn stream(hub: web::Data<Hub>, last: LastEventId) -> Sse<Subscription> {
    Sse::new(hub.subscribe(TOPIC, last).start(Start::Newest(1)))
}

fn text(figures: &Figures) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(Figures::CONTENT_TYPE)
        .body(figures.text())
}

fn serve(asset: &'static Asset) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    for header in asset.headers() {
        response.insert_header(header);
    }
    response.body(asset.body)
}

async fn count(
    requests: web::Data<Requests>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    requests.count();
    next.call(request).await
}

// `web::get()` does not answer HEAD, axum's `get` does.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
