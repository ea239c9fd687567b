//! Records that are gone.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use servers::{Redis, Server};
use tokio::time::sleep;

use crate::{
    client::{End, soon},
    peer::{Peer, Setup},
    place::Place,
    site::Kind,
    text::{contents, said},
};

/// What is sent to whoever asks for what is not there.
const UNKNOWN: &str = "event: sse.gap\ndata: {\"reason\":\"unknown\"}\nid: r.ended\n\n";

const KINDS: [Kind; 2] = [Kind::Axum, Kind::Actix];

/// Checks that a response is unknown, and that this is the end.
async fn is_unknown(peer: &Peer, kind: Kind, path: &str, id: &str) {
    let mut response = peer.come_back(kind, path, id).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    assert_eq!(response.end().await, End::Complete);
    assert_eq!(response.text(), UNKNOWN);
    let over = peer.come_back(kind, path, "r.ended").await;
    assert_eq!(over.status, 204);
}

#[tokio::test]
async fn an_id_from_before_a_wipe_is_unknown() {
    let Some(server) = Server::<Redis>::start(&[]) else {
        return;
    };
    let mut peers = Peer::two(&Setup::at(server.url())).await;
    for kind in KINDS {
        let mut whole = peers[0].get(kind, "/3").await;
        peers[0].release("/3", 3).await;
        assert_eq!(whole.end().await, End::Complete);
        let ids: Vec<_> = whole
            .parsed()
            .events
            .into_iter()
            .map(|event| event.2)
            .collect();
        assert_eq!(server.cli(&["FLUSHALL"]), "OK");
        for peer in &peers {
            for id in &ids {
                is_unknown(peer, kind, "/3", id).await;
            }
        }
        // Looking for it stores nothing.
        assert_eq!(server.cli(&["KEYS", "tower-sse:*"]), "");
    }
}

#[tokio::test]
async fn who_listens_while_the_store_is_wiped_is_told() {
    let Some(server) = Server::<Redis>::start(&[]) else {
        return;
    };
    let mut peers = Peer::two(&Setup::at(server.url())).await;
    let mut clients = Vec::new();
    for (kind, path) in [(Kind::Axum, "/axum/5"), (Kind::Actix, "/actix/5")] {
        let mut first = peers[0].get(kind, path).await;
        peers[0].release(path, 2).await;
        let ids = first.events(3).await.into_iter().map(|event| event.2);
        let ids: Vec<_> = ids.collect();
        let mut listening = peers[1].come_back(kind, path, &ids[0]).await;
        listening.events(2).await;
        clients.push((kind, path, first, listening, ids));
    }
    assert_eq!(server.cli(&["FLUSHALL"]), "OK");
    for (kind, path, mut first, mut listening, ids) in clients {
        peers[0].release(path, 3).await;
        // It still has its producer.
        assert_eq!(first.end().await, End::Complete);
        let events = first.parsed().events;
        assert_eq!(contents(&events), said(5));
        let (name, data, id) = &events[3];
        let told = (&**name, &**data, &**id);
        assert_eq!(told, ("sse.open", r#"{"resumable":false}"#, "r.unrecorded"));
        // And this one has not.
        assert_eq!(listening.end().await, End::Complete);
        assert!(listening.text().ends_with(UNKNOWN), "{}", listening.text());
        is_unknown(&peers[1], kind, path, &ids[1]).await;
    }
}

#[tokio::test]
async fn a_record_goes_after_its_time_in_every_store() {
    // All at once, since it takes time.
    let places = Place::all();
    join_all(places.iter().map(goes_after_its_time)).await;
}

async fn goes_after_its_time(place: &Place) {
    let mut setup = Setup::new(place);
    // Less than it takes the producer to give a sign of life.
    setup.kept_for = Duration::from_millis(1500);
    setup.lease = Duration::from_secs(6);
    let mut peers = vec![Peer::start(&setup).await];
    while peers.len() < place.shared_by {
        peers.push(Peer::start(&setup).await);
    }
    let elsewhere = peers.len() - 1;
    let mut clients = Vec::new();
    for (kind, path) in [(Kind::Axum, "/axum/4"), (Kind::Actix, "/actix/4")] {
        let mut first = peers[0].get(kind, path).await;
        let open = first.events(1).await.remove(0).2;
        peers[0].release(path, 2).await;
        // It notes that it is there, which is no reason to keep the record for longer.
        let mut listening = peers[elsewhere].come_back(kind, path, &open).await;
        listening.events(2).await;
        clients.push((kind, path, open, first, listening));
    }
    sleep(setup.kept_for * 2).await;
    for (kind, path, open, mut first, mut listening) in clients {
        let mut late = peers[elsewhere].come_back(kind, path, &open).await;
        assert_eq!(contents(&late.events(2).await), said(2), "{}", place.store);
        let ends = Instant::now();
        peers[0].release(path, 2).await;
        for response in [&mut first, &mut listening, &mut late] {
            assert_eq!(response.end().await, End::Complete);
            assert_eq!(contents(&response.parsed().events), said(4));
        }
        let again = || peers[elsewhere].come_back(kind, path, &open);
        soon(async {
            loop {
                let mut rest = again().await;
                assert_eq!(rest.end().await, End::Complete);
                if rest.text().ends_with(UNKNOWN) {
                    break;
                }
                assert_eq!(contents(&rest.parsed().events), said(4));
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        let kept = ends.elapsed();
        assert!(kept >= setup.kept_for, "{} for {kept:?}", place.store);
        for peer in &peers {
            is_unknown(peer, kind, path, &open).await;
        }
    }
}
