//! What was sent goes out before a body fails.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::{
    sync::{Arc, Mutex, Weak, lock},
    wire::COMMENT_LINE,
};

/// A line of comment that fills a good part of a server's write buffer.
static PADDING: [u8; PADDING_LEN] = {
    let mut line = [b' '; PADDING_LEN];
    line[0] = b':';
    line[PADDING_LEN - 1] = b'\n';
    line
};
const PADDING_LEN: usize = 32 * 1024;

/// Finds out when a server has written all that a body gave it.
///
/// Servers throw away what they have not written when a body errs. So one comment line more is given
/// out, in a buffer that tells when it is dropped: the server has written it, and all before it. A
/// server that copies what it is given drops it at once; to that, as much comment is given as its
/// write buffer holds, and when it asks for more, all before has gone out.
///
/// What compresses copies, too, and padding does not fill it. It gives out what it has when there is
/// nothing more for it at the moment, and the server writes that when there is nothing more again. It
/// may keep the buffer that it has read last, so another line comes behind the guarded one.
#[derive(Debug)]
pub(super) enum Flush {
    Begin,
    Guarded(Weak<Guard>),
    Following { guard: Weak<Guard>, waits: bool },
    Padding { left: usize },
    Pausing { left: u8 },
}

#[derive(Debug, Default)]
pub(super) struct Guard {
    waker: Mutex<Option<Waker>>,
}

struct GuardedLine {
    _guard: Arc<Guard>,
}

impl AsRef<[u8]> for GuardedLine {
    fn as_ref(&self) -> &[u8] {
        COMMENT_LINE
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let waker = self.waker.get_mut().map(Option::take);
        if let Ok(Some(waker)) = waker {
            waker.wake();
        }
    }
}

impl Flush {
    /// Returns what else is to be sent; `None` when all has gone out.
    ///
    /// `write_buffer` is how much a server that copies may hold back, in bytes.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        write_buffer: usize,
    ) -> Poll<Option<Bytes>> {
        match self {
            Self::Begin => {
                let guard = Arc::new(Guard::default());
                *self = Self::Guarded(Arc::downgrade(&guard));
                Poll::Ready(Some(Bytes::from_owner(GuardedLine { _guard: guard })))
            }
            Self::Guarded(guard) => {
                *self = Self::Following {
                    guard: Weak::clone(guard),
                    waits: false,
                };
                Poll::Ready(Some(Bytes::from_static(COMMENT_LINE)))
            }
            Self::Following { guard, waits } => match guard.upgrade() {
                Some(guard) => {
                    *waits = true;
                    *lock(&guard.waker) = Some(cx.waker().clone());
                    // Dropping `guard` here wakes us, should it be the last reference by now.
                    Poll::Pending
                }
                None if *waits => Poll::Ready(None),
                None => {
                    *self = Self::Padding { left: write_buffer };
                    self.poll(cx, write_buffer)
                }
            },
            Self::Padding { left: 0 } => {
                *self = Self::Pausing { left: 2 };
                self.poll(cx, write_buffer)
            }
            Self::Padding { left } => {
                *left = left.saturating_sub(PADDING_LEN);
                Poll::Ready(Some(Bytes::from_static(&PADDING)))
            }
            Self::Pausing { left: 0 } => Poll::Ready(None),
            Self::Pausing { left } => {
                *left -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
