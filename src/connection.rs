//! One open stream: the state machine that the bodies of both frameworks are.

mod flush;
mod heartbeat;
mod ticker;

use std::{
    any::Any,
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use pin_project_lite::pin_project;

use crate::wire::{COMMENT_LINE, LineScanner, retry_line};
use flush::Flush;
use heartbeat::Heartbeat;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// How much hyper holds back, in bytes, where it copies what a body gives it.
pub(crate) const HYPER_BUFFER: usize = 448 * 1024;

/// What a connection sends: bytes of an event stream, however they are made.
pub(crate) trait Source {
    fn poll_bytes(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BoxError>>>;

    /// What follows the lines, where the bytes are somebody else's, cut anywhere. Those of ours are
    /// whole blocks.
    fn scanner(self: Pin<&mut Self>) -> Option<&mut LineScanner> {
        None
    }
}

/// The settings of a connection. Its response carries the cell, and a layer fills it in before the
/// body is polled; without a layer the stream goes without.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(Arc<OnceLock<Decoration>>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decoration {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) retry: Option<Duration>,
}

impl Settings {
    /// Fills the cell in, unless another layer has.
    pub(crate) fn fill(&self, decoration: Decoration) {
        self.0.get_or_init(|| decoration);
    }

    fn get(&self) -> Decoration {
        *self.0.get_or_init(Decoration::default)
    }
}

pin_project! {
    /// One open stream.
    ///
    /// It begins with a comment line, sends what its source has, a heartbeat after silence and the
    /// reconnection time with the first event, and ends as its source does: cleanly, or, when that
    /// failed or panicked, by breaking off after all that came before has gone out.
    #[derive(Debug)]
    pub(crate) struct Connection<S> {
        #[pin]
        source: Option<S>,
        heartbeat: Heartbeat,
        phase: Phase,
    }
}

#[derive(Debug)]
enum Phase {
    Opening(Settings),
    Open {
        /// What goes out with the first event.
        retry: Option<Duration>,
    },
    Failing(Box<Flush>),
    Ended,
}

impl<S: Source> Connection<S> {
    pub(crate) fn new(source: S, settings: Settings) -> Self {
        Self {
            source: Some(source),
            heartbeat: Heartbeat::new(None),
            phase: Phase::Opening(settings),
        }
    }

    /// Whether the last byte is out.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Returns what is to be sent next.
    ///
    /// `write_buffer` is how much a server that copies what it is given may hold back, in bytes.
    pub(crate) fn poll_bytes(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        write_buffer: usize,
    ) -> Poll<Option<Result<Bytes, StreamFailed>>> {
        let mut this = self.project();
        loop {
            match this.phase {
                Phase::Opening(settings) => {
                    let Decoration { heartbeat, retry } = settings.get();
                    *this.heartbeat = Heartbeat::new(heartbeat);
                    *this.phase = Phase::Open { retry };
                    return Poll::Ready(Some(Ok(Bytes::from_static(COMMENT_LINE))));
                }
                Phase::Open { retry } => match poll_source(this.source.as_mut(), cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        let scanner = this.source.as_mut().as_pin_mut().and_then(S::scanner);
                        let bytes = decorate(bytes, scanner, retry);
                        if !bytes.is_empty() {
                            this.heartbeat.sent();
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                    }
                    Poll::Ready(None) => {
                        drop_caught(this.source.as_mut());
                        *this.phase = Phase::Ended;
                    }
                    Poll::Ready(Some(Err(error))) => {
                        tracing::error!(error = &*error as &dyn Error, "event stream has failed");
                        drop_caught(this.source.as_mut());
                        *this.phase = Phase::Failing(Box::new(Flush::Begin));
                    }
                    Poll::Pending => {
                        ready!(this.heartbeat.poll(cx));
                        let scanner = this.source.as_mut().as_pin_mut().and_then(S::scanner);
                        if scanner.is_none_or(|scanner| scanner.at_line_start()) {
                            return Poll::Ready(Some(Ok(Bytes::from_static(COMMENT_LINE))));
                        }
                    }
                },
                Phase::Failing(flush) => {
                    if let Some(bytes) = ready!(flush.poll(cx, write_buffer)) {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    *this.phase = Phase::Ended;
                    return Poll::Ready(Some(Err(StreamFailed)));
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }
}

/// Puts the reconnection time in with the first event, and follows where lines start.
fn decorate(
    mut chunk: Bytes,
    scanner: Option<&mut LineScanner>,
    retry: &mut Option<Duration>,
) -> Bytes {
    let Some(scanner) = scanner else {
        return match retry.take() {
            Some(retry) => [&retry_line(retry), &*chunk].concat().into(),
            None => chunk,
        };
    };
    let held = scanner.strip_bom(&mut chunk);
    if !held.is_empty() {
        chunk = [held, &chunk].concat().into();
    }
    let Some(time) = *retry else {
        scanner.follow(&chunk);
        return chunk;
    };
    let Some(at) = scanner.follow_to_event(&chunk) else {
        return chunk;
    };
    *retry = None;
    let (before, after) = chunk.split_at(at);
    scanner.follow(after);
    match scanner.retry_seen() {
        true => chunk,
        false => [before, &retry_line(time), after].concat().into(),
    }
}

/// Runs what may panic, which is a failure of this stream and of no other.
///
/// What panicked must not be polled again.
pub(crate) fn caught<T>(
    poll: impl FnOnce() -> Poll<Option<Result<T, BoxError>>>,
) -> Poll<Option<Result<T, BoxError>>> {
    catch_unwind(AssertUnwindSafe(poll))
        .unwrap_or_else(|panic| Poll::Ready(Some(Err(Panicked::of(&*panic).into()))))
}

fn poll_source<S: Source>(
    source: Pin<&mut Option<S>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, BoxError>>> {
    match source.as_pin_mut() {
        Some(source) => caught(|| source.poll_bytes(cx)),
        None => Poll::Ready(None),
    }
}

fn drop_caught<S>(mut source: Pin<&mut Option<S>>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| source.set(None))) {
        let error: BoxError = Panicked::of(&*panic).into();
        tracing::error!(
            error = &*error as &dyn Error,
            "event stream could not be dropped"
        );
    }
}

/// The end of a stream that failed. The cause is logged; clients see a body that breaks off.
#[derive(Debug)]
#[non_exhaustive]
pub struct StreamFailed;

impl fmt::Display for StreamFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("event stream has failed")
    }
}

impl Error for StreamFailed {}

#[derive(Debug)]
struct Panicked(String);

impl Panicked {
    fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("not a text").to_owned())
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stream panicked: {}", self.0)
    }
}

impl Error for Panicked {}
