//! The answer that ends a client's reconnecting.

use std::fmt;

use http::{HeaderValue, Response, StatusCode, header};

/// The answer that nothing more will come: `204` with `Cache-Control: no-store`.
///
/// A client of events takes the end of a stream for a lost connection and comes back. To `204` it does
/// not: the standard makes it the way to tell a client to stop. What clients do with it:
///
/// - browsers, npm `eventsource` and undici close and fire `error` once; `readyState` is `CLOSED`,
/// - `@microsoft/fetch-event-source` leaves it to the application's `onopen`,
/// - npm `eventsource-client` stays idle and does not tell,
/// - Rust's `reqwest-eventsource` ends with an error, and Rust's `eventsource-client` reconnects for ever.
///
/// It is a response in axum and in actix-web, and [made into one](Self::into_http_response) in plain
/// tower, also as the error of a handler:
///
/// ```
/// use tower_sse::{Hub, LastEventId, Sse, Stop, Subscription};
///
/// fn follow(hub: &Hub, finished: bool, last: LastEventId) -> Result<Sse<Subscription>, Stop> {
///     match finished {
///         true => Err(Stop),
///         false => Ok(Sse::new(hub.subscribe("job", last))),
///     }
/// }
/// ```
///
/// An authorization hook answers it with [`Denial::stop`](crate::Denial::stop), or with `?`. It is no
/// [`Error`](std::error::Error), since nothing has failed.
///
/// To a page of another origin it needs the CORS headers that the stream has: without them a browser
/// sees a failure, which closes the stream, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop;

impl Stop {
    /// Makes the response, for plain tower and hyper; its body is the empty one.
    #[must_use]
    pub fn into_http_response<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let no_store = HeaderValue::from_static("no-store");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_store);
        response
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no more events will come")
    }
}
