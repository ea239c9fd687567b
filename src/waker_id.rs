//! Tells wakers apart.

use std::{ptr, task::Waker};

/// Which waker it is, without keeping it.
///
/// Two that are equal would wake the same, as long as somebody keeps one of them: only then is the
/// address of its task not given to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WakerId {
    data: usize,
    vtable: usize,
}

impl WakerId {
    pub(crate) fn of(waker: &Waker) -> Self {
        Self {
            data: waker.data().addr(),
            vtable: ptr::from_ref(waker.vtable()).addr(),
        }
    }
}
