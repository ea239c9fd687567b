//! What a hook sees of a request.

use std::{borrow::Cow, fmt, time::SystemTime};

use bytes::Bytes;

use crate::last_event_id::LastEventId;

/// The head of a request, the same in all frameworks.
///
/// It owns what it shows. Its `Debug` has the method and the path only, since headers and queries
/// carry tokens.
#[derive(Clone)]
pub struct RequestView {
    method: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, Bytes)>,
    came_at: SystemTime,
}

impl RequestView {
    pub(crate) fn new<'a>(
        method: &str,
        path: &str,
        query: Option<&str>,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers: headers
                .map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value)))
                .collect(),
            came_at: SystemTime::now(),
        }
    }

    /// The method, as in the request line.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path, not decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query, not decoded.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The value of the first header of this name; names are compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers_of(name).next()
    }

    /// The value of the first query parameter of this name, decoded.
    #[must_use]
    pub fn query_param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_params(name).next()
    }

    pub(super) fn query_params<'a>(&'a self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        form_urlencoded::parse(self.query.as_deref().unwrap_or_default().as_bytes())
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The token of an `Authorization: Bearer` header.
    #[must_use]
    pub fn bearer_token(&self) -> Option<&str> {
        let (scheme, token) = str::from_utf8(self.header("authorization")?)
            .ok()?
            .split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The value of the first cookie of this name, without quotes around it.
    ///
    /// One that is not UTF-8 is passed over; those of other services on the same host are no harm.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies(name).next()
    }

    pub(super) fn cookies<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers_of("cookie")
            .flat_map(|value| value.split(|byte| *byte == b';'))
            .filter_map(|pair| str::from_utf8(pair).ok()?.split_once('='))
            .filter(move |(key, _)| key.trim() == name)
            .map(|(_, value)| {
                let value = value.trim();
                let quoted = value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'));
                quoted.unwrap_or(value)
            })
    }

    /// When it came, also where a hook is [asked again](crate::SseLayer::authorize_again) about it.
    #[must_use]
    pub fn came_at(&self) -> SystemTime {
        self.came_at
    }

    /// The position that the client comes back with.
    #[must_use]
    pub fn last_event_id(&self) -> LastEventId {
        LastEventId::find(self.headers_of("last-event-id"), self.query())
    }

    fn headers_of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self
            .headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| &**value)
    }
}

impl<B> From<&http::Request<B>> for RequestView {
    fn from(request: &http::Request<B>) -> Self {
        let headers = request.headers().iter();
        Self::new(
            request.method().as_str(),
            request.uri().path(),
            request.uri().query(),
            headers.map(|(name, value)| (name.as_str(), value.as_bytes())),
        )
    }
}

impl fmt::Debug for RequestView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
