//! How long a stream may be open.

use std::{
    error::Error,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    Denial, Grant, RequestView,
    authorize::{DynAuthorize, Reason},
};
use crate::{
    connection::{Companion, run_caught},
    event::EndReason,
    store::BoxFuture,
};

/// Ends a stream at the age that it may have.
pub(super) struct MaxAge(Instant);

impl MaxAge {
    /// `age` is the most; streams that were opened together do not all end together.
    pub(super) fn begin(age: Duration) -> Option<Self> {
        let age = part_of(age);
        Instant::now().checked_add(age).map(Self)
    }
}

impl Companion for MaxAge {
    fn due(&self) -> Option<Instant> {
        Some(self.0)
    }

    fn end(&self) -> Option<(Instant, EndReason)> {
        Some((self.0, EndReason::MaxAge))
    }
}

/// Between nine tenths and all of a time.
fn part_of(time: Duration) -> Duration {
    let less = Duration::try_from_secs_f64(time.as_secs_f64() * 0.1 * fastrand::f64());
    time.saturating_sub(less.unwrap_or_default())
}

/// Ends a stream when its grant does.
pub(super) struct Granted {
    subject: Option<String>,
    expires: Option<Instant>,
    again: Option<Again>,
}

/// Asks the hook again every so often.
struct Again {
    hook: Arc<dyn DynAuthorize>,
    request: RequestView,
    every: Duration,
    next: Option<Instant>,
    answer: Option<BoxFuture<'static, Result<Grant, Denial>>>,
}

impl Granted {
    pub(super) fn new(grant: &Grant) -> Self {
        Self {
            subject: grant.subject_name().map(str::to_owned),
            expires: grant.expiry().and_then(deadline),
            again: None,
        }
    }

    /// Asks `hook` about the same request every so often.
    pub(super) fn ask_again(
        &mut self,
        hook: Arc<dyn DynAuthorize>,
        request: RequestView,
        every: Duration,
    ) {
        self.again = Some(Again {
            hook,
            request,
            every,
            next: Instant::now().checked_add(part_of(every)),
            answer: None,
        });
    }
}

/// When a wall clock shows `time`, by the clock that streams live by. Never before.
fn deadline(time: SystemTime) -> Option<Instant> {
    let left = time.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now().checked_add(left)
}

/// Whether a grant has expired.
pub(super) fn is_over(grant: &Grant) -> bool {
    grant.expiry().is_some_and(|at| at <= SystemTime::now())
}

impl Companion for Granted {
    fn due(&self) -> Option<Instant> {
        let next = self.again.as_ref().and_then(|again| again.next);
        self.expires.into_iter().chain(next).min()
    }

    fn end(&self) -> Option<(Instant, EndReason)> {
        self.expires.map(|at| (at, EndReason::Expired))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        let Some(again) = &mut self.again else {
            return Poll::Pending;
        };
        match ready!(again.poll(cx)) {
            Ok(grant) if grant.subject_name() != self.subject.as_deref() => {
                Poll::Ready(EndReason::Revoked)
            }
            Ok(grant) if is_over(&grant) => Poll::Ready(EndReason::Expired),
            Ok(grant) => {
                self.expires = grant.expiry().and_then(deadline);
                Poll::Pending
            }
            Err(Denial(Reason::Undecided(cause))) => {
                let error = &*cause as &dyn Error;
                tracing::error!(error, "whether a grant still holds could not be decided");
                Poll::Pending
            }
            Err(_) => Poll::Ready(EndReason::Revoked),
        }
    }
}

impl Again {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, Denial>> {
        let now = Instant::now();
        if self.next.is_some_and(|next| next <= now) {
            self.next = now.checked_add(self.every);
            if self.answer.take().is_some() {
                return Poll::Ready(Err(Denial::undecided("no answer in time")));
            }
            let hook = Arc::clone(&self.hook);
            self.answer = Some(hook.authorize(self.request.clone()));
        }
        let Some(answer) = &mut self.answer else {
            return Poll::Pending;
        };
        let polled = run_caught(|| answer.as_mut().poll(cx));
        let answer = match polled {
            Ok(polled) => ready!(polled),
            Err(panic) => Err(Denial::undecided(panic)),
        };
        self.answer = None;
        Poll::Ready(answer)
    }
}
