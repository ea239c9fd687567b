//! The head of a response that sends events, for both frameworks' headers.

/// The content type of an event stream: lower case and without a charset, since some clients compare
/// it to the letter.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// The headers of a response, whichever version of `http` they are of.
pub(crate) trait Headers {
    fn get(&self, name: &'static str) -> Option<&[u8]>;
    fn set(&mut self, name: &'static str, value: &'static str);
    fn remove(&mut self, name: &'static str);
}

impl Headers for http::HeaderMap {
    fn get(&self, name: &'static str) -> Option<&[u8]> {
        self.get(name).map(http::HeaderValue::as_bytes)
    }

    fn set(&mut self, name: &'static str, value: &'static str) {
        self.insert(name, http::HeaderValue::from_static(value));
    }

    fn remove(&mut self, name: &'static str) {
        self.remove(name);
    }
}

/// Whether the response is an event stream, by its status and the essence of its media type.
pub(crate) fn is_event_stream(status: u16, headers: &impl Headers) -> bool {
    if status != 200 {
        return false;
    }
    let essence = headers
        .get("content-type")
        .and_then(|value| value.split(|b| *b == b';').next());
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(EVENT_STREAM.as_bytes())
    })
}

/// The head of an event stream that no handler has made.
pub(crate) fn of_stream() -> http::response::Parts {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.headers.set("content-type", EVENT_STREAM);
    head
}

/// Whether the body is bytes of an event stream as they stand, and not compressed.
pub(crate) fn is_identity(headers: &impl Headers) -> bool {
    headers
        .get("content-encoding")
        .is_none_or(|value| value.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Adds what an event stream needs to arrive event by event. What is set already stays, but for a
/// length, which no stream has.
pub(crate) fn complete(headers: &mut impl Headers) {
    let needed = [
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ];
    for (name, value) in needed {
        if headers.get(name).is_none() {
            headers.set(name, value);
        }
    }
    headers.remove("content-length");
}

/// The version of HTTP that a request came with, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    /// HTTP/2 and newer, where fields of a connection make a message malformed.
    Later,
}

impl Version {
    /// Says that the connection is kept open where that may be said.
    pub(crate) fn complete(self, headers: &mut impl Headers) {
        match self {
            Self::Http10 => {}
            Self::Http11 if headers.get("connection").is_some() => {}
            Self::Http11 => headers.set("connection", "keep-alive"),
            Self::Later => headers.remove("connection"),
        }
    }
}
