//! How much those who catch up may read at once.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroUsize,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::reader::PAGE_BYTES;
use crate::{
    meter,
    sync::{Arc, Mutex, MutexGuard, Weak, lock},
};

/// What counts for a read that is under way: a page of events that are not much smaller than what is
/// written around them. Where it brings more, the next wait for that.
const RESERVE: usize = 2 * PAGE_BYTES.get();

/// What has been out for longer does not count: its client does not take it, and is not to hold up
/// others.
const STALE: Duration = Duration::from_secs(1);

/// Who keeps what it was given for longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The reads of all followers of a hub, and the bytes that they have brought and that servers have not
/// written yet.
///
/// Whoever waits for a turn holds nothing else, and turns are given in the order in which they were
/// asked for. Nobody has one for good: a read has its time, and runs whether its client is polled or
/// not; and what it brought counts only so long. No timer is set for that: whoever is next, and has to
/// wait for room, looks at what has been out for the longest.
///
/// # Where all are slow
///
/// Then nothing counts for long. So a follower whose last piece is not written asks for no turn while
/// all that is out, whether it counts or not, leaves no room ([`Given`]). From the moment on from which
/// there is none, each follower brings one page more at most, until what it brought before is dropped:
/// **what is out is at most the budget, and a page for each follower.** Servers that write what they are
/// given, as hyper does, drop it in the end, and those that copy it, as actix does, drop it at once.
///
/// It cannot hang. The drop of a piece wakes the follower that waits for it. What compresses may keep
/// the last buffer until it has the next, so it is given an empty comment first. What keeps all, as
/// whoever collects a body does, waits for nothing while there is room, and then until its oldest piece
/// is `PATIENCE` old, once: from there on it has what it asks for. A client that takes nothing for so
/// long is no different, and bounded by what its server holds.
pub(super) struct Budget {
    reads: std::sync::Arc<Semaphore>,
    /// The one turn of waiting for room.
    next: Semaphore,
    freed: Notify,
    max_bytes: usize,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    reads: usize,
    /// What is out, the oldest first.
    out: BTreeMap<u64, Counted>,
    out_bytes: usize,
    /// The most that was ever out.
    most_bytes: usize,
    /// What does not count any more is what comes before this.
    fresh: u64,
    fresh_bytes: usize,
    last: u64,
    /// When the store answered last.
    answered: Option<Instant>,
    waits: Waits,
}

impl Ledger {
    fn add(&mut self, bytes: usize) {
        self.out_bytes += bytes;
        self.most_bytes = self.most_bytes.max(self.out_bytes);
    }
}

#[derive(Clone, Copy)]
struct Counted {
    since: Instant,
    bytes: usize,
}

/// How often, and for how long in all, somebody waited for a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    times: u64,
    time: Duration,
}

impl Budget {
    pub(super) fn new(reads: NonZeroUsize, bytes: NonZeroUsize) -> Arc<Self> {
        let reads = reads.get().min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            reads: std::sync::Arc::new(Semaphore::new(reads)),
            next: Semaphore::new(1),
            freed: Notify::new(),
            max_bytes: bytes.get(),
            ledger: Mutex::default(),
        })
    }

    /// Whether all that is out leaves no room for a page, whether it counts or not.
    fn is_full(&self) -> bool {
        let ledger = lock(&self.ledger);
        let used = ledger.reads * RESERVE + ledger.out_bytes;
        used.saturating_add(RESERVE) > self.max_bytes
    }

    /// Whether whoever comes now has to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.reads.available_permits() == 0 || self.next.available_permits() == 0
    }

    /// Waits for a turn to read.
    ///
    /// Cancel safe: whoever stops waiting has taken nothing.
    pub(super) async fn turn(self: &Arc<Self>) -> Turn {
        if let Some(turn) = self.turn_now() {
            return turn;
        }
        let begun = Instant::now();
        let reads = std::sync::Arc::clone(&self.reads);
        let permit = reads.acquire_owned().await.expect("it is never closed");
        let next = self.next.acquire().await.expect("it is never closed");
        self.room().await;
        drop(next);
        let waited = begun.elapsed();
        meter::waited(waited);
        let waits = &mut lock(&self.ledger).waits;
        waits.times += 1;
        waits.time = waits.time.saturating_add(waited);
        self.begun(permit)
    }

    fn turn_now(self: &Arc<Self>) -> Option<Turn> {
        if self.is_busy() {
            return None;
        }
        let reads = std::sync::Arc::clone(&self.reads);
        let permit = reads.try_acquire_owned().ok()?;
        self.take_room().ok()?;
        Some(self.begun(permit))
    }

    fn begun(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Turn {
        Turn {
            budget: Arc::clone(self),
            _permit: permit,
        }
    }

    /// Waits until a page more may be out. Nobody else does meanwhile.
    async fn room(&self) {
        while let Err(until) = self.take_room() {
            let stale = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What was given back since the look has left a permit.
                () = self.freed.notified() => {}
                () = stale => {}
            }
        }
    }

    /// Takes room for a page, or says when something will not count any more.
    fn take_room(&self) -> Result<(), Option<Instant>> {
        let ledger = &mut *lock(&self.ledger);
        let now = Instant::now();
        loop {
            let used = ledger.reads * RESERVE + ledger.fresh_bytes;
            if used == 0 || used.saturating_add(RESERVE) <= self.max_bytes {
                ledger.reads += 1;
                return Ok(());
            }
            let Some((number, oldest)) = ledger.out.range(ledger.fresh..).next() else {
                return Err(None);
            };
            let stale = oldest.since + STALE;
            if stale > now {
                return Err(Some(stale));
            }
            ledger.fresh = number + 1;
            ledger.fresh_bytes -= oldest.bytes;
        }
    }

    /// Resolves when no read was answered for so long.
    pub(super) async fn silence(&self, limit: Duration) {
        let mut since = Instant::now();
        loop {
            let rest = limit.saturating_sub(since.elapsed());
            if rest.is_zero() {
                return;
            }
            sleep(rest).await;
            since = lock(&self.ledger)
                .answered
                .map_or(since, |at| at.max(since));
        }
    }

    fn change(&self, change: impl FnOnce(MutexGuard<'_, Ledger>)) {
        change(lock(&self.ledger));
        self.freed.notify_one();
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ledger {
            waits, most_bytes, ..
        } = *lock(&self.ledger);
        f.debug_struct("Budget")
            .field("waited", &waits.times)
            .field("waited_for", &waits.time)
            .field("most_bytes", &most_bytes)
            .finish_non_exhaustive()
    }
}

