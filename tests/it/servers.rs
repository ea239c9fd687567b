//! The same site in plain tower with hyper, in axum and in actix-web, over sockets and in process.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::ready,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Responder,
    body::{BoxBody, MessageBody},
    dev::ServerHandle,
    web,
};
use axum::{
    Router,
    response::{IntoResponse, Response as AxumResponse},
    routing::get,
    serve::{Listener, ListenerExt},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::poll_fn};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, UnixListener},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_sse::{Grant, LastEventId, RequestView, Sse, SseLayer};

use crate::client::{Address, Client, Protocol, Response as Received, soon};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
type TowerBody = UnsyncBoxBody<Bytes, BoxError>;
type TowerService = BoxCloneSyncService<Request<()>, Response<TowerBody>, Infallible>;

/// What a handler sees of a request, by way of the framework's extractors.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) last: LastEventId,
    pub(crate) grant: Option<Grant>,
}

/// What a handler returns, made into a response as each framework's users do.
pub(crate) trait Answer: Send {
    fn tower(self: Box<Self>) -> Response<TowerBody>;
    fn axum(self: Box<Self>) -> AxumResponse;
    fn actix(self: Box<Self>, request: &HttpRequest) -> HttpResponse;
}

impl<S: Send + 'static> Answer for Sse<S> {
    fn tower(self: Box<Self>) -> Response<TowerBody> {
        (*self)
            .into_http_response()
            .map(|body| body.map_err(Into::into).boxed_unsync())
    }

    fn axum(self: Box<Self>) -> AxumResponse {
        (*self).into_response()
    }

    fn actix(self: Box<Self>, request: &HttpRequest) -> HttpResponse {
        (*self).respond_to(request)
    }
}

pub(crate) type Headers = Vec<(&'static str, &'static str)>;

/// A body of bytes that nobody has framed as events.
pub(crate) struct Streamed<S> {
    pub(crate) headers: Headers,
    pub(crate) stream: S,
}

impl<S> Answer for Streamed<S>
where
    S: Stream<Item = Result<Bytes, io::Error>> + Send + 'static,
{
    fn tower(self: Box<Self>) -> Response<TowerBody> {
        let frames = self.stream.map(|bytes| Ok(Frame::data(bytes?)));
        with_headers(
            &self.headers,
            BodyExt::boxed_unsync(StreamBody::new(frames)),
        )
    }

    fn axum(self: Box<Self>) -> AxumResponse {
        with_headers(&self.headers, axum::body::Body::from_stream(self.stream))
    }

    fn actix(self: Box<Self>, _request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        for header in self.headers {
            response.insert_header(header);
        }
        response.streaming(self.stream)
    }
}

/// A body that is there at once.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: &'static str,
}

impl Answer for Whole {
    fn tower(self: Box<Self>) -> Response<TowerBody> {
        let body = Full::from(self.body).map_err(|never| match never {});
        let mut response = with_headers(&self.headers, body.boxed_unsync());
        *response.status_mut() = self.status.try_into().unwrap();
        response
    }

    fn axum(self: Box<Self>) -> AxumResponse {
        let mut response = with_headers(&self.headers, self.body.into());
        *response.status_mut() = self.status.try_into().unwrap();
        response
    }

    fn actix(self: Box<Self>, _request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::build(self.status.try_into().unwrap());
        for header in self.headers {
            response.insert_header(header);
        }
        response.body(self.body)
    }
}

fn with_headers<B>(headers: &Headers, body: B) -> Response<B> {
    let mut response = Response::new(body);
    for (name, value) in headers {
        let value = value.parse().unwrap();
        response.headers_mut().insert(*name, value);
    }
    response
}

impl Answer for Box<dyn Answer> {
    fn tower(self: Box<Self>) -> Response<TowerBody> {
        (*self).tower()
    }

    fn axum(self: Box<Self>) -> AxumResponse {
        (*self).axum()
    }

    fn actix(self: Box<Self>, request: &HttpRequest) -> HttpResponse {
        (*self).actix(request)
    }
}

/// The application of a site behind some of its layers, each of which changes its type.
macro_rules! actix_app {
    ($site:expr, $($layer:literal)*) => {
        App::new()
            $(.wrap($site.layers[$layer].clone()))*
            .default_service(web::to($site.actix()))
    };
}

