//! A client whose connection is cut after every single event.

use crate::{
    client::{End, Request},
    peer::{Peer, Setup},
    place::Place,
    site::Kind,
    text::{contents, said},
    whatwg,
};

/// How a client comes: to which process, and to which framework there.
type Way = (usize, Kind);

/// Cuts the connection after every event of an answer, and comes back by another of the ways each time,
/// at times before there is more and at times after.
async fn cut_after_every_event(
    peers: &mut [Peer],
    ways: &[Way],
    method: &'static str,
    events: usize,
) {
    let runs = runs(peers).await;
    let path = format!("/{events}");
    let (producer, kind) = ways[0];
    let mut first = peers[producer]
        .send(kind, Request::new(method, &path))
        .await;
    let (name, data, mut id) = first.events(1).await.remove(0);
    assert_eq!((&*name, &*data), ("sse.open", "{}"));
    drop(first);
    let mut came = Vec::new();
    let (mut released, mut ends) = (0, 0);
    for way in (0..ways.len()).cycle().skip(1) {
        if fastrand::bool() {
            let more = (events - released).min(fastrand::usize(1..4));
            peers[producer].release(&path, more).await;
            released += more;
        }
        let (peer, kind) = ways[way];
        let request = Request::new(method, &path).header("last-event-id", &id);
        let mut response = peers[peer].send(kind, request).await;
        if response.status == 204 {
            break;
        }
        assert_eq!(response.status, 200);
        if came.len() == events {
            // The end was on its way.
            assert_eq!(response.end().await, End::Complete);
            assert_eq!(response.parsed().events, []);
            ends += 1;
            continue;
        }
        if came.len() == released {
            peers[producer].release(&path, 1).await;
            released += 1;
        }
        response
            .until(|seen| !whatwg::parse(seen).events.is_empty())
            .await;
        let event = response.parsed().events.remove(0);
        id.clone_from(&event.2);
        came.push(event);
    }
    assert!(ends <= 1, "told of the end {ends} times");
    assert_eq!(contents(&came), said(events));
    assert_eq!(self::runs(peers).await, runs + 1);
    for peer in peers {
        assert_eq!(peer.alive().await, 0);
    }
}

/// How often the handler ran, anywhere.
async fn runs(peers: &mut [Peer]) -> usize {
    let mut runs = 0;
    for peer in peers {
        runs += peer.runs().await;
    }
    runs
}

/// Produces in each framework, for both methods.
async fn cut_in_each_way(mut peers: impl AsMut<[Peer]>, events: usize) {
    let peers = peers.as_mut();
    let last = peers.len() - 1;
    for (one, other) in [(Kind::Axum, Kind::Actix), (Kind::Actix, Kind::Axum)] {
        // On the other process each time, and in the other framework every other time.
        let ways = [(0, one), (last, one), (0, other), (last, other)];
        for method in ["GET", "POST"] {
            cut_after_every_event(peers, &ways, method, events).await;
        }
    }
}

#[tokio::test]
async fn two_processes_that_share_redis() {
    let Some(place) = Place::redis() else {
        return;
    };
    cut_in_each_way(Peer::two(&Setup::new(&place)).await, 500).await;
}

#[tokio::test]
async fn one_process_with_memory() {
    let setup = Setup::new(&Place::memory());
    cut_in_each_way([Peer::start(&setup).await], 500).await;
}

#[cfg(feature = "file")]
#[tokio::test]
async fn one_process_with_a_file() {
    let place = Place::file();
    cut_in_each_way([Peer::start(&Setup::new(&place)).await], 500).await;
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn two_processes_that_share_nats() {
    let Some(place) = Place::nats() else {
        return;
    };
    cut_in_each_way(Peer::two(&Setup::new(&place)).await, 40).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn two_processes_that_share_postgres() {
    let Some(place) = Place::postgres() else {
        return;
    };
    cut_in_each_way(Peer::two(&Setup::new(&place)).await, 40).await;
}
