//! A small HTTP client that shows what others hide: the framing of a body, and how it ended.

use std::{io, net::SocketAddr, panic::Location, path::PathBuf, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream, unix},
    time::timeout,
};

use crate::whatwg::{self, Parsed};

/// Only ever reached by what hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for what comes without delay, so that a hang is a failure.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    in_time(future, Location::caller())
}

async fn in_time<F: Future>(future: F, caller: &Location<'_>) -> F::Output {
    match timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("nothing came, at {caller}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http10,
    Http11,
    Http2,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Bytes,
}

impl Request {
    pub(crate) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("content-length", length)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    /// Of a socket that holds little.
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<unix::SocketAddr> for Address {
    fn from(address: unix::SocketAddr) -> Self {
        Self::Unix(address.as_pathname().unwrap().to_owned())
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Over HTTP/2 all requests share a connection, over HTTP/1 each has its own.
pub(crate) struct Client {
    address: Address,
    protocol: Protocol,
    http2: Option<http2::SendRequest<Full<Bytes>>>,
}

/// How much a client reads at a time.
const PIECE: u16 = 16 * 1024;

impl Client {
    pub(crate) async fn connect(address: Address, protocol: Protocol) -> Self {
        let mut client = Self {
            address,
            protocol,
            http2: None,
        };
        if protocol == Protocol::Http2 {
            let io = TokioIo::new(client.socket().await);
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(u32::from(PIECE));
            let (sender, connection) = soon(builder.handshake(io)).await.unwrap();
            tokio::spawn(connection);
            client.http2 = Some(sender);
        }
        client
    }

    async fn socket(&self) -> Box<dyn Socket> {
        match &self.address {
            Address::Tcp(address) => {
                let socket = TcpStream::connect(address).await.unwrap();
                socket.set_nodelay(true).unwrap();
                Box::new(socket)
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        }
    }

    pub(crate) async fn get(&self, target: &str) -> Response {
        self.send(Request::get(target)).await
    }

    pub(crate) async fn send(&self, request: Request) -> Response {
        match &self.http2 {
            Some(sender) => soon(send_http2(sender.clone(), request)).await,
            None => soon(self.send_http1(request)).await,
        }
    }

    async fn send_http1(&self, request: Request) -> Response {
        let mut socket = self.socket().await;
        let version = match self.protocol {
            Protocol::Http10 => "1.0",
            _ => "1.1",
        };
        let Request {
            method,
            target,
            headers,
            body: sent,
        } = request;
        let mut head = format!("{method} {target} HTTP/{version}\r\nhost: test\r\n").into_bytes();
        for (name, value) in headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(&value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(&sent);
        socket.write_all(&head).await.unwrap();

        let mut body = Http1 {
            socket,
            buffer: BytesMut::new(),
            framing: Framing::Close,
        };
        let end = loop {
            let end = body.buffer.windows(4).position(|end| end == b"\r\n\r\n");
            match end {
                Some(end) => break end,
                None => assert!(body.fill().await.unwrap(), "no response"),
            }
        };
        let head = String::from_utf8(body.buffer.split_to(end + 4).to_vec()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let status: u16 = status.parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let headers = headers.collect();
        let mut response = Response::new(status, headers);
        body.framing = match (method, status, response.header("content-length")) {
            // To a HEAD, whatever comes up to the end of the connection is too much.
            ("HEAD", ..) | (_, 204 | 304, _) => Framing::Close,
            (_, _, Some(length)) => Framing::Length(length.parse().unwrap()),
            _ if response.header("transfer-encoding") == Some("chunked") => Framing::ChunkSize,
            _ => Framing::Close,
        };
        response.body = Body::Http1(body);
        response
    }
}

async fn send_http2(mut sender: http2::SendRequest<Full<Bytes>>, request: Request) -> Response {
    let mut builder = http::Request::builder()
        .method(request.method)
        .uri(format!("http://test{}", request.target));
    for (name, value) in request.headers {
        if name != "connection" {
            builder = builder.header(name, value);
        }
    }
    let request = builder.body(Full::new(request.body)).unwrap();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| {
        let value = value.to_str().unwrap();
        (name.as_str().to_owned(), value.to_owned())
    });
    let headers = headers.collect();
    let mut seen = Response::new(response.status().as_u16(), headers);
    seen.body = Body::Http2(response.into_body());
    seen
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last chunk, its last byte of a known length, or the end of its stream.
    Complete,
    /// With the connection, which is all that there is to tell the end.
    Closed,
    /// Before it was complete.
    Broken,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    body: Body,
    /// The body as far as it was read.
    pub(crate) seen: Vec<u8>,
    end: Option<End>,
}

enum Body {
    Nothing,
    Http1(Http1),
    Http2(Incoming),
}

impl Response {
    fn new(status: u16, headers: Vec<(String, String)>) -> Self {
        Self {
            status,
            headers,
            body: Body::Nothing,
            seen: Vec::new(),
            end: None,
        }
    }

    /// The value of a header that comes once at most.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| &**value);
        assert!(values.next().is_none(), "{name} comes twice");
        value
    }

    /// Reads one piece more, and returns how the body ended if it did.
    pub(crate) async fn more(&mut self) -> Option<End> {
        let piece = match (self.end, &mut self.body) {
            (Some(end), _) => Err(end),
            (None, Body::Nothing) => Err(End::Complete),
            (None, Body::Http1(body)) => body.piece().await,
            (None, Body::Http2(body)) => match body.frame().await {
                Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => Err(End::Broken),
                None => Err(End::Complete),
            },
        };
        match piece {
            Ok(piece) => self.seen.extend_from_slice(&piece),
            Err(end) => self.end = Some(end),
        }
        self.end
    }

    /// Reads up to the end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> impl Future<Output = End> {
        soon(async {
            loop {
                if let Some(end) = self.more().await {
                    return end;
                }
            }
        })
    }

    /// Reads until what was seen is enough.
    #[track_caller]
    pub(crate) fn until(&mut self, enough: impl Fn(&[u8]) -> bool) -> impl Future<Output = ()> {
        self.read_until(enough, Location::caller())
    }

    // Heartbeats do not count as progress.
    async fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool, caller: &Location<'_>) {
        let read = async {
            while !enough(&self.seen) {
                if self.more().await.is_some() {
                    return false;
                }
            }
            true
        };
        let read = timeout(DEADLINE, read).await;
        let seen = String::from_utf8_lossy(&self.seen);
        assert_eq!(
            read,
            Ok(true),
            "more was to come than {seen:?}, at {caller}"
        );
    }

    /// Reads until there are this many events, and returns all.
    #[track_caller]
    pub(crate) fn events(&mut self, count: usize) -> impl Future<Output = Vec<whatwg::Event>> {
        let caller = Location::caller();
        async move {
            let enough = |seen: &[u8]| {
                // The oracle is slow, so it is not asked before there are as many lines.
                let lines = seen.iter().filter(|byte| **byte == b'\n').count();
                lines >= 2 * count && whatwg::parse(seen).events.len() >= count
            };
            self.read_until(enough, caller).await;
            self.parsed().events
        }
    }

    pub(crate) fn parsed(&self) -> Parsed {
        whatwg::parse(&self.seen)
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.seen).unwrap()
    }
}

struct Http1 {
    socket: Box<dyn Socket>,
    buffer: BytesMut,
    framing: Framing,
}

enum Framing {
    Close,
    Length(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
}

impl Http1 {
    /// Whether there was more to read.
    async fn fill(&mut self) -> io::Result<bool> {
        let piece = usize::from(PIECE);
        let mut piece = BytesMut::with_capacity(piece).limit(piece);
        let read = self.socket.read_buf(&mut piece).await?;
        self.buffer.extend_from_slice(piece.get_ref());
        Ok(read > 0)
    }

    async fn piece(&mut self) -> Result<Bytes, End> {
        loop {
            let taken = match &mut self.framing {
                Framing::Length(0) => return Err(End::Complete),
                Framing::Close => self.buffer.len(),
                Framing::Length(left) => {
                    let taken = self.buffer.len().min(*left);
                    *left -= taken;
                    taken
                }
                Framing::Chunk(left) => {
                    let taken = self.buffer.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.framing = Framing::ChunkEnd;
                    }
                    taken
                }
                Framing::ChunkEnd => {
                    if self.buffer.len() >= 2 {
                        assert_eq!(&self.buffer.split_to(2)[..], b"\r\n");
                        self.framing = Framing::ChunkSize;
                        continue;
                    }
                    0
                }
                Framing::ChunkSize => {
                    let line = self.buffer.windows(2).position(|end| end == b"\r\n");
                    if let Some(end) = line {
                        let size = str::from_utf8(&self.buffer[..end]).unwrap();
                        let size = usize::from_str_radix(size, 16).unwrap();
                        self.buffer.advance(end + 2);
                        if size == 0 {
                            return Err(End::Complete);
                        }
                        self.framing = Framing::Chunk(size);
                        continue;
                    }
                    0
                }
            };
            if taken > 0 {
                return Ok(self.buffer.split_to(taken).freeze());
            }
            match (self.fill().await, &self.framing) {
                (Ok(true), _) => {}
                (Ok(false), Framing::Close) => return Err(End::Closed),
                _ => return Err(End::Broken),
            }
        }
    }
}
