//! What is left of a stream that is over.

use super::{end::EndReason, terms::Companions, watched::Watched};

/// It is told of, and then given back, without a lock, since both run code of users.
pub(super) struct Over {
    pub(super) reason: EndReason,
    pub(super) companions: Option<Box<Companions>>,
    pub(super) watched: Watched,
}

impl Over {
    pub(super) fn tell(self) {
        self.watched.close(self.reason);
        // Only now, so that who waits until all is given back has been told of all.
        drop(self.companions);
    }
}
