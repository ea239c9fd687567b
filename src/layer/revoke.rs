//! Taking grants back.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use slab::Slab;
use tokio::time::Instant;

use super::Grant;
use crate::{
    connection::{Companion, End, WeakStream},
    event::EndReason,
    sync::{Mutex, lock},
};

/// Takes grants back while their streams are open.
///
/// Streams whose grant is revoked end at once, with an `sse.bye` (`revoked`), whether or not their
/// clients take it. A clone revokes the same; give it to all layers whose grants it is for.
///
/// Who comes back is asked about again, so the [hook](crate::SseLayer::authorize) has to refuse what is
/// revoked **before** this is called. Then no stream is left over: requests whose hook is just being
/// asked are ended, too, should it have looked too early.
///
/// ```
/// use tower_sse::{Grant, Revocations, SseLayer};
///
/// let revocations = Revocations::new();
/// let layer = SseLayer::new().revocations(&revocations);
///
/// let ended = revocations.revoke_subject("alice");
/// assert_eq!(ended, 0);
/// revocations.revoke_where(|grant: &Grant| grant.get::<u64>() == Some(&7));
/// # drop(layer);
/// ```
#[derive(Clone, Default)]
pub struct Revocations(Arc<Mutex<State>>);

type Predicate = Arc<dyn Fn(&Grant) -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    open: Slab<(WeakStream, Grant)>,
    /// How many hooks are asked since which revocation.
    asking: BTreeMap<u64, usize>,
    /// The number of the next revocation.
    next: u64,
    /// The newest ones, as long as a hook may have been asked before them.
    revoked: VecDeque<Predicate>,
}

impl Revocations {
    /// Makes one for grants that are still to be given.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes all grants to a [subject](Grant::subject). Returns how many streams that ends.
    pub fn revoke_subject(&self, subject: impl Into<String>) -> usize {
        let subject = subject.into();
        self.revoke_where(move |grant| grant.subject_name() == Some(&*subject))
    }

    /// Revokes the grants of this [id](Grant::id). Returns how many streams that ends.
    pub fn revoke_id(&self, id: impl Into<String>) -> usize {
        let id = id.into();
        self.revoke_where(move |grant| grant.id_text() == Some(&*id))
    }

    /// Revokes all grants for which `is_revoked` is true. Returns how many streams that ends.
    pub fn revoke_where(
        &self,
        is_revoked: impl Fn(&Grant) -> bool + Send + Sync + 'static,
    ) -> usize {
        let is_revoked: Predicate = Arc::new(is_revoked);
        let open: Vec<_> = {
            let mut state = lock(&self.0);
            state.next += 1;
            if !state.asking.is_empty() {
                state.revoked.push_back(Arc::clone(&is_revoked));
            }
            state.open.iter().map(|(_, open)| open.clone()).collect()
        };
        // Not under the lock, for it is the application's code.
        let revoked = open.iter().filter(|(_, grant)| is_revoked(grant));
        revoked.map(|(stream, _)| stream.end(now())).count()
    }

    /// Notes that a hook is being asked.
    pub(super) fn ask(&self) -> Asking {
        let mut state = lock(&self.0);
        let since = state.next;
        *state.asking.entry(since).or_default() += 1;
        Asking {
            revocations: self.clone(),
            since,
        }
    }
}

/// A hook is being asked, or its answer is on the way to a stream.
#[derive(Debug)]
pub(super) struct Asking {
    revocations: Revocations,
    since: u64,
}

impl Asking {
    /// Notes the stream that a grant was for. It ends at once if that was revoked meanwhile.
    pub(super) fn enter(self, stream: WeakStream, grant: Grant) -> Entered {
        let revocations = self.revocations.clone();
        let (key, meanwhile) = {
            let mut state = lock(&revocations.0);
            // Those that come after this look see the stream.
            let count = usize::try_from(state.next - self.since).unwrap_or(usize::MAX);
            let newest = state.revoked.iter().rev().take(count);
            let meanwhile: Vec<_> = newest.cloned().collect();
            (
                state.open.insert((stream.clone(), grant.clone())),
                meanwhile,
            )
        };
        if meanwhile.iter().any(|is_revoked| is_revoked(&grant)) {
            stream.end(now());
        }
        Entered { revocations, key }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = lock(&self.revocations.0);
        if let Some(count) = state.asking.get_mut(&self.since) {
            *count -= 1;
            if *count == 0 {
                state.asking.remove(&self.since);
            }
        }
        let oldest = state.asking.keys().next().copied();
        let kept = oldest.map_or(0, |oldest| state.next - oldest);
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let gone = state.revoked.len().saturating_sub(kept);
        let gone: Vec<_> = state.revoked.drain(..gone).collect();
        drop(state);
        drop(gone);
    }
}

fn now() -> End {
    End {
        at: Instant::now(),
        reason: EndReason::Revoked,
        retry: None,
    }
}

/// A stream that is open. It is forgotten when this is dropped.
pub(super) struct Entered {
    revocations: Revocations,
    key: usize,
}

impl Companion for Entered {}

impl Drop for Entered {
    fn drop(&mut self) {
        let gone = lock(&self.revocations.0).open.try_remove(self.key);
        drop(gone);
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = lock(&self.0).open.len();
        f.debug_struct("Revocations")
            .field("open", &open)
            .finish_non_exhaustive()
    }
}
