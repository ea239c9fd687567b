//! The way of a request to its handler, and of the response back.

use std::{sync::Arc, time::Duration};

use super::{
    Answer, Grant, Limit, Policy, RequestView, SseLayer, accept,
    life::{self, Granted, MaxAge},
    limit::Permit,
    resumable::{Coming, Recording},
    revoke::Asking,
    route::Route,
    watch::Seeing,
};
use crate::{
    connection::{Companion, Decoration, OpenStream, Terms},
    event::{EndReason, bye},
    head::{self, Headers},
    recording::{Listener, Producer},
    store::{BoxFuture, StoreError},
};

/// The way to the handler.
pub(crate) enum Entry {
    Open(Admission),
    Refused(Answer),
    /// The hook was asked.
    Asked(BoxFuture<'static, Result<Admitted, Answer>>),
}

/// Who makes the response.
pub(crate) enum Admitted {
    Handler(Admission),
    /// The handler, in a task of its own that records what it sends, whatever becomes of the client.
    Task(Admission, Box<Producer>, Box<Listener>),
    /// Nobody: it is there.
    Recorded(Admission, Box<Listener>),
}

/// What a request holds on its way to a stream. It is given back when this is dropped.
#[derive(Default)]
pub(crate) struct Admission(Option<Box<Held>>);

#[derive(Default)]
struct Held {
    route: Option<Route>,
    permits: Vec<Permit>,
    granted: Option<(Grant, RequestView)>,
    asking: Option<Asking>,
    recording: Option<Recording>,
}

/// What becomes of a body.
pub(crate) enum Treatment {
    Pass,
    /// It is not sent, and so never polled: nothing is subscribed.
    Head,
    /// It is wrapped, and the response carries the stream on, so that no layer wraps it again.
    Decorate(Admission),
}

impl Admission {
    fn to(route: Option<Route>) -> Self {
        let held = |route| {
            Box::new(Held {
                route: Some(route),
                ..Held::default()
            })
        };
        Self(route.map(held))
    }

    /// Who records what the handler sends, and sends it to the client, if it is to be recorded.
    pub(crate) fn record(&mut self, headers: &impl Headers) -> Option<(Producer, Listener)> {
        let recording = self.0.as_mut()?.recording.take()?;
        if !head::is_identity(headers) {
            tracing::warn!("a response that has a `Content-Encoding` is not recorded");
            return None;
        }
        recording.begin()
    }

    /// What the handler is told.
    pub(crate) fn grant(&self) -> Option<&Grant> {
        let (grant, _) = self.0.as_ref()?.granted.as_ref()?;
        Some(grant)
    }
}

impl SseLayer {
    /// What is to be settled before the handler runs.
    ///
    /// `view` and `route` are only called where somebody looks at it.
    pub(crate) fn entry(
        &self,
        method: &str,
        accept: Option<&[u8]>,
        view: impl FnOnce() -> RequestView,
        route: impl FnOnce() -> Route,
    ) -> Entry {
        let policy = &self.policy;
        if method == "OPTIONS" {
            return Entry::Open(Admission::default());
        }
        let route = policy.seeing.find_route(route);
        if policy.strict_accept && !accept::allows_event_stream(accept) {
            policy.seeing.refused(route.as_ref(), "not-acceptable");
            return Entry::Refused(Answer::not_acceptable());
        }
        let begun = policy.drain.as_ref().filter(|drain| drain.has_begun());
        if let Some(drain) = begun
            && accept::names_event_stream(accept)
        {
            policy.seeing.refused(route.as_ref(), "draining");
            return Entry::Refused(Answer::bye(bye(EndReason::Draining), drain.retry_time()));
        }
        // Nothing is held or looked for where only the head is asked for.
        let is_head = method == "HEAD";
        let resumable = policy.resumable.clone().filter(|_| !is_head);
        if policy.hook.is_none() && policy.limits.is_empty() && resumable.is_none() {
            return Entry::Open(Admission::to(route));
        }
        let view = view();
        let mut held = Box::<Held>::default();
        held.route = route;
        let limits = match is_head {
            true => &[],
            false => &*policy.limits,
        };
        let (by_subject, others): (Vec<_>, Vec<_>) =
            limits.iter().cloned().partition(Limit::is_per_subject);
        let retry = self.retry_time();
        if let Err(limit) = held.take(&others, &view, None) {
            policy.seeing.refused(held.route.as_ref(), "limit");
            return Entry::Refused(Answer::beyond(&limit, accept, retry));
        }
        let accept = accept.map(<[u8]>::to_vec);
        let Some(hook) = &policy.hook else {
            let Some(resumable) = resumable else {
                return Entry::Open(Admission(Some(held)));
            };
            let seeing = policy.seeing.clone();
            return Entry::Asked(Box::pin(async move {
                let found = resumable.find(None, &view).await;
                held.admit(found, &seeing, accept.as_deref(), retry)
            }));
        };
        held.asking = policy
            .revocations
            .as_ref()
            .map(|revocations| revocations.ask());
        let decision = Arc::clone(hook).authorize(view.clone());
        let policy = Arc::clone(policy);
        Entry::Asked(Box::pin(async move {
            let accept = accept.as_deref();
            let refused = |held: &Held, reason| policy.seeing.refused(held.route.as_ref(), reason);
            let grant = match decision.await {
                Ok(grant) => grant,
                Err(denial) => {
                    refused(&held, denial.kind());
                    return Err(Answer::denied(denial, accept, retry));
                }
            };
            if life::is_over(&grant) {
                refused(&held, "expired");
                return Err(Answer::expired());
            }
            if let Err(limit) = held.take(&by_subject, &view, Some(&grant)) {
                refused(&held, "limit");
                return Err(Answer::beyond(&limit, accept, retry));
            }
            let found = match resumable {
                Some(resumable) => resumable.find(grant.subject_name(), &view).await,
                None => Ok(Coming::Unrecorded),
            };
            held.granted = Some((grant, view));
            held.admit(found, &policy.seeing, accept, retry)
        }))
    }

