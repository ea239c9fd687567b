//! Who may publish and follow.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;
use tower_sse::{
    Denial, Grant, RequestView, SseLayer, StatusCode,
    http::{HeaderValue, header::WWW_AUTHENTICATE},
};

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

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The rule of the hub.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody is let in.
    Open,
    /// Every request shows this token, as a bearer or, since an `EventSource` can set no header, in
    /// the query.
    Token(Token),
}

impl Access {
    /// Adds this rule to a policy. It acts on requests of every kind.
    pub fn guard(&self, policy: SseLayer) -> SseLayer {
        let Self::Token(token) = self.clone() else {
            return policy;
        };
        policy.authorize(move |request: RequestView| {
            let answer = decide(&token, &request);
            async move { answer }
        })
    }

    /// Says in the log who may come.
    pub fn announce(&self) {
        match self {
            Self::Open => tracing::warn!("--token is not set: everybody may publish and follow"),
            Self::Token(_) => tracing::info!("publishing and following take the token"),
        }
    }
}

fn decide(token: &Token, request: &RequestView) -> Result<Grant, Denial> {
    let query = request.query_param("token");
    let carried = [request.bearer_token(), query.as_deref()];
    if carried.iter().flatten().any(|carried| token.is(carried)) {
        return Ok(Grant::new());
    }
    let denial = Denial::refuse(StatusCode::UNAUTHORIZED, "a valid token is needed\n");
    Err(denial.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
}