/// A server of actix for a site, with one worker.
macro_rules! actix_server {
    ($site:expr, $listen:ident, $listener:expr) => {
        match $site.layers.len() {
            0 => actix_server!($site, $listen, $listener,),
            1 => actix_server!($site, $listen, $listener, 0),
            _ => actix_server!($site, $listen, $listener, 0 1),
        }
    };
    ($site:expr, $listen:ident, $listener:expr, $($layer:literal)*) => {{
        let (site, listener) = ($site.clone(), $listener.into_std().unwrap());
        let server = HttpServer::new(move || actix_app!(site, $($layer)*));
        // Thousands of clients of a busy machine may be slow to ask.
        let server = server.client_request_timeout(std::time::Duration::ZERO);
        // So that a client that has gone is noticed before something is sent to it.
        let server = server.h1_allow_half_closed(false);
        let server = server.workers(1).disable_signals();
        server.$listen(listener).unwrap().run()
    }};
}

/// One handler for all paths, behind two layers at most, the inner one first.
#[derive(Clone)]
pub(crate) struct Site {
    handler: Arc<dyn Fn(Seen) -> Box<dyn Answer> + Send + Sync>,
    layers: Vec<SseLayer>,
}

impl Site {
    pub(crate) fn new<A: Answer + 'static>(
        handler: impl Fn(Seen) -> A + Send + Sync + 'static,
    ) -> Self {
        Self {
            handler: Arc::new(move |seen| Box::new(handler(seen))),
            layers: Vec::new(),
        }
    }

    pub(crate) fn layer(mut self, layer: SseLayer) -> Self {
        self.layers.push(layer);
        self
    }

    fn reply(&self, seen: Seen) -> Box<dyn Answer> {
        (self.handler)(seen)
    }

    fn tower(&self) -> TowerService {
        let site = self.clone();
        let mut service = BoxCloneSyncService::new(service_fn(move |request: Request<()>| {
            let seen = Seen {
                path: request.uri().path().to_owned(),
                last: RequestView::from(&request).last_event_id(),
                grant: request.extensions().get().cloned(),
            };
            ready(Ok(site.reply(seen).tower()))
        }));
        for layer in &self.layers {
            let layered = layer.layer(service);
            service = BoxCloneSyncService::new(
                layered.map_response(|response| response.map(BodyExt::boxed_unsync)),
            );
        }
        service
    }

    fn axum(&self) -> Router {
        let site = self.clone();
        let handler = move |uri: http::Uri, last: LastEventId, grant: Option<Grant>| {
            let path = uri.path().to_owned();
            ready(site.reply(Seen { path, last, grant }).axum())
        };
        let routes = get(handler.clone()).post(handler.clone()).options(handler);
        let router = Router::new()
            .route("/", routes.clone())
            .route("/{*path}", routes);
        let layers = self.layers.iter().cloned();
        layers.fold(router, Router::layer)
    }

    fn actix(&self) -> impl ActixHandler {
        let site = self.clone();
        move |request: HttpRequest, last: LastEventId, grant: Option<Grant>| {
            let path = request.path().to_owned();
            let seen = Seen { path, last, grant };
            ready(site.reply(seen).actix(&request))
        }
    }

    /// Starts a server for the site on a free port.
    pub(crate) async fn serve(&self, kind: Kind) -> Server {
        let listener = listen();
        if kind == Kind::Actix {
            let address = listener.local_addr().unwrap();
            return Server::of_actix(address, actix_server!(self, listen, listener));
        }
        // With Nagle's delay, a request on a used connection takes 40 ms.
        let listener = listener.tap_io(|socket| socket.set_nodelay(true).unwrap());
        self.serve_http(kind, listener)
    }

    /// Starts a server on a socket of which the kernel buffers little.
    pub(crate) async fn serve_tight(&self, kind: Kind) -> Server {
        static SOCKETS: AtomicUsize = AtomicUsize::new(0);
        let socket = SOCKETS.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-sse-{}-{socket}", std::process::id());
        let listener = UnixListener::bind(std::env::temp_dir().join(name)).unwrap();
        if kind == Kind::Actix {
            let address = listener.local_addr().unwrap();
            return Server::of_actix(address, actix_server!(self, listen_uds, listener));
        }
        self.serve_http(kind, listener)
    }

    fn serve_http<L>(&self, kind: Kind, listener: L) -> Server
    where
        L: Listener<Addr: Into<Address> + fmt::Debug>,
    {
        let address = listener.local_addr().unwrap().into();
        let task = match kind {
            Kind::Axum => return Server::of_axum(listener, self.axum()),
            Kind::AxumHttp2 => tokio::spawn(accept(listener, kind, self.axum())),
            _ => {
                let service = self.tower().map_request(drop_body as fn(_) -> _);
                tokio::spawn(accept(listener, kind, service))
            }
        };
        Server {
            kind,
            address,
            running: Running::Task(task),
        }
    }

    /// Calls the site without a server.
    pub(crate) async fn call(&self, kind: Kind, request: Request<()>) -> Local {
        match kind {
            Kind::Tower => Local::from_http(self.tower().oneshot(request).await.unwrap()),
            Kind::Axum => {
                let request = request.map(|()| axum::body::Body::empty());
                Local::from_http(self.axum().oneshot(request).await.unwrap())
            }
            Kind::Actix => {
                let uri = request.uri().to_string();
                let mut to = actix_web::test::TestRequest::with_uri(&uri);
                for (name, value) in request.headers() {
                    to = to.insert_header((name.as_str(), value.as_bytes()));
                }
                let to = to.to_request();
                macro_rules! call {
                    ($($layer:literal)*) => {{
                        let app = actix_app!(self, $($layer)*);
                        let app = actix_web::test::init_service(app).await;
                        let response = actix_web::test::call_service(&app, to).await;
                        Local::from_actix(response.into_parts().1.map_into_boxed_body())
                    }};
                }
                match self.layers.len() {
                    0 => call!(),
                    1 => call!(0),
                    _ => call!(0 1),
                }
            }
            kind => panic!("{kind:?} is about sockets"),
        }
    }

    /// Calls the site for `/`.
    pub(crate) async fn get(&self, kind: Kind) -> Local {
        self.call(kind, Request::new(())).await
    }
}

