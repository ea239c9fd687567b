//! Very many topics.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use servers::{Redis, Server};
use tokio::time::Instant;

use crate::{
    backend::{Backend, hubs},
    client::{Client, get, http, publish, stats},
    hub::Hub,
};

const TOPICS: usize = 10_000;
const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_topics_cost_what_one_does() {
    // The hub inherits it.
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024);
    let Some(redis) = Server::<Redis>::start(Redis::SETTINGS) else {
        return;
    };
    // Published through another one, which follows nothing and so hears of no event twice.
    let [hub, other] = hubs(&redis.url());
    let before = hub.memory();

    let mut first = Client::open(get(&hub, "/topics/many/0")).await;
    first.expect("sse.open").await;
    let cost_of_one = cost(&redis, &other, &mut first).await;

    // One client each, where there may be so many sockets.
    let each = if files > 12_000 { 1 } else { 64 };
    let begun = Instant::now();
    let topics: Vec<_> = (1..TOPICS).collect();
    let http = http();
    let clients = stream::iter(topics.chunks(each)).map(|topics| {
        let path = match topics {
            [topic] => format!("/topics/many/{topic}"),
            topics => topics
                .iter()
                .fold("/topics?from=live".to_owned(), |path, topic| {
                    path + &format!("&topic=many/{topic}")
                }),
        };
        let request = http.get(hub.url(&path));
        async move {
            let mut client = Client::open(request).await;
            client.expect("sse.open").await;
            client
        }
    });
    let clients: Vec<_> = clients.buffer_unordered(64).collect().await;
    let connections = stats(&hub).await["connections"].as_u64().unwrap();
    assert_eq!(connections, clients.len() as u64 + 1);

    assert_eq!(Redis::listeners(&redis), 1);
    let cost_of_many = cost(&redis, &other, &mut first).await;
    assert_eq!(cost_of_many, cost_of_one);
    let grown = hub.memory().saturating_sub(before);
    eprintln!(
        "{TOPICS} topics, {connections} connections after {:?}, {} KiB more, {cost_of_one:?}",
        begun.elapsed(),
        grown / 1024,
    );
    assert!(grown < 400 * MIB, "{grown} bytes");
}

/// How often Redis runs which command for one event that is published and followed.
async fn cost(redis: &Server<Redis>, hub: &Hub, client: &mut Client) -> BTreeMap<String, u64> {
    let mut least: Option<BTreeMap<_, _>> = None;
    // Now and then heads are compared between.
    for at in 0..10 {
        let before = calls(redis);
        publish(hub, "many/0", "n", &at.to_string()).await;
        client.expect("n").await;
        let mut spent = calls(redis);
        for (command, calls) in &mut spent {
            *calls -= before.get(command).unwrap_or(&0);
        }
        spent.retain(|command, calls| *calls > 0 && command != "info");
        let total = |calls: &BTreeMap<_, _>| calls.values().sum::<u64>();
        if least
            .as_ref()
            .is_none_or(|least| total(&spent) < total(least))
        {
            least = Some(spent);
        }
    }
    least.unwrap()
}

fn calls(redis: &Server<Redis>) -> BTreeMap<String, u64> {
    let stats = redis.cli(&["info", "commandstats"]);
    let lines = stats.lines().filter_map(|line| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let (calls, _) = rest.split_once(',')?;
        Some((command.to_owned(), calls.parse().unwrap()))
    });
    lines.collect()
}
