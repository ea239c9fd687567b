//! Which servers are taken, and what a store asks of them.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tower_sse::{
    TopicName,
    store::{
        Append, EventStore, NewRecord, Read, ReadFrom, RecordKind, RedisStore, StoreErrorKind,
        Wakes,
    },
};

use super::*;

async fn refused(url: &str) -> String {
    let error = RedisStore::connect(url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    told(&error)
}

#[tokio::test]
async fn a_cluster_is_refused() {
    let Some(server) = Server::start(&["--cluster-enabled", "yes"]) else {
        return;
    };
    let why = refused(&server.url()).await;
    assert!(why.contains("a node of a cluster"), "{why}");
    assert_eq!(server.cli(&["FUNCTION", "LIST"]), "");
}

#[tokio::test]
async fn a_password_is_never_told() {
    let Some(server) = Server::start(&["--requirepass", "right-horse"]) else {
        return;
    };
    let port = server.port();
    for (url, says) in [
        (
            format!("redis://:wrong-horse@127.0.0.1:{port}"),
            "authentication failed",
        ),
        (format!("redis://127.0.0.1:{port}"), "NOAUTH"),
        ("redis://:wrong-horse@127.0.0.1:1".into(), "refused"),
        ("redis://:wrong-horse@[::".into(), "not an address"),
        ("wrong-horse://x".into(), "not an address"),
    ] {
        let why = refused(&url).await;
        assert!(why.to_lowercase().contains(&says.to_lowercase()), "{why}");
        assert!(!why.contains("horse"), "{why}");
    }
    let url = format!("redis://:right-horse@127.0.0.1:{port}");
    let store = RedisStore::connect(&url).await.unwrap();
    append(&store, 0).await;
    let options = RedisStore::options().sentinels([&url]);
    for shown in [format!("{store:?}"), format!("{options:?}")] {
        assert!(!shown.contains("horse"), "{shown}");
    }
}

#[tokio::test]
async fn few_permissions_are_enough() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let commands = "ping info time fcall function|load subscribe publish del hget hmget hset hdel \
                    hincrby xlen xadd xrange xrevrange xtrim pexpireat persist";
    let mut rule = vec![
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">horse",
        "~tower-sse*",
        "&tower-sse#",
    ];
    let allowed: Vec<_> = commands
        .split_whitespace()
        .map(|command| format!("+{command}"))
        .collect();
    rule.extend(allowed.iter().map(String::as_str));
    assert_eq!(server.cli(&rule), "OK");
    let url = format!("redis://app:horse@127.0.0.1:{}", server.port());
    let options = RedisStore::options().max_events(2.try_into().unwrap());
    let store = options.connect(&url).await.unwrap();
    let (woken, mut wakes) = mpsc::unbounded_channel();
    let watching = store.watch(Wakes::new(move |topic| drop(woken.send(topic.cloned()))));
    let using = async {
        assert_eq!(wakes.recv().await, Some(None));
        for number in 0..4 {
            append(&store, number).await;
        }
        let end = Append::new([]).gone_after(PATIENCE);
        let _ = store.append(&TOPIC, end).await.unwrap();
        append(&store, 4).await;
        assert_eq!(all(&store).await, ["3", "4"]);
        assert_eq!(store.heads(&[TOPIC]).await.unwrap()[0].offset(), 5);
        assert_eq!(wakes.recv().await, Some(Some(TOPIC)));
    };
    let used = async {
        tokio::select! {
            error = watching => panic!("{}", told(&error)),
            () = using => {}
        }
    };
    timeout(PATIENCE, used).await.unwrap();
    let options = RedisStore::options().prefix("other");
    let why = told(&options.connect(&url).await.unwrap_err());
    assert!(why.contains("permissions"), "{why}");
}

#[tokio::test]
async fn a_prefix_is_checked_and_keeps_stores_apart() {
    for prefix in ["", "a#", "#"] {
        let connecting = RedisStore::options()
            .prefix(prefix)
            .connect("redis://127.0.0.1:1");
        let error = connecting.await.unwrap_err();
        assert!(told(&error).contains("prefix"), "{}", told(&error));
    }
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let one = server
        .connect_with(RedisStore::options().prefix("one"))
        .await;
    let other = server
        .connect_with(RedisStore::options().prefix("other"))
        .await;
    append(&one, 1).await;
    assert_eq!(all(&other).await, [""; 0]);
    assert_eq!(all(&one).await, ["1"]);
    let keys = server.cli(&["KEYS", "*"]);
    assert!(
        keys.lines()
            .all(|key| key.starts_with("one") || key == "other#"),
        "{keys}"
    );
}