/// Listens on a free port.
pub(crate) fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket.listen(1024).unwrap()
}

trait ActixHandler:
    actix_web::Handler<(HttpRequest, LastEventId, Option<Grant>), Output = HttpResponse>
{
}

impl<H> ActixHandler for H where
    H: actix_web::Handler<(HttpRequest, LastEventId, Option<Grant>), Output = HttpResponse>
{
}

fn drop_body(request: Request<Incoming>) -> Request<()> {
    request.map(drop)
}

/// A framework and the transport below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tower,
    /// Where hyper copies what a body gives it.
    PlainIo,
    TowerHttp2,
    Axum,
    AxumHttp2,
    Actix,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Tower,
        Self::PlainIo,
        Self::TowerHttp2,
        Self::Axum,
        Self::AxumHttp2,
        Self::Actix,
    ];
    pub(crate) const FRAMEWORKS: [Self; 3] = [Self::Tower, Self::Axum, Self::Actix];

    pub(crate) const fn protocol(self) -> Protocol {
        match self {
            Self::TowerHttp2 | Self::AxumHttp2 => Protocol::Http2,
            _ => Protocol::Http11,
        }
    }
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    address: Address,
    running: Running,
}

enum Running {
    Task(JoinHandle<()>),
    Axum(oneshot::Sender<()>, JoinHandle<io::Result<()>>),
    Actix(ServerHandle, JoinHandle<io::Result<()>>),
}

impl Server {
    pub(crate) fn of_axum<L>(listener: L, app: Router) -> Self
    where
        L: Listener<Addr: Into<Address> + fmt::Debug>,
    {
        let address = listener.local_addr().unwrap().into();
        let (stop, stopped) = oneshot::channel();
        let server = axum::serve(listener, app).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        Self {
            kind: Kind::Axum,
            address,
            running: Running::Axum(stop, tokio::spawn(server.into_future())),
        }
    }

