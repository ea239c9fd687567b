//! Responses, extractors and the middleware for actix-web.

mod body;
mod middleware;

use std::{
    any::Any,
    convert::Infallible,
    future::{Ready, ready},
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse, Responder, ResponseError,
    body::BoxBody,
    dev::{Extensions, Payload},
    error::ErrorInternalServerError,
    http::{
        ConnectionType, Method, StatusCode, Version,
        header::{self, HeaderValue},
    },
};

use crate::{
    head,
    last_event_id::LastEventId,
    layer::{Grant, TopicDenied},
    socket::tune_socket,
    sse::Sse,
    stop::Stop,
    subscription::InvalidTopics,
    topic_name::InvalidTopicName,
};
pub use body::ActixBody;
pub use middleware::SseMiddleware;

/// How much actix holds back of what a body gives it.
const ACTIX_BUFFER: usize = 32 * 1024;

impl<S: 'static> Responder for Sse<S> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.content_type(head::EVENT_STREAM);
        let mut response = if request.method() == Method::HEAD {
            // actix would wait for the body before it sends the head.
            response.body(ActixBody::<BoxBody>::head())
        } else {
            let body = body::StreamBody::new(self.into_source());
            let open = body.open_stream().clone();
            let mut response = response.body(body);
            response.extensions_mut().insert(open);
            response
        };
        complete(&mut response, request.version());
        response
    }
}

impl Responder for Stop {
    type Body = BoxBody;

    fn respond_to(self, _request: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}

impl ResponseError for Stop {
    fn status_code(&self) -> StatusCode {
        StatusCode::NO_CONTENT
    }

    fn error_response(&self) -> HttpResponse {
        no_store(self.status_code())
    }
}

/// Sets the options of a connection that event streams are sent over, as
/// [`tune_socket`](crate::tune_socket) does. It is for `HttpServer::on_connect`:
///
/// ```
/// # use actix_web::{App, HttpServer};
/// # fn example() -> std::io::Result<()> {
/// use tower_sse::tune_actix_socket;
///
/// let server = HttpServer::new(|| App::new()).on_connect(tune_actix_socket);
/// # drop(server.bind("127.0.0.1:0")?);
/// # Ok(())
/// # }
/// ```
///
/// Connections with TLS have another type; for them give the `TcpStream` inside to `tune_socket`.
pub fn tune_actix_socket(socket: &dyn Any, _data: &mut Extensions) {
    if let Some(socket) = socket.downcast_ref() {
        tune_socket(socket);
    }
}

fn no_store(status: StatusCode) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header(("cache-control", "no-store"))
        .finish()
}

/// Adds what an event stream needs to arrive event by event.
fn complete<B>(response: &mut HttpResponse<B>, version: Version) {
    if version < Version::HTTP_11 {
        // A client of HTTP/1.0 knows no chunks: its body ends with the connection.
        response.head_mut().no_chunking(true);
        response
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    let headers = response.headers_mut();
    head::complete(headers);
    // actix's `Compress` holds events back until its buffer is full, and passes over nothing but what
    // has an encoding already. So here, and only here, the header says that there is none.
    if !headers.contains_key(header::CONTENT_ENCODING) {
        let identity = HeaderValue::from_static("identity");
        headers.insert(header::CONTENT_ENCODING, identity);
    }
}

impl FromRequest for LastEventId {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let header = request.headers().get_all("last-event-id");
        let query = request.uri().query();
        ready(Ok(Self::find(header.map(|value| value.as_bytes()), query)))
    }
}

impl FromRequest for Grant {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(request.extensions().get().cloned().ok_or_else(|| {
            tracing::error!("a `Grant` was asked for on a route without an authorization hook");
            ErrorInternalServerError("")
        }))
    }
}

impl ResponseError for InvalidTopicName {
    fn status_code(&self) -> StatusCode {
        StatusCode::NOT_FOUND
    }

    fn error_response(&self) -> HttpResponse {
        no_store(self.status_code())
    }
}

impl ResponseError for InvalidTopics {
    fn status_code(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn error_response(&self) -> HttpResponse {
        no_store(self.status_code())
    }
}

impl ResponseError for TopicDenied {
    fn status_code(&self) -> StatusCode {
        StatusCode::FORBIDDEN
    }

    fn error_response(&self) -> HttpResponse {
        no_store(self.status_code())
    }
}
