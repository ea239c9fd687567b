//! The same answer for requests with the same key, on whichever process they come.

use crate::{
    client::{End, Request},
    peer::{Peer, Setup},
    place::Place,
    site::Kind,
    text::{contents, said},
};

#[tokio::test]
async fn of_two_that_come_at_once_one_produces() {
    const EVENTS: usize = 5;
    let Some(place) = Place::redis() else {
        return;
    };
    let [mut one, mut other] = Peer::two(&Setup::new(&place)).await;
    let mut runs = 0;
    for round in 0..24 {
        let kind = |bit| match round & bit {
            0 => Kind::Axum,
            _ => Kind::Actix,
        };
        let ask = || Request::new("POST", "/5").header("idempotency-key", format!("k{round}"));
        let (first, second) = tokio::join!(one.send(kind(1), ask()), other.send(kind(2), ask()));
        let before = (one.runs().await, other.runs().await);
        assert_eq!(before.0 + before.1, runs + 1, "round {round}");
        runs += 1;
        // Only one of them has a handler that waits.
        for peer in [&mut one, &mut other] {
            if peer.alive().await > 0 {
                peer.release("/5", EVENTS).await;
            }
        }
        let mut ids = Vec::new();
        for mut response in [first, second] {
            assert_eq!(response.end().await, End::Complete);
            let events = response.parsed().events;
            assert_eq!(contents(&events), said(EVENTS));
            let events = events.into_iter().filter(|(name, ..)| name != "sse.open");
            ids.push(events.map(|(_, _, id)| id).collect::<Vec<_>>());
        }
        assert_eq!(ids[0], ids[1]);
        // Who comes late gets it whole, and from the middle.
        let mut late = other.send(kind(1), ask()).await;
        assert_eq!(late.end().await, End::Complete);
        assert_eq!(contents(&late.parsed().events), said(EVENTS));
        let mut rest = one.come_back(kind(2), "/5", &ids[0][1]).await;
        assert_eq!(rest.end().await, End::Complete);
        assert_eq!(contents(&rest.parsed().events), said(EVENTS)[2..]);
    }
    assert_eq!(one.runs().await + other.runs().await, runs);
}
