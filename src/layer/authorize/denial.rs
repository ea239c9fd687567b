//! Why a stream is not opened.

use std::{any::Any, error::Error, fmt};

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::TopicDenied;
use crate::{stop::Stop, subscription::InvalidTopics, topic_name::InvalidTopicName};

/// Why an [`Authorize`](super::Authorize) hook grants nothing.
///
/// With `?` a [`Stop`] is one, and so is any error: those of this crate that are the client's doing
/// refuse with the status that they have as a response, every other one is
/// [undecided](Self::undecided).
pub struct Denial(pub(in crate::layer) Reason);

pub(in crate::layer) enum Reason {
    /// The text is not sent with `204`, which has no body.
    Refused {
        status: StatusCode,
        text: String,
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    Undecided(Box<dyn Error + Send + Sync>),
}

impl Denial {
    /// Refuses the request with a status and a text that the client gets.
    ///
    /// To a browser's `EventSource` every status but `200` is final: it does not come back.
    #[must_use]
    pub fn refuse(status: StatusCode, text: impl Into<String>) -> Self {
        Self(Reason::Refused {
            status,
            text: text.into(),
            headers: Vec::new(),
        })
    }

    /// Says that nothing more will come, with the answer that [`Stop`] is.
    #[must_use]
    pub fn stop() -> Self {
        Self::refuse(StatusCode::NO_CONTENT, "")
    }

    /// Adds a header to the answer of a refusal or a stop; to no effect where nothing was decided.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Reason::Refused { headers, .. } = &mut self.0 {
            headers.push((name, value));
        }
        self
    }

    /// Says that it could not be decided, and why.
    ///
    /// The cause is logged and not sent. The client is asked to come back: a `500` would be the end
    /// of a browser's stream for good.
    #[must_use]
    pub fn undecided(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Reason::Undecided(cause.into()))
    }
}

impl From<Stop> for Denial {
    fn from(Stop: Stop) -> Self {
        Self::stop()
    }
}

impl Denial {
    /// What it is in metrics.
    pub(in crate::layer) fn kind(&self) -> &'static str {
        match &self.0 {
            Reason::Refused { .. } => "denied",
            Reason::Undecided(_) => "undecided",
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Denial {
    fn from(cause: E) -> Self {
        // What a client has sent wrong would be wrong the next time, too.
        match REFUSALS.iter().find(|refusal| (refusal.is)(&cause)) {
            Some(refusal) => refusal.denial(cause.to_string()),
            None => Self::undecided(cause),
        }
    }
}

/// An error of this crate that is the client's doing.
struct Refusal {
    is: fn(&dyn Any) -> bool,
    status: StatusCode,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        is: |cause| cause.is::<TopicDenied>(),
        status: StatusCode::FORBIDDEN,
    },
    Refusal {
        is: |cause| cause.is::<InvalidTopicName>(),
        status: StatusCode::NOT_FOUND,
    },
    Refusal {
        is: |cause| cause.is::<InvalidTopics>(),
        status: StatusCode::BAD_REQUEST,
    },
    #[cfg(feature = "tickets")]
    Refusal {
        is: |cause| cause.is::<super::InvalidTicket>(),
        status: StatusCode::UNAUTHORIZED,
    },
];

impl Refusal {
    fn denial(&self, text: String) -> Denial {
        let denial = Denial::refuse(self.status, text + "\n");
        match self.status {
            // A `401` has to say how to do better.
            StatusCode::UNAUTHORIZED => {
                denial.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            _ => denial,
        }
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Refused { status, .. } => f.debug_tuple("Refused").field(status).finish(),
            Reason::Undecided(cause) => f.debug_tuple("Undecided").field(cause).finish(),
        }
    }
}
