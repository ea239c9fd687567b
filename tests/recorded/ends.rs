//! Producers that end before their answer does.

use std::time::{Duration, Instant};

use servers::{Engine, Network, Proxy, Redis, Server};

use crate::{
    client::{End, Request, Response},
    peer::{Peer, Setup},
    place::Place,
    site::Kind,
    text::{contents, said},
    whatwg::Event,
};

/// Short, but such that a busy machine is not taken for a dead process.
const LEASE: Duration = Duration::from_secs(2);

/// Who produces in which framework, and where its clients come back.
const WAYS: [(Kind, Kind); 2] = [(Kind::Axum, Kind::Actix), (Kind::Actix, Kind::Axum)];

/// The last event of a client for whom nothing more will come.
#[track_caller]
fn assert_told(events: &[Event], reason: &str) {
    let data = format!("{{\"reason\":\"{reason}\"}}");
    let expected = ("sse.bye".to_owned(), data, "r.ended".to_owned());
    assert_eq!(events.last(), Some(&expected));
}

/// Reads to the end of a response that is not whole.
async fn broken(mut response: Response, reason: &str) -> Vec<(String, String)> {
    assert_eq!(response.end().await, End::Broken);
    let events = response.parsed().events;
    assert_told(&events, reason);
    contents(&events)
}

/// Begins an answer that would go on, of which three events are there; returns their ids, with the
/// first place before them.
async fn begin(peer: &mut Peer, kind: Kind) -> (Response, Vec<String>) {
    let mut first = peer.get(kind, "/1000").await;
    peer.release("/1000", 3).await;
    let ids = first.events(4).await.into_iter().map(|(_, _, id)| id);
    let ids = ids.collect();
    (first, ids)
}

#[tokio::test]
async fn a_producer_that_is_killed_is_told_after_its_lease() {
    let Some(place) = Place::redis() else {
        return;
    };
    let mut setup = Setup::new(&place);
    setup.lease = LEASE;
    for (one, other) in WAYS {
        let [mut producing, mut elsewhere] = Peer::two(&setup).await;
        let (mut first, ids) = begin(&mut producing, one).await;
        let mut listening = elsewhere.come_back(other, "/1000", &ids[1]).await;
        assert_eq!(contents(&listening.events(2).await), said(3)[1..]);
        let alive = Instant::now();
        producing.release("/1000", 1).await;
        listening.events(3).await;
        producing.kill().await;
        assert_eq!(first.end().await, End::Broken);
        assert_eq!(broken(listening, "lost").await, said(4)[1..]);
        assert!(alive.elapsed() >= LEASE, "{:?}", alive.elapsed());
        // Who comes now is told at once, and then no more.
        for (place, id) in ids.iter().enumerate() {
            let again = elsewhere.come_back(other, "/1000", id).await;
            assert_eq!(broken(again, "lost").await, said(4)[place..]);
        }
        let over = elsewhere.come_back(other, "/1000", "r.ended").await;
        assert_eq!((over.status, elsewhere.runs().await), (204, 0));
    }
}

#[tokio::test]
async fn who_finds_no_producer_is_told_after_a_lease() {
    let Some(place) = Place::redis() else {
        return;
    };
    let mut setup = Setup::new(&place);
    setup.lease = LEASE;
    for (one, other) in WAYS {
        let mut producing = Peer::start(&setup).await;
        let (_first, ids) = begin(&mut producing, one).await;
        producing.kill().await;
        // It has never heard of it.
        let mut next = Peer::start(&setup).await;
        let came = Instant::now();
        let again = next.come_back(other, "/1000", &ids[1]).await;
        let tab = next.come_back(one, "/1000", &ids[3]).await;
        assert_eq!(broken(again, "lost").await, said(3)[1..]);
        assert!(came.elapsed() >= LEASE, "{:?}", came.elapsed());
        assert_eq!(broken(tab, "lost").await, []);
        assert_eq!(next.runs().await, 0);
    }
}

