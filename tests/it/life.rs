//! The life of a connection: how a stream ends that would go on, and what it counts for until then.

mod drain;
mod ends;
mod grants;
mod limits;
mod sockets;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout};
use tower_sse::{Event, Sse};

use crate::{
    servers::{Answer, Local, Site, Streamed},
    whatwg,
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than what is read to its end may live, on a paused clock.
const LIFETIME: Duration = Duration::from_secs(1_000_000);

/// How many streams were not dropped yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alive(Arc<AtomicUsize>);

impl Alive {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts `stream` until it is dropped.
    pub(crate) fn keep<S>(&self, stream: S) -> Counted<S> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Counted {
            stream,
            alive: self.clone(),
        }
    }

    /// A site whose streams have one event and then go on in silence.
    fn site(&self, foreign: bool) -> Site {
        let alive = self.clone();
        Site::new(move |_| -> Box<dyn Answer> {
            if foreign {
                let bytes = stream::iter([Ok(Bytes::from_static(b"id: 7\ndata: x\n\n"))]);
                return Box::new(Streamed {
                    headers: vec![("content-type", "text/event-stream")],
                    stream: alive.keep(bytes.chain(stream::pending())),
                });
            }
            let events = stream::iter([Event::new("x")]).chain(stream::pending());
            Box::new(Sse::new(alive.keep(events)))
        })
    }
}

pub(crate) struct Counted<S> {
    stream: S,
    alive: Alive,
}

impl<S: Stream + Unpin> Stream for Counted<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.stream.poll_next_unpin(cx)
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.alive.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Reads a body to its clean end; returns what was sent, without heartbeats, and when it ended.
async fn read(mut body: Local) -> (Vec<whatwg::Event>, Duration) {
    let begin = Instant::now();
    let mut seen = Vec::new();
    while let Some(bytes) = timeout(LIFETIME, body.next())
        .await
        .expect("something comes")
    {
        seen.extend_from_slice(&bytes.expect("the body does not break off"));
        assert!(begin.elapsed() < LIFETIME, "it goes on and on");
    }
    (whatwg::parse(&seen).events, begin.elapsed())
}

/// The reason that the last event tells, of which there is one.
#[track_caller]
fn bye(events: &[whatwg::Event]) -> &str {
    let byes = events.iter().filter(|event| event.0 == "sse.bye");
    assert_eq!(byes.count(), 1, "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(last.0, "sse.bye", "{events:?}");
    let reason = last.1.strip_prefix(r#"{"reason":""#).unwrap();
    reason.strip_suffix(r#""}"#).unwrap()
}

/// Keeps panics that are meant out of the log.
pub(crate) fn quietly() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref() != Some(&"expected") {
                before(panic);
            }
        }));
    });
}
