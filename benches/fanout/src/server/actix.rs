//! actix-web, with tower-sse and with actix-web-lab.

use std::{
    convert::Infallible,
    io,
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::{BodySize, MessageBody},
    rt,
    web::{self, ServiceConfig},
};
use actix_web_lab::sse;
use bytes::Bytes;
use tokio::sync::mpsc::{Sender, channel, error::TrySendError};
use tower_sse::{LastEventId, SseLayer};

use super::{
    hyper::{HEADERS, Silence},
    listen, ours,
};
use crate::{
    control::{self, Sink},
    update::Update,
};

pub(super) fn ours(history: NonZeroUsize) -> io::Result<()> {
    let hub = ours::hub(history);
    let sink = ours::sink(&hub);
    run(sink, move |config| {
        let hub = hub.clone();
        let stream = move |request: HttpRequest, last: LastEventId| {
            let stream = ours::follow(&hub, request.uri().query(), last);
            async { stream }
        };
        config.service(web::resource("/").wrap(SseLayer::new()).get(stream));
    })
}

/// What actix-web-lab's own example does.
pub(super) fn lab(history: NonZeroUsize) -> io::Result<()> {
    let clients = Clients::default();
    run(clients.clone(), move |config| {
        let clients = clients.clone();
        let stream = move || {
            let (sender, receiver) = channel(history.get());
            clients.lock().push(sender);
            async {
                sse::Sse::from_infallible_receiver(receiver)
                    .with_keep_alive(Duration::from_secs(15))
            }
        };
        config.route("/", web::get().to(stream));
    })
}

pub(super) fn empty() -> io::Result<()> {
    run((), |config| {
        let silence = async || {
            let mut response = HttpResponse::Ok();
            for header in HEADERS {
                response.insert_header(header);
            }
            response.body(Silence::default())
        };
        config.route("/", web::get().to(silence));
    })
}

fn run(
    sink: impl Sink + Send + 'static,
    routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<()> {
    let sink = Arc::new(Mutex::new(Some(sink)));
    let listener = listen()?;
    rt::System::new().block_on(async {
        let server = HttpServer::new(move || {
            // This runs in the worker.
            let sink = sink.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(sink) = sink {
                rt::spawn(control::publish(control::commands(), sink));
            }
            App::new().configure(routes.clone())
        });
        let server = server.listen(listener)?.workers(1).tcp_nodelay(true);
        server.disable_signals().run().await
    })
}

/// A channel for each client.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<Vec<Sender<sse::Event>>>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Vec<Sender<sse::Event>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Clients {
    async fn publish(&mut self, update: &Update) {
        let data = sse::Data::new_json(update).expect("an update is JSON");
        let event = sse::Event::from(data.id(update.seq.to_string()));
        // A client that is too far behind misses events, which it then reports.
        self.lock().retain(|client| {
            let sent = client.try_send(event.clone());
            !matches!(sent, Err(TrySendError::Closed(_)))
        });
    }
}

impl MessageBody for Silence {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.poll_bytes()
    }
}
