//! Who may watch.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;
use tower_sse::{
    Denial, Grant, RequestView, SseLayer, StatusCode,
    http::{HeaderValue, header::WWW_AUTHENTICATE},
};

const NAME: &str = "access_token";

/// A secret that a client shows; it is compared in constant time and never printed.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// Takes `text` as the secret.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    fn is(&self, carried: &str) -> bool {
        self.0.as_bytes().ct_eq(carried.as_bytes()).into()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The rule of the metrics stream.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody is let in, as the user `development`.
    Development,
    /// A token decides.
    Tokens {
        /// Its bearer may view metrics.
        viewer: Token,
        /// Its bearer is known and may not.
        other: Option<Token>,
    },
}

impl Access {
    /// The policy of the stream's route: the defaults, and this rule as its hook.
    pub fn layer(&self) -> SseLayer {
        let access = self.clone();
        SseLayer::new().authorize(move |request: RequestView| {
            let answer = access.decide(&request);
            async move { answer }
        })
    }

    /// Says in the log who may watch.
    pub fn announce(&self) {
        match self {
            Self::Development => tracing::warn!(
                "METRICS_TOKEN is not set: everybody may watch, as the user `development`"
            ),
            Self::Tokens { .. } => tracing::info!("watching takes the token in METRICS_TOKEN"),
        }
    }

    // A token may come in several places, and a cookie may be another service's on the same host:
    // the viewer's token wins wherever it stands, then the other one.
    fn decide(&self, request: &RequestView) -> Result<Grant, Denial> {
        let Self::Tokens { viewer, other } = self else {
            return Ok(Grant::new().subject("development"));
        };
        let query = request.query_param(NAME);
        let carried = [
            request.bearer_token(),
            request.cookie(NAME),
            query.as_deref(),
        ];
        let shows = |token: &Token| carried.iter().flatten().any(|carried| token.is(carried));
        if shows(viewer) {
            Ok(Grant::new().subject("viewer"))
        } else if other.as_ref().is_some_and(shows) {
            Err(Denial::refuse(
                StatusCode::FORBIDDEN,
                "this token may not view metrics",
            ))
        } else {
            let denial = Denial::refuse(StatusCode::UNAUTHORIZED, "a valid access token is needed");
            Err(denial.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        }
    }
}
