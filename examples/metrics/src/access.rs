//! Who may watch.

use tower_sse::{
    Denial, Grant, RequestView, Secret, SseLayer, StatusCode, TokenFinder,
    http::{HeaderValue, header::WWW_AUTHENTICATE},
};

const NAME: &str = "access_token";

/// The rule of the metrics stream.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody is let in, as the user `development`.
    Development,
    /// A token decides.
    Tokens {
        /// Its bearer may view metrics.
        viewer: Secret,
        /// Its bearer is known and may not.
        other: Option<Secret>,
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
        let places = TokenFinder::new().bearer().cookie(NAME).query(NAME);
        let shows = |token: &Secret| places.all(request).any(|carried| carried == *token);
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
