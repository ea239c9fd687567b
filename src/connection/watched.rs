//! What a stream does where somebody may watch it.

use std::{
    error::Error,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    BoxError, Source,
    account::{Account, Watch},
    caught::{caught, drop_caught},
};
use crate::event::EndReason;

/// Mostly nothing, and small: there is one for each client.
#[derive(Debug, Default)]
pub(super) struct Watched(Option<Box<Account>>);

impl Watched {
    /// Adds what a layer has.
    pub(super) fn join(&mut self, watch: Option<Watch>) {
        match (watch, &mut self.0) {
            (None, _) => {}
            (Some(watch), Some(account)) => account.join(watch),
            (Some(watch), none) => *none = Some(Box::new(Account::open(watch))),
        }
    }

    fn in_span<R>(&self, run: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(account) => account.in_span(run),
            None => run(),
        }
    }

    pub(super) fn poll<S: Source>(
        &mut self,
        source: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BoxError>>> {
        let sent = self.in_span(|| caught(|| source.poll_bytes(cx)));
        if let Some(account) = &mut self.0 {
            if let Poll::Ready(Some(Ok(sent))) = &sent {
                account.sent(sent);
            }
            account.look(source);
        }
        sent.map_ok(|sent| sent.bytes)
    }

    /// Drops the source of a stream that is over.
    pub(super) fn drop<S: Source>(&mut self, source: S) {
        if let Some(account) = &mut self.0 {
            account.look(&source);
        }
        self.in_span(|| drop_caught(source));
    }

    pub(super) fn fail(&self, error: &(dyn Error + 'static)) {
        self.in_span(|| tracing::error!(error, "event stream has failed"));
    }

    /// Counts the events in bytes of others.
    pub(super) fn pass_on(&mut self, bytes: &[u8]) {
        if let Some(account) = &mut self.0 {
            account.pass_on(bytes);
        }
    }

    /// Counts what the server was given.
    pub(super) fn hand(&mut self, bytes: usize) {
        if let Some(account) = &mut self.0 {
            account.hand(bytes);
        }
    }

    pub(super) fn beat(&mut self) {
        if let Some(account) = &mut self.0 {
            account.beat();
        }
    }

    pub(super) fn tell_counts(&mut self) {
        if let Some(account) = &mut self.0 {
            account.tell_counts();
        }
    }

    pub(super) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Reports the end. Must not be called under a lock.
    pub(super) fn close(self, reason: EndReason) {
        if let Some(account) = self.0 {
            account.close(reason);
        }
    }
}
