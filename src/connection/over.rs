//! What is left of a stream that is over.

use super::{caught::drop_caught, terms::Companions, watched::Watched};
use crate::event::EndReason;

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
        drop_caught(self.companions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Companion;

    struct Panics;

    impl Companion for Panics {}

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("expected");
        }
    }

    #[test]
    fn what_panics_when_it_is_given_back_harms_nobody() {
        let over = Over {
            reason: EndReason::Complete,
            companions: Some(Box::new(vec![Box::new(Panics)])),
            watched: Watched::default(),
        };
        over.tell();
    }
}
