//! Ending all streams when the server stops.

use std::{
    fmt,
    ops::RangeInclusive,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use slab::Slab;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::random_time;
use crate::{
    connection::{Companion, End, WeakStream},
    event::EndReason,
    sync::{Mutex, lock},
};

/// Ends all streams when a token is cancelled, so that a server can stop.
///
/// From then on streams end one after the other, spread evenly over the time that is
/// [given](Self::within), one second if not said otherwise. Each is told by an `sse.bye` (`draining`)
/// when to come back, at random, so that the next server is not met by all at once; a client that
/// resumes loses nothing. With [`letting_finish`](Self::letting_finish) streams go on until they end by
/// themselves, or the time is over.
///
/// A client that comes meanwhile and asks for an event stream is told the same at once, without its
/// handler being run.
///
/// A clone is the same drain; give it to all layers of a server. Two servers in one process have two.
///
/// ```
/// use tokio_util::sync::CancellationToken;
/// use tower_sse::{Drain, SseLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let stop = CancellationToken::new();
/// let drain = Drain::new(stop.clone());
/// let layer = SseLayer::new().drain(&drain);
///
/// stop.cancel();
/// drain.drained().await;
/// # drop(layer);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Drain {
    within: Duration,
    lets_finish: bool,
    retry: (Duration, Duration),
    streams: Arc<Streams>,
}

impl Drain {
    /// Makes a drain that begins when `token` is cancelled.
    #[must_use]
    pub fn new(token: CancellationToken) -> Self {
        let streams = Arc::new(Streams {
            token: token.clone(),
            state: Mutex::default(),
            left: Notify::new(),
        });
        // Nobody needs to wait: cancelling the token runs this waker.
        let waker = Waker::from(Arc::new(Begin(Arc::downgrade(&streams))));
        let mut cancelled = Box::pin(token.cancelled_owned());
        match cancelled.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => streams.begin(),
            Poll::Pending => lock(&streams.state).cancelled = Some(cancelled),
        }
        Self {
            within: Duration::from_secs(1),
            lets_finish: false,
            retry: (Duration::from_secs(2), Duration::from_secs(10)),
            streams,
        }
    }

    /// Sets how long it may take until all streams are over, after which none is left.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Lets streams go on until they end by themselves, or the time is over.
    #[must_use]
    pub fn letting_finish(mut self) -> Self {
        self.lets_finish = true;
        self
    }

    /// Sets the range that each client's reconnection time is taken from, at random; 2 to 10 s if not
    /// said otherwise. Whole milliseconds, at least one.
    #[must_use]
    pub fn retry(mut self, range: RangeInclusive<Duration>) -> Self {
        let (start, end) = range.into_inner();
        self.retry = (start, end.max(start));
        self
    }

    /// How many streams are open, and responses [produced](crate::Resumable#producers).
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.streams.state).open.len()
    }

    /// Waits until the drain has begun and no stream is open.
    ///
    /// What was sent last may still be on its way. Cancel safe.
    pub async fn drained(&self) {
        self.streams.token.cancelled().await;
        loop {
            // Before the look, so that who leaves after it is noticed.
            let left = self.streams.left.notified();
            if self.open() == 0 {
                return;
            }
            left.await;
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.streams.token.is_cancelled()
    }

    pub(super) fn retry_time(&self) -> Duration {
        random_time(self.retry)
    }

    /// Notes a stream that is opened. One that comes too late is ended at once.
    pub(super) fn enter(&self, stream: WeakStream) -> Entered {
        self.clone().admit(stream, Duration::ZERO)
    }

    /// Notes work that goes on until it ends by itself, or the time is over.
    pub(super) fn enter_work(&self, work: WeakStream) -> Entered {
        self.clone().letting_finish().admit(work, self.within)
    }

    /// Notes what has so much time if it comes too late.
    fn admit(self, stream: WeakStream, time: Duration) -> Entered {
        let streams = Arc::clone(&self.streams);
        let end = self.end_after(time);
        let mut state = lock(&streams.state);
        let has_begun = state.has_begun;
        let key = state.open.insert((stream.clone(), self));
        drop(state);
        if has_begun {
            stream.end(end);
        }
        Entered { streams, key }
    }

    fn end_after(&self, time: Duration) -> End {
        let now = Instant::now();
        End {
            at: now.checked_add(time).unwrap_or(now),
            reason: EndReason::Draining,
            retry: Some(self.retry_time()),
        }
    }
}

impl From<CancellationToken> for Drain {
    fn from(token: CancellationToken) -> Self {
        Self::new(token)
    }
}

impl From<&Drain> for Drain {
    fn from(drain: &Drain) -> Self {
        drain.clone()
    }
}

/// All open streams.
struct Streams {
    token: CancellationToken,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Default)]
struct State {
    has_begun: bool,
    open: Slab<(WeakStream, Drain)>,
    /// Keeps the waker with the token.
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Streams {
    fn begin(&self) {
        let mut state = lock(&self.state);
        state.has_begun = true;
        let open: Vec<_> = state.open.iter().map(|(_, open)| open.clone()).collect();
        drop(state);
        let count = open.len() as f64;
        for (place, (stream, drain)) in open.into_iter().enumerate() {
            let share = match drain.lets_finish {
                true => 1.0,
                false => (place as f64 + fastrand::f64()) / count,
            };
            let time = drain.within.as_secs_f64() * share;
            let time = Duration::try_from_secs_f64(time).unwrap_or(drain.within);
            stream.end(drain.end_after(time.min(drain.within)));
        }
    }
}

/// What the token wakes.
struct Begin(Weak<Streams>);

impl Wake for Begin {
    fn wake(self: Arc<Self>) {
        if let Some(streams) = self.0.upgrade() {
            streams.begin();
        }
    }
}

/// A stream that is open. It is noted as over when this is dropped.
pub(super) struct Entered {
    streams: Arc<Streams>,
    key: usize,
}

impl Companion for Entered {}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = lock(&self.streams.state);
        let gone = state.open.try_remove(self.key);
        let is_empty = state.open.is_empty();
        drop(state);
        drop(gone);
        if is_empty {
            self.streams.left.notify_waiters();
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Streams")
            .field("open", &state.open.len())
            .field("has_begun", &state.has_begun)
            .finish_non_exhaustive()
    }
}
