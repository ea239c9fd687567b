//! The tokens that a request shows.

use std::{borrow::Cow, fmt, sync::Arc};

use subtle::ConstantTimeEq;

use crate::layer::RequestView;

/// A text that nobody else may read: a token, a password.
///
/// `Debug` shows nothing of it. Comparing takes a time that does not depend on where two texts of the
/// same length differ, so that nobody can find one out letter by letter; the length is no secret.
///
/// An empty text equals any other empty one, so make no secret of a setting that may be missing.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes `text` as a secret.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for what verifies a token. It belongs into no log.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        *self == *other.reveal()
    }
}

impl Eq for Secret {}

impl PartialEq<str> for Secret {
    fn eq(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The places of a request where a token may stand, in the order in which they are looked at.
///
/// ```
/// use tower_sse::{Denial, Grant, RequestView, Secret, SseLayer, StatusCode, TokenFinder};
///
/// let expected = Secret::new("tell nobody");
/// let tokens = TokenFinder::new().bearer().cookie("session").query("access_token");
/// let layer = SseLayer::new().authorize(move |request: RequestView| {
///     let known = tokens.all(&request).any(|token| token == expected);
///     async move {
///         match known {
///             true => Ok(Grant::new().subject("alice")),
///             false => Err(Denial::refuse(StatusCode::UNAUTHORIZED, "a token is needed")),
///         }
///     }
/// });
/// ```
///
/// A browser's `EventSource` sends cookies and a query and can set no header. A token in a query ends
/// up in the logs of servers and proxies, so it should be short-lived and good for nothing else, as a
/// ticket is.
///
/// What is empty, or longer than 8 KiB, is no token. Of each place at most four are looked at, so that
/// nobody makes a server verify a thousand cookies.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TokenFinder(Vec<Place>);

#[derive(Clone, Debug)]
enum Place {
    Bearer,
    Cookie(Cow<'static, str>),
    Query(Cow<'static, str>),
}

impl TokenFinder {
    /// The length of the longest token, in bytes.
    pub const MAX_LEN: usize = 8 * 1024;

    const MOST_OF_A_PLACE: usize = 4;

    /// Makes a finder that looks nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the header `Authorization: Bearer`.
    pub fn bearer(self) -> Self {
        self.then(Place::Bearer)
    }

    /// Looks at the cookie of this name.
    pub fn cookie(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.then(Place::Cookie(name.into()))
    }

    /// Looks at the query parameter of this name, decoded.
    pub fn query(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.then(Place::Query(name.into()))
    }

    fn then(mut self, place: Place) -> Self {
        self.0.push(place);
        self
    }

    /// The first token.
    ///
    /// One that is no good may hide another that is: a cookie can be that of another service on the
    /// same host. [`all`](Self::all) has them all.
    #[must_use]
    pub fn first(&self, request: &RequestView) -> Option<Secret> {
        self.all(request).next()
    }

    /// All tokens, in the order of the places, and of a place in the order of the request.
    pub fn all<'a>(&'a self, request: &'a RequestView) -> impl Iterator<Item = Secret> {
        self.0.iter().flat_map(|place| place.tokens(request))
    }
}

impl Place {
    fn tokens<'a>(&'a self, request: &'a RequestView) -> impl Iterator<Item = Secret> {
        let texts: Box<dyn Iterator<Item = Cow<'_, str>>> = match self {
            Self::Bearer => Box::new(request.bearer_token().map(Cow::Borrowed).into_iter()),
            Self::Cookie(name) => Box::new(request.cookies(name).map(Cow::Borrowed)),
            Self::Query(name) => Box::new(request.query_params(name)),
        };
        texts
            .filter(|text| (1..=TokenFinder::MAX_LEN).contains(&text.len()))
            .map(|text| Secret::new(&*text))
            .take(TokenFinder::MOST_OF_A_PLACE)
    }
}
