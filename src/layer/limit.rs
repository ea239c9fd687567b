//! How many streams may be open.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{Grant, RequestView};
use crate::{
    connection::Companion,
    sync::{Mutex, lock},
};

/// How many streams may be open at a time.
///
/// A clone counts together with the original, so one limit can be shared by the layers of several
/// routes. A request counts from before its handler runs; it counts no more as soon as its stream is
/// over, on whatever way, or its answer turns out not to be an event stream. `HEAD` and `OPTIONS` never
/// count.
///
/// ```
/// use tower_sse::{Limit, SseLayer};
///
/// let all = Limit::total(10_000);
/// let layer = SseLayer::new()
///     .limit(all.clone())
///     .limit(Limit::per_subject(6))
///     .limit(Limit::per_key(50, |request| {
///         // As a trusted proxy in front has set it.
///         let address = str::from_utf8(request.header("x-real-ip")?).ok()?;
///         Some(address.to_owned())
///     }));
/// assert_eq!(all.open(), 0);
/// ```
///
/// Who is beyond a limit is asked to come back: as for the answer see
/// [`SseLayer::limit`](crate::SseLayer::limit).
#[derive(Clone)]
pub struct Limit(Arc<Inner>);

struct Inner {
    max: usize,
    by: By,
    open: Mutex<Open>,
}

enum By {
    Total,
    Subject,
    Key(Box<KeyOf>),
}

type KeyOf = dyn Fn(&RequestView) -> Option<String> + Send + Sync;

#[derive(Default)]
struct Open {
    total: usize,
    /// Only those that have some open.
    by_key: HashMap<Arc<str>, usize>,
}

impl Limit {
    fn new(max: usize, by: By) -> Self {
        Self(Arc::new(Inner {
            max,
            by,
            open: Mutex::default(),
        }))
    }

    /// At most `max` streams.
    #[must_use]
    pub fn total(max: usize) -> Self {
        Self::new(max, By::Total)
    }

    /// At most `max` streams for each [subject](Grant::subject). A grant without one is not limited.
    #[must_use]
    pub fn per_subject(max: usize) -> Self {
        Self::new(max, By::Subject)
    }

    /// At most `max` streams for each key that `key` finds in requests, such as the address of the
    /// client. A request without one is not limited.
    ///
    /// What a client can choose freely is no key: it would choose another for each request.
    #[must_use]
    pub fn per_key(
        max: usize,
        key: impl Fn(&RequestView) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self::new(max, By::Key(Box::new(key)))
    }

    /// How many streams count at the moment.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.0.open).total
    }

    pub(super) fn is_per_subject(&self) -> bool {
        matches!(self.0.by, By::Subject)
    }

    pub(super) fn is_total(&self) -> bool {
        matches!(self.0.by, By::Total)
    }

    /// Counts a request, if it is limited by this; `None` if it is beyond.
    pub(super) fn take(&self, request: &RequestView, grant: Option<&Grant>) -> Option<Permit> {
        let key = match &self.0.by {
            By::Total => None,
            By::Subject => grant.and_then(Grant::subject_name).map(Arc::from),
            By::Key(key) => key(request).map(Arc::from),
        };
        if key.is_none() && !self.is_total() {
            return Some(Permit(None));
        }
        let mut open = lock(&self.0.open);
        let count = match &key {
            None => open.total,
            Some(key) => open.by_key.get(key).copied().unwrap_or(0),
        };
        if count >= self.0.max {
            return None;
        }
        open.total += 1;
        if let Some(key) = &key {
            *open.by_key.entry(Arc::clone(key)).or_default() += 1;
        }
        Some(Permit(Some((self.clone(), key))))
    }

    fn give_back(&self, key: Option<&Arc<str>>) {
        let mut open = lock(&self.0.open);
        open.total -= 1;
        if let Some(key) = key
            && let Some(count) = open.by_key.get_mut(key)
        {
            *count -= 1;
            if *count == 0 {
                open.by_key.remove(key);
            }
        }
    }
}

/// A request or a stream that counts. It is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Option<(Limit, Option<Arc<str>>)>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((limit, key)) = self.0.take() {
            limit.give_back(key.as_ref());
        }
    }
}

impl Companion for Vec<Permit> {}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("max", &self.0.max)
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}
