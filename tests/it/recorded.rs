//! Responses that a client comes back to.

mod answers;
mod failing;
mod keys;
mod leaving;
mod shape;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, stream};
use http::Request;
use tokio::{sync::mpsc, task::LocalSet};
use tower_sse::{Denial, Grant, RequestView, Resumable, SseLayer};

use crate::{
    life::Alive,
    servers::{Kind, Local, Site, Streamed},
    whatwg::{self, Event},
};

const SECOND: Duration = Duration::from_secs(1);

/// What a client is told whose response is not there, whatever the reason.
const UNKNOWN: &str = "event: sse.gap\ndata: {\"reason\":\"unknown\"}\nid: r.ended\n\n";

/// A handler whose events the test sends, and counts how often it ran and how many of its streams there
/// are.
#[derive(Clone, Default)]
struct Produced {
    runs: Arc<AtomicUsize>,
    alive: Alive,
    senders: Arc<Mutex<Vec<Sender>>>,
}

type Sender = mpsc::UnboundedSender<Result<Bytes, io::Error>>;

impl Produced {
    fn stream(&self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + use<> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        self.senders.lock().unwrap().push(sender);
        self.alive
            .keep(stream::poll_fn(move |cx| receiver.poll_recv(cx)))
    }

    /// A site without a layer.
    fn handler(&self) -> Site {
        let produced = self.clone();
        Site::new(move |_| Streamed {
            headers: vec![("content-type", "text/event-stream")],
            stream: produced.stream(),
        })
    }

    /// A site that records it, for the subject that a request names.
    fn site(&self, resumable: &Resumable) -> Site {
        self.handler().layer(layer().resumable(resumable))
    }

    /// Sends bytes on the newest stream.
    fn send_bytes(&self, bytes: impl Into<Bytes>) {
        let senders = self.senders.lock().unwrap();
        senders.last().unwrap().send(Ok(bytes.into())).unwrap();
    }

    /// Sends an event on the newest stream.
    fn send(&self, data: &str) {
        self.send_bytes(format!("data: {data}\n\n"));
    }

    /// Ends the newest stream.
    fn end(&self) {
        self.senders.lock().unwrap().pop().unwrap();
    }

    /// Ends the newest stream as failed.
    fn fail(&self) {
        let sender = self.senders.lock().unwrap().pop().unwrap();
        sender.send(Err(io::Error::other("of the test"))).unwrap();
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    /// How many streams there are.
    fn alive(&self) -> usize {
        self.alive.count()
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

/// Tells a story in each of the frameworks, within what actix-web runs tasks of a thread in.
async fn on_each(story: impl AsyncFn(Kind)) {
    let all = async {
        for kind in Kind::FRAMEWORKS {
            eprintln!("on {kind:?}");
            story(kind).await;
        }
    };
    LocalSet::new().run_until(all).await;
}

/// A client without a socket.
struct Client {
    body: Local,
    seen: Vec<u8>,
}

/// Asks for what follows an event, if one is named.
async fn open(site: &Site, kind: Kind, id: Option<&str>) -> Client {
    let mut request = Request::get("/");
    if let Some(id) = id {
        request = request.header("last-event-id", id);
    }
    open_as(site, kind, request.body(()).unwrap()).await
}

async fn open_as(site: &Site, kind: Kind, request: Request<()>) -> Client {
    let body = site.call(kind, request).await;
    let seen = Vec::new();
    Client { body, seen }
}

impl Client {
    /// All events, once there are so many.
    async fn events(&mut self, count: usize) -> Vec<Event> {
        loop {
            let events = whatwg::parse(&self.seen).events;
            if events.len() >= count {
                return events;
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.seen.extend(bytes),
                end => panic!("{end:?} after {}", String::from_utf8_lossy(&self.seen)),
            }
        }
    }

    /// So many events, or fewer where it has ended, and whether it has.
    async fn some(mut self, count: usize) -> (Vec<Event>, bool) {
        loop {
            let mut events = whatwg::parse(&self.seen).events;
            if events.len() >= count {
                events.truncate(count);
                return (events, false);
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.seen.extend(bytes),
                _ => return (events, true),
            }
        }
    }

    /// All events, once it has ended, and whether it was whole.
    async fn rest(mut self) -> (Vec<Event>, bool) {
        loop {
            match self.body.next().await {
                Some(Ok(bytes)) => self.seen.extend(bytes),
                end => return (whatwg::parse(&self.seen).events, end.is_none()),
            }
        }
    }

    /// What is there by now.
    fn now(&mut self) -> Vec<Event> {
        while let Some(Some(Ok(bytes))) = self.body.next().now_or_never() {
            self.seen.extend(bytes);
        }
        whatwg::parse(&self.seen).events
    }
}

/// Events without those that say where a client is.
fn data(events: &[Event]) -> Vec<&str> {
    let events = events.iter().filter(|(name, ..)| name == "message");
    events.map(|(_, data, _)| &**data).collect()
}

/// The last of some events, as a reason.
#[track_caller]
fn reason(events: &[Event]) -> (&str, &str) {
    let (name, data, id) = events.last().unwrap();
    assert_eq!(id, "r.ended");
    (name, data)
}
