//! What it costs the server.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tower_sse::{
    Hub, LastEventId, TopicName,
    store::{Append, Appended, EventStore, NewRecord, Read, ReadFrom, StoreErrorKind},
};

use super::*;

fn consumers(server: &Server) -> u64 {
    let told = server.monitored("jsz").unwrap();
    told["consumers"].as_u64().unwrap()
}

fn requests(server: &Server) -> u64 {
    let told = server.monitored("varz").unwrap();
    told["in_msgs"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_topics_make_one_consumer_for_each_process() {
    const TOPICS: usize = 1000;
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let topics: Vec<TopicName> = (0..TOPICS)
        .map(|number| TopicName::new(format!("topic.{number}")).unwrap())
        .collect();
    let mut hubs = Vec::new();
    let mut clients = Vec::new();
    // A store and a hub each, as in a process.
    for _ in 0..3 {
        let hub = Hub::with_store(server.connect().await);
        for topic in &topics {
            clients.push(hub.subscribe(topic, LastEventId::Absent).events());
        }
        hubs.push(hub);
    }
    let opened = clients.iter_mut().map(|client| client.next());
    for open in timeout(PATIENCE, futures_util::future::join_all(opened))
        .await
        .unwrap()
    {
        assert_eq!(open.unwrap().event_type(), "sse.open");
    }
    let one_each = async {
        while consumers(&server) != 3 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, one_each).await.unwrap();
    let store = server.connect().await;
    for topic in &topics {
        let append = Append::new([event(topic)]);
        let _ = store.append(topic, append).await.unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let event = timeout(PATIENCE, client.next()).await.unwrap().unwrap();
        assert_eq!(event.data(), topics[number % TOPICS].as_str());
    }
    assert_eq!(consumers(&server), 3);
}

#[tokio::test]
async fn topics_at_rest_cost_one_request_a_round() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let topics: Vec<TopicName> = (0..500)
        .map(|number| TopicName::new(format!("topic-{number}")).unwrap())
        .collect();
    for topic in topics.iter().step_by(2) {
        let _ = store.append(topic, Append::new([event(1)])).await.unwrap();
    }
    let heads = store.heads(&topics).await.unwrap();
    let before = requests(&server);
    for _ in 0..10 {
        assert_eq!(store.heads(&topics).await.unwrap(), heads);
    }
    let asked = requests(&server) - before;
    assert!(asked < 60, "{asked} messages for ten rounds");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_together_are_one_message() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = Arc::new(server.connect().await);
    append(&store, "first").await;
    let publishers: Vec<_> = (0..200)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { append(&store, number).await })
        })
        .collect();
    let mut positions = Vec::new();
    for publisher in publishers {
        positions.push(publisher.await.unwrap().offset());
    }
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 200);
    let messages = server.monitored("jsz").unwrap()["messages"]
        .as_u64()
        .unwrap();
    assert!(messages < 150, "{messages} messages");
    assert_eq!(page(&store, ReadFrom::Oldest).await.records.len(), 201);
}

#[tokio::test]
async fn what_is_larger_than_a_message_is_refused() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let position = append(&store, 1).await;
    let half = NewRecord::event(None, "x".repeat(600 * 1024));
    let fits = Append::new([half.clone()]);
    let Appended::Stored(fitting) = store.append(&TOPIC, fits).await.unwrap() else {
        panic!("no condition was asked");
    };
    let many = (0..70_000).map(event);
    for append in [Append::new([half.clone(), half]), Append::new(many)] {
        let error = store.append(&TOPIC, append).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::TooLarge);
    }
    let read = store.read(&TOPIC, ReadFrom::After(position), ALL).await;
    let Read::Page(page) = read.unwrap() else {
        panic!("nothing was evicted");
    };
    assert_eq!(page.end(), fitting);
}
