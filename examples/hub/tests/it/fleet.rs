//! Many clients of many topics over several processes, and what they cost the server.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use servers::Server;
use tokio::time::sleep;

use crate::{
    backend::{Backend, hubs},
    client::{Client, get, publish},
};

const TOPICS: usize = 1_000;
const PROCESSES: usize = 3;
/// Longer than the slow round, in which a process compares the heads of all its topics.
const IDLE: Duration = Duration::from_secs(11);

on_each_server!(a_thousand_topics_are_one_listener_in_each_process);

async fn a_thousand_topics_are_one_listener_in_each_process<E: Backend>(server: Server<E>) {
    // The hubs inherit it.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let hubs = hubs::<PROCESSES>(&server.url());
    let clients = stream::iter(0..TOPICS).map(async |topic| {
        let hub = &hubs[topic % PROCESSES];
        // Some logs are there, and some are to come.
        if topic % 2 == 0 {
            publish(hub, &format!("fleet/{topic}"), "n", "old").await;
        }
        let mut client = Client::open(get(hub, &format!("/topics/fleet/{topic}"))).await;
        client.expect("sse.open").await;
        client
    });
    let mut clients: Vec<_> = clients.buffered(64).collect().await;
    assert_eq!(E::listeners(&server), PROCESSES);
    let connections = E::connections(&server);
    assert!(connections <= 7 * PROCESSES, "{connections} connections");

    // In the first round it is found out what has not changed since.
    sleep(IDLE).await;
    let (requests, cpu) = (E::requests(&server), server.cpu_time());
    sleep(IDLE).await;
    let requests = E::requests(&server) - requests;
    let cpu = server.cpu_time() - cpu;
    eprintln!("{connections} connections, {requests} requests and {cpu:?} in {IDLE:?} of idleness");
    assert!(requests < 100, "{requests} requests");
    assert!(10 * cpu < IDLE, "{cpu:?}");

    // Through another process than that of the client.
    for topic in (0..TOPICS).step_by(TOPICS / 10) {
        let hub = &hubs[(topic + 1) % PROCESSES];
        publish(hub, &format!("fleet/{topic}"), "n", "new").await;
        assert_eq!(clients[topic].expect("n").await.data(), "new");
    }
    assert_eq!(E::listeners(&server), PROCESSES);
}