/// The right to read one page; given back when it is dropped.
pub(super) struct Turn {
    budget: Arc<Budget>,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// Ends the turn with what the store has answered, of so many bytes.
    pub(super) fn answered(self, bytes: usize) -> Option<Arc<Out>> {
        let mut ledger = lock(&self.budget.ledger);
        let now = Instant::now();
        ledger.answered = Some(now);
        if bytes == 0 {
            return None;
        }
        ledger.last += 1;
        let number = ledger.last;
        ledger.out.insert(number, Counted { since: now, bytes });
        ledger.fresh_bytes += bytes;
        ledger.add(bytes);
        drop(ledger);
        Some(Arc::new(Out {
            budget: Arc::clone(&self.budget),
            number,
            waker: Mutex::default(),
        }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.budget.change(|mut ledger| ledger.reads -= 1);
    }
}

/// What a read has brought. It counts until it is dropped, or has been out for too long.
#[derive(Debug)]
pub(crate) struct Out {
    budget: Arc<Budget>,
    number: u64,
    /// Of the follower that waits for the drop.
    waker: Mutex<Option<Waker>>,
}

impl Out {
    /// Gives out the blocks that were made of it.
    fn piece(self: Arc<Self>, blocks: Vec<u8>) -> Bytes {
        self.weigh(blocks.len());
        Bytes::from_owner(Piece { blocks, _out: self })
    }

    /// Notes that it has become more.
    fn weigh(&self, bytes: usize) {
        let ledger = &mut *lock(&self.budget.ledger);
        if let Some(counted) = ledger.out.get_mut(&self.number) {
            let more = bytes.saturating_sub(counted.bytes);
            counted.bytes += more;
            ledger.add(more);
            if self.number >= ledger.fresh {
                ledger.fresh_bytes += more;
            }
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.budget.change(|mut ledger| {
            if let Some(counted) = ledger.out.remove(&self.number) {
                ledger.out_bytes -= counted.bytes;
                if self.number >= ledger.fresh {
                    ledger.fresh_bytes -= counted.bytes;
                }
            }
        });
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The oldest that a follower has given out since it began to catch up, or since the last was dropped.
#[derive(Debug)]
pub(super) struct Given {
    out: Weak<Out>,
    until: Instant,
}

impl Given {
    pub(super) fn new(out: &Arc<Out>) -> Self {
        Self {
            out: Arc::downgrade(out),
            until: Instant::now() + PATIENCE,
        }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.out.upgrade().is_some()
    }

    /// Whether it is to be waited for.
    pub(super) fn is_in_the_way(&self) -> bool {
        let out = self.out.upgrade();
        out.is_some_and(|out| out.budget.is_full()) && Instant::now() < self.until
    }

    /// Until it is not waited for any more.
    pub(super) fn patience(&self) -> Pin<Box<Sleep>> {
        Box::pin(sleep_until(self.until))
    }

    pub(super) fn poll_dropped(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(out) = self.out.upgrade() else {
            return Poll::Ready(());
        };
        *lock(&out.waker) = Some(cx.waker().clone());
        // Dropping `out` here wakes us, should it be the last reference by now.
        Poll::Pending
    }
}

/// Gives out blocks, and counts them where they were read from the store.
pub(crate) fn piece(blocks: Vec<u8>, out: Option<Arc<Out>>) -> Bytes {
    match out {
        Some(out) if !blocks.is_empty() => out.piece(blocks),
        _ => blocks.into(),
    }
}

struct Piece {
    blocks: Vec<u8>,
    _out: Arc<Out>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.blocks
    }
}
