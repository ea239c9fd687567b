//! Records that are gone.

use std::time::{Duration, Instant};

use servers::{Redis, Server};

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
        peers[0].release(3).await;
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
    for kind in KINDS {
        let mut first = peers[0].get(kind, "/5").await;
        peers[0].release(2).await;
        let ids: Vec<_> = first
            .events(3)
            .await
            .into_iter()
            .map(|event| event.2)
            .collect();
        let mut listening = peers[1].come_back(kind, "/5", &ids[0]).await;
        listening.events(2).await;
        assert_eq!(server.cli(&["FLUSHALL"]), "OK");
        peers[0].release(3).await;
        // The one has a producer yet, the other has lost it.
        assert_eq!(first.end().await, End::Complete);
        let events = first.parsed().events;
        assert_eq!(contents(&events), said(5));
        assert_eq!(events[3].1, r#"{"resumable":false}"#);
        assert_eq!(listening.end().await, End::Complete);
        assert!(listening.text().ends_with(UNKNOWN), "{}", listening.text());
        is_unknown(&peers[1], kind, "/5", &ids[1]).await;
    }
}

#[tokio::test]
async fn a_record_goes_after_its_time_in_every_store() {
    for place in Place::all() {
        let mut setup = Setup::new(&place);
        // Also where a producer would not give a sign of life for longer.
        setup.kept_for = Duration::from_millis(1500);
        let mut peers = vec![Peer::start(&setup).await];
        while peers.len() < place.shared_by {
            peers.push(Peer::start(&setup).await);
        }
        let last = peers.len() - 1;
        for kind in KINDS {
            eprintln!("{} in {kind:?}", place.store);
            let mut first = peers[0].get(kind, "/4").await;
            let open = first.events(1).await.remove(0).2;
            peers[0].release(2).await;
            // It notes that it is there, which is no reason to keep the record for longer.
            let mut listening = peers[last].come_back(kind, "/4", &open).await;
            listening.events(2).await;
            tokio::time::sleep(setup.kept_for * 2).await;
            let mut again = peers[last].come_back(kind, "/4", &open).await;
            assert_eq!(contents(&again.events(2).await), said(2));
            let ends = Instant::now();
            peers[0].release(2).await;
            for response in [&mut first, &mut listening, &mut again] {
                assert_eq!(response.end().await, End::Complete);
                assert_eq!(contents(&response.parsed().events), said(4));
            }
            soon(async {
                loop {
                    let mut rest = peers[last].come_back(kind, "/4", &open).await;
                    assert_eq!(rest.end().await, End::Complete);
                    if rest.text() == UNKNOWN {
                        break;
                    }
                    assert_eq!(contents(&rest.parsed().events), said(4));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
            assert!(ends.elapsed() >= setup.kept_for, "{:?}", ends.elapsed());
            for peer in &peers {
                is_unknown(peer, kind, "/4", &open).await;
            }
        }
    }
}
