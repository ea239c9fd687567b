//! Clients that leave, and answers that are stopped, elsewhere than where they are produced.

use std::time::Duration;

use crate::{
    client::{End, Response},
    peer::{Peer, Setup},
    place::Place,
    site::Kind,
    text::{contents, said},
};

const WAYS: [(Kind, Kind); 2] = [(Kind::Axum, Kind::Actix), (Kind::Actix, Kind::Axum)];

/// Reads to the end of a response that was stopped.
async fn cancelled(mut response: Response) -> Vec<(String, String)> {
    assert_eq!(response.end().await, End::Complete);
    let events = response.parsed().events;
    let (name, data, id) = events.last().unwrap();
    let told = (&**name, &**data, &**id);
    assert_eq!(told, ("sse.bye", r#"{"reason":"cancelled"}"#, "r.ended"));
    contents(&events)
}

#[tokio::test]
async fn an_answer_is_stopped_from_another_process() {
    let Some(place) = Place::redis() else {
        return;
    };
    let mut setup = Setup::new(&place);
    // The producer looks three times in a lease.
    setup.lease = Duration::from_secs(3);
    let [mut producing, mut elsewhere] = Peer::two(&setup).await;
    for (one, other) in WAYS {
        let mut first = producing.get(one, "/1000").await;
        producing.release("/1000", 2).await;
        let id = first.events(3).await.remove(0).2;
        let mut listening = elsewhere.come_back(other, "/1000", &id).await;
        listening.events(2).await;
        assert_eq!(producing.alive().await, 1);
        assert!(elsewhere.stop(&id).await);
        for response in [first, listening] {
            assert_eq!(cancelled(response).await, said(2));
        }
        producing.is_idle().await;
        assert!(!elsewhere.stop(&id).await);
        assert!(!producing.stop(&id).await);
        let again = elsewhere.come_back(other, "/1000", &id).await;
        assert_eq!(cancelled(again).await, said(2));
    }
}

#[tokio::test]
async fn who_listens_elsewhere_keeps_an_answer_going() {
    let Some(place) = Place::redis() else {
        return;
    };
    let mut setup = Setup::new(&place);
    setup.lease = Duration::from_secs(1);
    setup.goes_on = Duration::from_secs(2);
    let [mut producing, elsewhere] = Peer::two(&setup).await;
    // Both at once, since they take their time.
    let mut first = Vec::new();
    let mut listening = Vec::new();
    for ((one, other), path) in WAYS.into_iter().zip(["/a/1000", "/b/1000"]) {
        let mut client = producing.get(one, path).await;
        let id = client.events(1).await.remove(0).2;
        let mut again = elsewhere.come_back(other, path, &id).await;
        // With this the producer reads what the other one has noted.
        producing.release(path, 1).await;
        again.events(1).await;
        listening.push((again, other, path, id));
        first.push(client);
    }
    drop(first);
    // Longer than what they have noted is good for, so that they have to note it again.
    tokio::time::sleep(setup.lease * 4 + setup.goes_on).await;
    assert_eq!(producing.alive().await, 2);
    let mut left = Vec::new();
    for (mut client, other, path, id) in listening {
        producing.release(path, 1).await;
        assert_eq!(contents(&client.events(2).await), said(2));
        left.push((other, path, id));
    }
    producing.is_idle().await;
    for (other, path, id) in left {
        let again = elsewhere.come_back(other, path, &id).await;
        assert_eq!(cancelled(again).await, said(2));
    }
    assert_eq!(producing.runs().await, 2);
}