#[tokio::test]
async fn crate_and_library_count_the_same_lives() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let names = [
        "a",
        "A",
        "zz",
        "topic-1",
        "a/b:c_d.e",
        &"z".repeat(200),
        &"-".repeat(199),
    ];
    for name in names {
        let topic = TopicName::new(name).unwrap();
        let head = async || store.heads(std::slice::from_ref(&topic)).await.unwrap()[0];
        let before = head().await;
        let _ = store
            .append(&topic, Append::new([event("x")]))
            .await
            .unwrap();
        let stream = format!("tower-sse:{name}");
        server.cli(&["DEL", &stream, &format!("{stream}#")]);
        let then = head().await;
        assert_eq!(before.epoch(), then.epoch());
        assert_eq!(before.offset() + 1, then.offset(), "{name}");
    }
}

#[tokio::test]
async fn the_newest_are_found_behind_many_other_records() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    append(&store, "old").await;
    append(&store, "first").await;
    for _ in 0..3 {
        let lease = NewRecord::of_kind(RecordKind::Lease, "lease");
        let leases = Append::new(vec![lease; 700]);
        let _ = store.append(&TOPIC, leases).await.unwrap();
    }
    append(&store, "second").await;
    for (newest, records, first) in [(1, 1, "second"), (2, 2102, "first"), (3, 2103, "old")] {
        let read = page(&store, ReadFrom::Newest(newest)).await;
        assert_eq!(read.records.len(), records);
        assert_eq!(read.records[0].content().data(), first);
    }
    assert_eq!(page(&store, ReadFrom::Newest(9)).await.records.len(), 2103);
    assert_eq!(page(&store, ReadFrom::Newest(0)).await.records.len(), 0);
}

#[tokio::test]
async fn events_of_all_sizes_are_read_page_by_page() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let sizes = (0..400).map(|number| match number % 40 {
        0 => 300_000,
        short => short * 7,
    });
    let records: Vec<_> = sizes.map(|size| event("x".repeat(size))).collect();
    let _ = store
        .append(&TOPIC, Append::new(records.clone()))
        .await
        .unwrap();
    let mut read = Vec::new();
    let mut from = ReadFrom::Oldest;
    loop {
        let limit = 50_000;
        let answer = store.read(&TOPIC, from, limit.try_into().unwrap()).await;
        let Read::Page(page) = answer.unwrap() else {
            panic!("nothing was evicted");
        };
        if page.records.is_empty() {
            break;
        }
        let bytes: usize = page.records.iter().map(|record| record.size()).sum();
        assert!(bytes <= limit || page.records.len() == 1);
        from = ReadFrom::After(page.end());
        read.extend(
            page.records
                .into_iter()
                .map(|record| record.content().clone()),
        );
    }
    assert_eq!(read.len(), records.len());
    assert!(read == records);
}

fn topics(count: usize) -> Vec<TopicName> {
    let name = |number| TopicName::new(format!("topic/{number}")).unwrap();
    (0..count).map(name).collect()
}

fn calls(server: &Server) -> Vec<String> {
    let stats = server.cli(&["INFO", "commandstats"]);
    let lines = stats.lines().filter_map(|line| line.split_once(",usec"));
    let counted = lines.map(|(calls, _)| calls.to_owned());
    let mut counted: Vec<_> = counted
        .filter(|calls| {
            !["info", "config", "ping"]
                .iter()
                .any(|own| calls.contains(own))
        })
        .collect();
    counted.sort();
    counted
}

