//! A herd of clients that all catch up at once, over sockets: what it takes of memory.
//!
//! In a process of its own, so that what is measured is of nothing else.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    env, fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroUsize,
    thread,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, routing::get};
use futures_util::StreamExt;
use socket2::{Domain, Socket, Type};
use tokio::{net::TcpSocket, time::sleep};
use tower_sse::{Hub, LastEventId, Sse, SseLayer, Start, Subscription, store::MemoryStore};

const EVENTS: usize = 256;
const EVENT: usize = 10_000;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// What a page is at most, and what is written around its events.
const PAGE: usize = 66 * KIB;
/// So little that what a client has not read is in the memory of the server.
const SOCKET: u32 = 16 * 1024;
/// Only ever reached by what hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a line of the status of this process says, in bytes.
fn memory(line: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line));
    let number = line.unwrap().trim_matches(|c: char| !c.is_ascii_digit());
    number.parse::<usize>().unwrap() * KIB
}

/// The most that was ever read for clients and not yet written, in bytes.
fn most_out(hub: &Hub) -> usize {
    let text = format!("{hub:?}");
    let number = text.split("most_bytes: ").nth(1).unwrap();
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap();
    number[..end].parse().unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let size = usize::try_from(SOCKET).unwrap();
    socket.set_recv_buffer_size(size).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut client = TcpStream::from(socket);
    // Without chunks, the body is what follows the head.
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

/// Reads from all clients in turn until each has so many bytes. Returns the longest that one took for
/// two pages, so for what has one page and the sockets' buffers in it.
fn read(clients: Vec<TcpStream>, bytes: usize) -> Duration {
    let begun = Instant::now();
    let mut piece = vec![0; 64 * KIB];
    let mut reading: Vec<_> = clients
        .into_iter()
        .map(|client| (client, 0, 0, begun))
        .collect();
    let mut longest = Duration::ZERO;
    while !reading.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{} still read", reading.len());
        reading.retain_mut(|(client, read, noted, at)| {
            match client.read(&mut piece) {
                Ok(0) => panic!("a stream has ended after {read} bytes"),
                Ok(more) => *read += more,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            longest = longest.max(at.elapsed());
            if *read >= *noted + 2 * PAGE {
                (*noted, *at) = (*read, Instant::now());
            }
            *read < bytes
        });
        // Nothing tells which of them has more; the server needs the processor meanwhile.
        thread::sleep(Duration::from_millis(1));
    }
    longest
}

async fn stream(State(hub): State<Hub>, last: LastEventId) -> Sse<Subscription> {
    Sse::new(hub.subscribe("history", last).start(Start::All))
}

/// How long the events of another topic take to a live client, the slowest of them.
async fn slowest(hub: Hub, events: usize) -> Duration {
    let topic = hub.topic::<usize>("live").unwrap();
    let mut live = hub.subscribe("live", LastEventId::Absent).events();
    live.next().await.unwrap();
    let mut slowest = Duration::ZERO;
    for number in 0..events {
        // Spread over the time in which others catch up.
        sleep(Duration::from_millis(5)).await;
        let begun = Instant::now();
        topic.publish(&number).await.unwrap();
        assert_eq!(live.next().await.unwrap().data(), number.to_string());
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_that_catches_up_stays_within_its_memory() {
    let (clients, budget) = match env::var_os("TOWER_SSE_LONG") {
        Some(_) => (1000, 32 * MIB),
        None => (100, 4 * MIB),
    };
    let number = |number| NonZeroUsize::new(number).unwrap();
    let store = MemoryStore::new().max_bytes(number(64 * MIB));
    let hub = Hub::with_store(store).replay_budget(number(16), number(budget));
    let topic = hub.topic::<str>("history").unwrap();
    for _ in 0..EVENTS {
        topic.publish(&"x".repeat(EVENT)).await.unwrap();
    }

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(SOCKET).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let app = Router::new()
        .route("/", get(stream))
        .layer(SseLayer::new())
        .with_state(hub.clone());
    let listener = socket.listen(1024).unwrap();
    let server = tokio::spawn(async { axum::serve(listener, app).await });

    let quiet = slowest(hub.clone(), 100).await;
    // Resets the peak.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    let herd = tokio::task::spawn_blocking(move || {
        let clients = (0..clients).map(|_| connect(address)).collect();
        // Long enough for a server that is given too much to take it. Where it is not, nothing fails.
        thread::sleep(Duration::from_secs(5));
        read(clients, EVENTS * EVENT)
    });
    let busy = slowest(hub.clone(), clients).await;
    let longest = herd.await.unwrap();
    let grown = memory("VmHWM:").saturating_sub(before);
    let out = most_out(&hub);
    eprintln!(
        "{clients} clients took {} MiB, {} MiB of it in pages, none longer than {longest:?} for two; the slowest live event took {busy:?}, and {quiet:?} before",
        grown / MIB,
        out / MIB
    );
    let bound = budget + clients * PAGE;
    // Otherwise a page may have been kept for so long that its client could have more.
    if longest < Duration::from_secs(10) {
        assert!(out <= bound, "{out} bytes of {bound}");
    }
    // What hyper holds for a client that keeps a page for too long is most of the bound.
    let bound = 2 * budget + clients * 512 * KIB;
    assert!(grown < bound, "{grown} bytes of {bound}");
    server.abort();
}