    pub(crate) fn of_actix(address: impl Into<Address>, server: actix_web::dev::Server) -> Self {
        Self {
            kind: Kind::Actix,
            address: address.into(),
            running: Running::Actix(server.handle(), tokio::spawn(server)),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_of(self.kind.protocol()).await
    }

    pub(crate) async fn client_of(&self, protocol: Protocol) -> Client {
        Client::connect(self.address.clone(), protocol).await
    }

    pub(crate) fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(address) => address.port(),
            Address::Unix(path) => panic!("{path:?} has no port"),
        }
    }

    pub(crate) async fn get(&self, target: &str) -> Received {
        self.client().await.get(target).await
    }

    /// Stops the server; that of axum waits for its clients to be gone.
    pub(crate) async fn stop(self) {
        if let Address::Unix(path) = &self.address {
            std::fs::remove_file(path).unwrap();
        }
        match self.running {
            Running::Task(task) => {
                task.abort();
                assert!(soon(task).await.unwrap_err().is_cancelled());
            }
            Running::Axum(stop, task) => {
                stop.send(()).unwrap();
                soon(task).await.unwrap().unwrap();
            }
            Running::Actix(handle, task) => {
                soon(handle.stop(false)).await;
                soon(task).await.unwrap().unwrap();
            }
        }
    }
}

/// Tells the same story of a site to servers of these kinds.
pub(crate) async fn on(kinds: &[Kind], site: &Site, story: impl AsyncFn(&Server)) {
    for &kind in kinds {
        eprintln!("on {kind:?}");
        let server = site.serve(kind).await;
        story(&server).await;
        server.stop().await;
    }
}

async fn accept<L, S, B>(mut listener: L, kind: Kind, service: S)
where
    L: Listener,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await;
        let service = TowerToHyperService::new(service.clone());
        // A connection ends with an error where a body does, or where its client is gone.
        connections.spawn(async move {
            let _ = match kind {
                Kind::PlainIo => {
                    let io = TokioIo::new(PlainIo(socket));
                    http1::Builder::new().serve_connection(io, service).await
                }
                Kind::TowerHttp2 | Kind::AxumHttp2 => {
                    let builder = http2::Builder::new(TokioExecutor::new());
                    builder
                        .serve_connection(TokioIo::new(socket), service)
                        .await
                }
                _ => {
                    let io = TokioIo::new(socket);
                    http1::Builder::new().serve_connection(io, service).await
                }
            };
        });
    }
}

/// A socket that does not write several buffers at a time.
struct PlainIo<T>(T);

impl<T: AsyncRead + Unpin> AsyncRead for PlainIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for PlainIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// A response whose body is polled here.
pub(crate) struct Local {
    headers: Vec<(String, String)>,
    body: LocalBody,
}

enum LocalBody {
    Http(TowerBody),
    Actix(Pin<Box<BoxBody>>),
}

impl Local {
    fn from_http<B>(response: Response<B>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (head, body) = response.into_parts();
        Self {
            headers: texts(&head.headers),
            body: LocalBody::Http(body.map_err(Into::into).boxed_unsync()),
        }
    }

    fn from_actix(response: HttpResponse) -> Self {
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| {
            let value = value.to_str().unwrap();
            (name.as_str().to_owned(), value.to_owned())
        });
        Self {
            headers: headers.collect(),
            body: LocalBody::Actix(Box::pin(response.into_body())),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| &**value)
    }

    /// The body, where it may leave its thread.
    pub(crate) fn into_http(self) -> Option<impl Body + Send> {
        match self.body {
            LocalBody::Http(body) => Some(body),
            LocalBody::Actix(_) => None,
        }
    }

    /// The next piece of the body; `Err` where it breaks off.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, ()>> {
        match &mut self.body {
            LocalBody::Http(body) => {
                let frame = body.frame().await?;
                Some(frame.map(|frame| frame.into_data().unwrap()).map_err(drop))
            }
            LocalBody::Actix(body) => {
                let next = poll_fn(|cx| body.as_mut().poll_next(cx)).await?;
                Some(next.map_err(drop))
            }
        }
    }

    pub(crate) async fn bytes(&mut self) -> Bytes {
        self.next().await.unwrap().unwrap()
    }

    /// All of a body that ends.
    pub(crate) async fn text(mut self) -> String {
        let mut text = Vec::new();
        while let Some(bytes) = self.next().await {
            text.extend_from_slice(&bytes.unwrap());
        }
        String::from_utf8(text).unwrap()
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let texts = headers.iter().map(|(name, value)| {
        let value = value.to_str().unwrap();
        (name.as_str().to_owned(), value.to_owned())
    });
    texts.collect()
}
