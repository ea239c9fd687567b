//! Clients that go, or that take nothing, on real sockets.

use std::time::Duration;

use futures_util::stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};
use tower_sse::{Event, Hub, LastEventId, Limit, Sse, SseLayer};

use super::Alive;
use crate::{
    client::{self, Address},
    servers::{Kind, Server, Site, on},
};

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    client::soon(wait).await;
}

/// A site that has always more, so that all buffers fill.
fn torrent(alive: &Alive) -> Site {
    let alive = alive.clone();
    let text = "x".repeat(10_000);
    Site::new(move |_| {
        let text = text.clone();
        Sse::new(alive.keep(stream::repeat_with(move || Event::new(text.clone()))))
    })
}

#[tokio::test]
async fn a_client_that_never_reads_gives_its_permit_back() {
    let (alive, limit) = (Alive::default(), Limit::total(1));
    let layer = SseLayer::new().write_stall(Duration::from_millis(300));
    let site = torrent(&alive).layer(layer.limit(limit.clone()));
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        let response = client.get("/").await;
        assert_eq!((response.status, limit.open()), (200, 1));
        until(|| limit.open() == 0 && alive.count() == 0).await;
        // The connection is still there: its end is the socket's.
        drop(response);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_left_alone() {
    let alive = Alive::default();
    let layer = SseLayer::new().write_stall(Duration::from_secs(20));
    let site = torrent(&alive).layer(layer);
    on(&[Kind::Axum, Kind::Actix], &site, async |server| {
        let mut socket = open(server).await;
        let mut byte = [0];
        for _ in 0..500 {
            client::soon(socket.read_exact(&mut byte)).await.unwrap();
        }
        assert_eq!(alive.count(), 1);
    })
    .await;
}

async fn open(server: &Server) -> TcpStream {
    let Address::Tcp(address) = server.address() else {
        panic!("a socket of TCP");
    };
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    socket
}

#[tokio::test]
async fn a_client_that_resets_is_noticed() {
    let (alive, limit) = (Alive::default(), Limit::total(1));
    let site = alive
        .site(false)
        .layer(SseLayer::new().limit(limit.clone()));
    on(
        &[Kind::Tower, Kind::Axum, Kind::Actix],
        &site,
        async |server| {
            for resets in [true, false] {
                let mut socket = open(server).await;
                let mut seen = [0; 64];
                client::soon(socket.read_exact(&mut seen)).await.unwrap();
                assert_eq!(limit.open(), 1);
                if resets {
                    socket.set_zero_linger().unwrap();
                }
                drop(socket);
                until(|| limit.open() == 0 && alive.count() == 0).await;
            }
        },
    )
    .await;
}

/// It has said that it sends no more, and reads on: so do some clients with `Connection: close`.
#[tokio::test]
async fn a_client_that_half_closes_still_counts_or_is_gone() {
    let (alive, limit) = (Alive::default(), Limit::total(1));
    let site = alive.site(false).layer(
        SseLayer::new()
            .heartbeat(Duration::from_millis(50))
            .limit(limit.clone()),
    );
    on(
        &[Kind::Tower, Kind::Axum, Kind::Actix],
        &site,
        async |server| {
            let mut socket = open(server).await;
            let mut seen = [0; 64];
            client::soon(socket.read_exact(&mut seen)).await.unwrap();
            socket.shutdown().await.unwrap();
            // Whichever the server makes of it, both agree.
            until(|| limit.open() == alive.count()).await;
            drop(socket);
            until(|| limit.open() == 0 && alive.count() == 0).await;
        },
    )
    .await;
}

/// One that takes nothing, among others: they get everything, and it is ended.
#[tokio::test]
async fn a_stalled_client_costs_only_itself() {
    let hub = Hub::new();
    let limit = Limit::total(100);
    let subscribe = hub.clone();
    let site = Site::new(move |_| Sse::new(subscribe.subscribe("news", LastEventId::Absent)));
    let layer = SseLayer::new().write_stall(Duration::from_secs(3));
    let site = site.layer(layer.limit(limit.clone()));
    for kind in [Kind::Axum, Kind::Actix, Kind::TowerHttp2] {
        // Where the kernel keeps little, so that much less than this machine can do fills all buffers.
        let server = site.serve_tight(kind).await;
        let stuck = server.get("/").await;
        let mut open = Vec::new();
        for _ in 0..20 {
            let mut other = server.get("/").await;
            other.events(1).await;
            open.push(other);
        }
        let mut others = JoinSet::new();
        for mut other in open {
            let limit = limit.clone();
            others.spawn(async move {
                while limit.open() == 21 {
                    assert_eq!(other.more().await, None);
                    other.seen.clear();
                }
                other
            });
        }
        let topic = hub.topic::<Event>("news").unwrap();
        let text = "y".repeat(10_000);
        let publish = async {
            while limit.open() == 21 {
                topic.publish(&Event::new(text.clone())).await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
        };
        client::soon(publish).await;
        assert_eq!(limit.open(), 20, "the one that took nothing");
        // So that those who wait for more see it, too.
        topic.publish(&Event::new("last")).await.unwrap();
        let others = client::soon(others.join_all()).await;
        drop((stuck, others));
        until(|| limit.open() == 0).await;
        server.stop().await;
    }
}
