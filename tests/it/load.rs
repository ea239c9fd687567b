//! Many clients of one topic at once.

use futures_util::{StreamExt, future::join_all};
use serde::{Deserialize, Serialize};
use tower_sse::{Hub, Sse, SseLayer};

use crate::{
    client::{End, Response},
    servers::{Answer, Kind, Server, Site, on},
    sizes,
};

#[derive(Serialize, Deserialize)]
struct Tick {
    number: usize,
}

/// A stream that is open, and whether it is one that the server ends.
async fn open(server: &Server, ends: bool) -> (Response, bool) {
    let path = if ends { "/ending" } else { "/endless" };
    let mut response = server.get(path).await;
    assert_eq!(response.events(1).await[0].0, "sse.open");
    (response, ends)
}

async fn read((mut response, ends): (Response, bool), ticks: usize) -> Vec<(usize, String)> {
    if ends {
        assert_eq!(response.end().await, End::Complete);
    } else {
        response.events(1 + ticks).await;
    }
    let events = response.parsed().events;
    let read = events[1..].iter().map(|(_, data, id)| {
        let tick: Tick = serde_json::from_str(data).unwrap();
        (tick.number, id.clone())
    });
    read.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_one_of_many_clients_reads_the_same_events_without_a_gap() {
    let (clients, ticks) = (sizes(100, 1_000), sizes(10, 100));
    // Both ends of all connections are here.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    for kind in [Kind::Tower, Kind::Axum, Kind::AxumHttp2, Kind::Actix] {
        let hub = Hub::new();
        let followed = hub.clone();
        let site = Site::new(move |seen| -> Box<dyn Answer> {
            let subscription = followed.subscribe("ticks", seen.last);
            match &*seen.path {
                "/ending" => Box::new(Sse::new(subscription.events().take(1 + ticks))),
                _ => Box::new(Sse::new(subscription)),
            }
        });
        on(&[kind], &site.layer(SseLayer::new()), async |server| {
            let opened = (0..clients).map(|client| open(server, client % 2 == 0));
            let opened = join_all(opened).await;
            let topic = hub.topic("ticks").unwrap();
            let mut published = Vec::new();
            for number in 0..ticks {
                let id = topic.publish(&Tick { number }).await.unwrap();
                published.push((number, id.as_str().to_owned()));
            }
            let reading = opened.into_iter().map(|opened| read(opened, ticks));
            for read in join_all(reading).await {
                assert_eq!(read, published);
            }
        })
        .await;
    }
}