#[tokio::test]
async fn a_producer_that_drains_goes_on_for_clients_elsewhere() {
    const EVENTS: usize = 12;
    let Some(place) = Place::redis() else {
        return;
    };
    let mut setup = Setup::new(&place);
    setup.drain = Duration::from_secs(30);
    for (one, other) in WAYS {
        let [mut producing, elsewhere] = Peer::two(&setup).await;
        let path = format!("/{EVENTS}");
        let mut first = producing.get(one, &path).await;
        producing.release(&path, 5).await;
        first.events(6).await;
        // Streams end one after the other, and the one that is of interest among the first.
        let mut others = Vec::new();
        for _ in 0..60 {
            let id = &first.parsed().events[0].2;
            others.push(producing.come_back(other, &path, id).await);
        }
        producing.terminate();
        assert_eq!(first.end().await, End::Complete);
        let mut came = first.parsed().events;
        let (name, data, id) = came.last().unwrap().clone();
        assert_eq!((&*name, &*data), ("sse.bye", r#"{"reason":"draining"}"#));
        // The drained one takes nobody any more, and is not over.
        let ask = Request::get(&path).header("accept", "text/event-stream");
        let mut refused = producing.send(one, ask.header("last-event-id", &id)).await;
        assert_eq!(refused.events(1).await[0].0, "sse.bye");
        let mut again = elsewhere.come_back(other, &path, &id).await;
        producing.release(&path, 2).await;
        again.events(2).await;
        producing.release(&path, EVENTS - 7).await;
        assert_eq!(again.end().await, End::Complete);
        came.extend(again.parsed().events);
        assert_eq!(contents(&came), said(EVENTS));
        let last = &came.last().unwrap().2;
        assert_eq!(elsewhere.come_back(other, &path, last).await.status, 204);
        drop((others, refused));
        producing.has_ended().await;
    }
}

#[tokio::test]
async fn what_does_not_end_before_the_drain_does_is_told_as_failed() {
    let Some(place) = Place::redis() else {
        return;
    };
    // A lease that is never over here: it is the producer that says so.
    let mut setup = Setup::new(&place);
    setup.drain = Duration::from_millis(500);
    for (one, other) in WAYS {
        let [mut producing, mut elsewhere] = Peer::two(&setup).await;
        let (_first, ids) = begin(&mut producing, one).await;
        let listening = elsewhere.come_back(other, "/1000", &ids[1]).await;
        producing.terminate();
        assert_eq!(broken(listening, "failed").await, said(3)[1..]);
        producing.has_ended().await;
        let again = elsewhere.come_back(other, "/1000", &ids[0]).await;
        assert_eq!(broken(again, "failed").await, said(3));
        assert_eq!(elsewhere.runs().await, 0);
    }
}

#[tokio::test]
async fn a_handler_that_fails_is_told_elsewhere() {
    let Some(place) = Place::redis() else {
        return;
    };
    let setup = Setup::new(&place);
    let [mut producing, elsewhere] = Peer::two(&setup).await;
    for (one, other) in WAYS {
        let mut first = producing.get(one, "/fails/3").await;
        let id = first.events(1).await.remove(0).2;
        let listening = elsewhere.come_back(other, "/fails/3", &id).await;
        producing.release("/fails/3", 3).await;
        for response in [first, listening] {
            assert_eq!(broken(response, "failed").await, said(3));
        }
    }
}

#[tokio::test]
async fn a_producer_that_is_cut_off_from_the_store_is_fenced() {
    let Some(server) = Server::<Redis>::start(&[]) else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let mut near = Setup::at(server.url());
    near.lease = LEASE;
    let mut far = near.clone();
    far.store = Redis::url(proxy.port());
    for (one, other) in WAYS {
        let mut elsewhere = Peer::start(&near).await;
        let mut producing = Peer::start(&far).await;
        let (mut first, ids) = begin(&mut producing, one).await;
        let mut listening = elsewhere.come_back(other, "/1000", &ids[0]).await;
        listening.events(3).await;
        proxy.is(Network::Cut);
        producing.release("/1000", 2).await;
        assert_eq!(broken(listening, "lost").await, said(3));
        // Its own client is told, and goes on.
        let events = first.events(7).await;
        let (name, data, id) = &events[4];
        assert_eq!((&**name, &**data), ("sse.open", r#"{"resumable":false}"#));
        assert_eq!(id, "r.unrecorded");
        assert_eq!(contents(&events), said(5));
        proxy.is(Network::Whole);
        producing.release("/1000", 1).await;
        assert_eq!(contents(&first.events(8).await), said(6));
        // What is recorded stays as it was told.
        let again = elsewhere.come_back(other, "/1000", &ids[0]).await;
        assert_eq!(broken(again, "lost").await, said(3));
        assert_eq!(elsewhere.runs().await, 0);
    }
}
