//! Counts nothing.

use std::{sync::Arc, time::Duration};

pub(crate) const IS_ON: bool = false;

#[derive(Debug)]
pub(crate) struct Stream;

impl Stream {
    pub(crate) fn open(_route: Option<&Arc<str>>) -> Self {
        Self
    }

    pub(crate) fn count(&self, _events: u64, _bytes: u64, _heartbeats: u64) {}

    pub(crate) fn resumed(&self, _outcome: &'static str) {}

    pub(crate) fn gap(&self, _reason: &'static str) {}

    pub(crate) fn replayed(&self, _after: Duration, _events: u64) {}

    pub(crate) fn close(&self, _reason: &'static str, _duration: Duration) {}
}

pub(crate) fn refused(_route: Option<&Arc<str>>, _reason: &'static str) {}

pub(crate) fn waited(_time: Duration) {}
