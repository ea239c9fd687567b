//! Who watches the streams of a layer.

use std::{fmt, sync::Arc};

use tracing::Span;

use super::{
    Closed, Grant,
    route::{Route, shown},
};
use crate::{
    connection::{Seen, Watch, Watcher},
    meter,
};

/// What the application wants to be told of.
pub(super) type OnClose = Arc<dyn Fn(&Closed) + Send + Sync>;

/// How streams are seen.
#[derive(Clone, Default)]
pub(super) struct Seeing {
    pub(super) name: Option<Arc<str>>,
    pub(super) traces_subject: bool,
    pub(super) on_close: Option<OnClose>,
}

impl Seeing {
    /// Looks for what a request is for, if that has no name and somebody wants to know it.
    pub(super) fn find_route(&self, find: impl FnOnce() -> Route) -> Option<Route> {
        let is_seen = meter::IS_ON
            || self.on_close.is_some()
            || tracing::span_enabled!(target: "tower_sse::stream", tracing::Level::INFO);
        (is_seen && self.name.is_none()).then(find)
    }

    pub(super) fn route(&self, found: Option<&Route>) -> Option<Route> {
        self.name.clone().map(Route::pattern).or(found.cloned())
    }

    /// Notes that a request was refused.
    pub(super) fn refused(&self, found: Option<&Route>, reason: &'static str) {
        if meter::IS_ON {
            let route = self.route(found);
            meter::refused(route.as_ref().and_then(Route::label), reason);
        }
    }

    /// Who watches a stream, if anybody does. The first layer is for what there is one of.
    pub(super) fn watch(
        &self,
        is_first: bool,
        found: Option<&Route>,
        grant: Option<&Grant>,
    ) -> Option<Watch> {
        let route = self.route(found);
        let span = match is_first {
            true => self.span(route.as_ref(), grant),
            false => Span::none(),
        };
        let metered = (is_first && meter::IS_ON).then(|| {
            let label = route.as_ref().and_then(Route::label);
            let watcher: Box<dyn Watcher> = Box::new(Some(meter::Stream::open(label)));
            watcher
        });
        let reporting = self.on_close.clone().map(|on_close| {
            let watcher: Box<dyn Watcher> = Box::new(Reporting {
                on_close,
                grant: grant.cloned(),
                route,
            });
            watcher
        });
        let watchers: Vec<_> = metered.into_iter().chain(reporting).collect();
        let is_watched = !watchers.is_empty() || !span.is_disabled();
        is_watched.then_some(Watch { span, watchers })
    }

    fn span(&self, route: Option<&Route>, grant: Option<&Grant>) -> Span {
        let subject = grant
            .filter(|_| self.traces_subject)
            .and_then(Grant::subject_name);
        // Nothing of this is evaluated where nobody listens.
        tracing::info_span!(
            target: "tower_sse::stream",
            "sse",
            id = %format_args!("{:016x}", fastrand::u64(..)),
            route = route.map(Route::text),
            subject = subject.map(shown),
            resume = tracing::field::Empty,
        )
    }
}

/// Reports the end of one stream to the application.
struct Reporting {
    on_close: OnClose,
    route: Option<Route>,
    grant: Option<Grant>,
}

impl Watcher for Reporting {
    fn see(&mut self, seen: &Seen) {
        if let Seen::Closed(report) = seen {
            (self.on_close)(&Closed {
                report: *report,
                route: self.route.take(),
                grant: self.grant.take(),
            });
        }
    }
}

impl Watcher for Option<meter::Stream> {
    fn see(&mut self, seen: &Seen) {
        let Some(stream) = self else { return };
        match *seen {
            Seen::Counted {
                events,
                bytes,
                heartbeats,
            } => stream.count(events, bytes, heartbeats),
            Seen::Resumed(outcome) => stream.resumed(outcome.as_str()),
            Seen::Gap(reason) => stream.gap(reason.as_str()),
            Seen::Replayed { after, events } => stream.replayed(after, events),
            Seen::Closed(report) => {
                stream.close(report.reason.as_str(), report.duration);
                // Before the application is told, which may look.
                *self = None;
            }
        }
    }
}

impl fmt::Debug for Seeing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seeing")
            .field("name", &self.name)
            .field("traces_subject", &self.traces_subject)
            .field("on_close", &self.on_close.is_some())
            .finish()
    }
}
