//! Responses that a client comes back to.

mod answers;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tower_sse::{Denial, Grant, RequestView, Resumable, SseLayer};

use crate::{
    client::{Request, Response},
    servers::{Server, Site, Streamed},
    whatwg::Event,
};

/// A handler whose events the test sends, and counts how often it ran and how many of its streams there
/// are.
#[derive(Clone, Default)]
struct Produced {
    runs: Arc<AtomicUsize>,
    alive: Arc<Arc<()>>,
    senders: Arc<Mutex<Vec<mpsc::UnboundedSender<Result<Bytes, io::Error>>>>>,
}

impl Produced {
    fn stream(&self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + use<> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::unbounded_channel();
        self.senders.lock().unwrap().push(sender);
        let alive = Arc::clone(&*self.alive);
        stream::unfold((receiver, alive), async |(mut receiver, alive)| {
            Some((receiver.recv().await?, (receiver, alive)))
        })
    }

    /// A site that records it, for the subject that a request names.
    fn site(&self, resumable: &Resumable) -> Site {
        let produced = self.clone();
        let site = Site::new(move |_| Streamed {
            headers: vec![("content-type", "text/event-stream")],
            stream: produced.stream(),
        });
        site.layer(layer().resumable(resumable))
    }

    /// Sends an event on the newest stream.
    fn send(&self, data: &str) {
        let block = format!("data: {data}\n\n");
        let senders = self.senders.lock().unwrap();
        senders.last().unwrap().send(Ok(block.into())).unwrap();
    }

    /// Ends the newest stream, as failed or not.
    fn end(&self, fails: bool) {
        let sender = self.senders.lock().unwrap().pop().unwrap();
        if fails {
            sender.send(Err(io::Error::other("of the test"))).unwrap();
        }
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    /// How many streams there are.
    fn alive(&self) -> usize {
        Arc::strong_count(&*self.alive) - 1
    }
}

/// Grants to whom the header says.
fn layer() -> SseLayer {
    SseLayer::new().authorize(async |request: RequestView| {
        let subject = request.header("subject").unwrap_or(b"alice");
        let subject = str::from_utf8(subject).map_err(Denial::undecided)?;
        Ok(Grant::new().subject(subject))
    })
}

/// Asks for what follows an event.
async fn come_back(server: &Server, id: &str) -> Response {
    let request = Request::get("/").header("last-event-id", id);
    server.client().await.send(request).await
}

/// Events without those that say where a client is.
fn data(events: &[Event]) -> Vec<&str> {
    let events = events.iter().filter(|(name, ..)| name == "message");
    events.map(|(_, data, _)| &**data).collect()
}