    /// What becomes of the body of an event stream that passes.
    ///
    /// `open` is what the response carries: it is ours, or a layer further in has seen it.
    pub(crate) fn treat(
        &self,
        headers: &impl Headers,
        is_head: bool,
        open: Option<&OpenStream>,
        admission: Admission,
    ) -> Treatment {
        match open {
            _ if is_head => Treatment::Head,
            Some(open) => {
                self.join(open, headers, admission);
                Treatment::Pass
            }
            None => Treatment::Decorate(admission),
        }
    }

    /// Has what is produced counted by the drain, as long as it is.
    pub(crate) fn drains(&self, producer: &mut Producer) {
        if let Some(drain) = &self.policy.drain {
            producer.hold(drain.enter_work(producer.stream()));
        }
    }

    /// Adds all that this layer has for a stream.
    pub(crate) fn join(&self, open: &OpenStream, headers: &impl Headers, admission: Admission) {
        let policy = &self.policy;
        let opaque = !head::is_identity(headers);
        let decoration = Decoration {
            heartbeat: policy.heartbeat.filter(|_| !opaque),
            heartbeat_event: policy.heartbeat_event,
            write_stall: policy.write_stall,
            retry: Some(self.retry_time()),
            opaque,
        };
        let route = admission.0.as_ref().and_then(|held| held.route.as_ref());
        let watch = policy
            .seeing
            .watch(!open.is_joined(), route, admission.grant());
        // First, for what comes next may end the stream at once.
        open.join(Terms {
            decoration,
            watch,
            companions: Vec::new(),
        });
        let mut companions: Vec<Box<dyn Companion>> = Vec::new();
        if let Some(held) = admission.0 {
            held.accompany(open, policy, &mut companions);
        }
        if let Some(max_age) = policy.max_age.and_then(MaxAge::begin) {
            companions.push(Box::new(max_age));
        }
        if let Some(drain) = &policy.drain {
            companions.push(Box::new(drain.enter(open.downgrade())));
        }
        if !companions.is_empty() {
            open.join(Terms {
                companions,
                ..Terms::default()
            });
        }
    }
}

impl Held {
    /// What becomes of a request for which this was found.
    fn admit(
        mut self: Box<Self>,
        found: Result<Coming, StoreError>,
        seeing: &Seeing,
        accept: Option<&[u8]>,
        retry: Duration,
    ) -> Result<Admitted, Answer> {
        let (reason, answer) = match found {
            Ok(Coming::Unrecorded) => return Ok(Admitted::Handler(Admission(Some(self)))),
            Ok(Coming::New(recording)) => {
                self.recording = Some(recording);
                return Ok(Admitted::Handler(Admission(Some(self))));
            }
            Ok(Coming::Claimed(producer, listener)) => {
                let admission = Admission(Some(self));
                return Ok(Admitted::Task(admission, producer, listener));
            }
            Ok(Coming::Known(listener)) => {
                return Ok(Admitted::Recorded(Admission(Some(self)), listener));
            }
            Ok(Coming::Over) => ("ended", Answer::stop()),
            Ok(Coming::Unknown) => ("unknown", Answer::unknown()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a recorded response could not be looked for");
                ("unavailable", Answer::unavailable(accept, retry))
            }
        };
        seeing.refused(self.route.as_ref(), reason);
        Err(answer)
    }

    /// Counts for `limits`; returns the one that it is beyond.
    fn take(
        &mut self,
        limits: &[Limit],
        view: &RequestView,
        grant: Option<&Grant>,
    ) -> Result<(), Limit> {
        for limit in limits {
            let permit = limit.take(view, grant).ok_or_else(|| limit.clone())?;
            self.permits.push(permit);
        }
        Ok(())
    }

    fn accompany(
        self,
        open: &OpenStream,
        policy: &Policy,
        companions: &mut Vec<Box<dyn Companion>>,
    ) {
        if !self.permits.is_empty() {
            companions.push(Box::new(self.permits));
        }
        let Some((grant, view)) = self.granted else {
            return;
        };
        let mut granted = Granted::new(&grant);
        if let (Some(hook), Some(every)) = (&policy.hook, policy.authorize_again) {
            granted.ask_again(Arc::clone(hook), view, every);
        }
        companions.push(Box::new(granted));
        if let Some(asking) = self.asking {
            companions.push(Box::new(asking.enter(open.downgrade(), grant)));
        }
    }
}