/// The commands that one append costs.
async fn cost(server: &Server, store: &RedisStore, topic: &TopicName) -> Vec<String> {
    server.cli(&["CONFIG", "RESETSTAT"]);
    let _ = store
        .append(topic, Append::new([event("x")]))
        .await
        .unwrap();
    calls(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_costs_the_same_with_many_topics() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = Arc::new(server.connect().await);
    let topics = topics(10_000);
    let _ = store
        .append(&topics[0], Append::new([event("x")]))
        .await
        .unwrap();
    let with_one = cost(&server, &store, &topics[0]).await;
    assert!(!with_one.is_empty());

    let (woken, mut wakes) = mpsc::unbounded_channel();
    let watching = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let wakes = Wakes::new(move |topic| drop(woken.send(topic.cloned())));
            store.watch(wakes).await
        }
    });
    assert_eq!(timeout(PATIENCE, wakes.recv()).await.unwrap(), Some(None));
    for topics in topics.chunks(100) {
        let appends = topics.iter().map(|topic| {
            let store = Arc::clone(&store);
            let topic = topic.clone();
            tokio::spawn(async move { store.append(&topic, Append::new([event(&topic)])).await })
        });
        for append in appends.collect::<Vec<_>>() {
            let _ = append.await.unwrap().unwrap();
        }
    }
    for _ in &topics {
        let topic = timeout(PATIENCE, wakes.recv()).await.unwrap().unwrap();
        assert!(topic.is_some());
    }
    assert_eq!(cost(&server, &store, &topics[0]).await, with_one);
    assert_eq!(cost(&server, &store, &topics[9_999]).await, with_one);
    let subscribers = server.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert_eq!(subscribers.lines().count(), 1, "{subscribers}");

    let before = server.info("stats", "total_reads_processed");
    let heads = store.heads(&topics).await.unwrap();
    let reads = server.info("stats", "total_reads_processed") - before;
    assert_eq!(heads.len(), topics.len());
    assert!(heads.iter().all(|head| head.offset() > 0));
    // A request that is larger than a buffer is read in several goes.
    assert!(reads < 1000, "{reads} reads for {} heads", heads.len());
    watching.abort();
}

#[tokio::test]
async fn a_watch_ends_with_its_connection() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::connect(&servers::Redis::url(proxy.port()))
        .await
        .unwrap();
    let (woken, mut wakes) = mpsc::unbounded_channel();
    let wakes_of = Wakes::new(move |topic| drop(woken.send(topic.cloned())));
    let watching = store.watch(wakes_of);
    let telling = async {
        assert_eq!(wakes.recv().await, Some(None));
        // Neither is a message that names no topic.
        server.cli(&["PUBLISH", "tower-sse#", "no topic"]);
        server.cli(&["FCALL", "tower_sse_append", "1", "tower-sse", "topic", "x"]);
        assert_eq!(wakes.recv().await, Some(Some(TOPIC)));
        proxy.is(Network::Cut);
    };
    let (error, ()) = timeout(PATIENCE, async { tokio::join!(watching, telling) })
        .await
        .unwrap();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn sentinels_lead_to_the_one_that_is_written_to() {
    let Some(mut first) = Server::start(&[]) else {
        return;
    };
    let port = first.port().to_string();
    let second = Server::start(&["--replicaof", "127.0.0.1", &port]).unwrap();
    let monitor = format!("sentinel monitor mymaster 127.0.0.1 {port} 1");
    let settings = [
        &monitor[..],
        "sentinel down-after-milliseconds mymaster 500",
        "sentinel failover-timeout mymaster 5000",
    ];
    let Some(sentinel) = servers::Server::<servers::Sentinel>::start(&settings) else {
        return;
    };
    let options = RedisStore::options()
        .sentinels([sentinel.url()])
        .answer_timeout(Duration::from_secs(2));
    let store = options.clone().connect("redis://mymaster").await.unwrap();
    append(&store, "before").await;
    let failover = async {
        let in_step = || first.info("replication", "connected_slaves") == 1;
        let copied = || second.cli(&["XLEN", "tower-sse:topic"]) == "1";
        let known = || {
            sentinel
                .cli(&["SENTINEL", "REPLICAS", "mymaster"])
                .contains("slave")
        };
        while !(in_step() && copied() && known()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        first.kill();
        loop {
            if store
                .append(&TOPIC, Append::new([event("after")]))
                .await
                .is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(2 * PATIENCE, failover).await.unwrap();
    assert_eq!(all(&store).await, ["before", "after"]);
    assert_eq!(second.cli(&["XLEN", "tower-sse:topic"]), "2");
    let error = options.connect("redis://nobody").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

#[test]
fn a_store_outlives_the_runtime_it_was_made_in() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let first = runtime();
    let store = first.block_on(server.connect());
    first.block_on(append(&store, "first"));
    drop(first);
    let second = runtime();
    let again = async {
        // The connection went with the runtime.
        while store.heads(&[TOPIC]).await.is_err() {}
        append(&store, "second").await;
        assert_eq!(all(&store).await, ["first", "second"]);
    };
    second.block_on(timeout_of(again));
}

async fn timeout_of<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap()
}

#[tokio::test]
async fn connections_go_with_the_store() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let clients = || server.cli(&["CLIENT", "LIST"]).lines().count();
    let before = clients();
    let store = server.connect().await;
    append(&store, 0).await;
    assert_eq!(clients(), before + 1);
    drop(store);
    let gone = async {
        while clients() != before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}
