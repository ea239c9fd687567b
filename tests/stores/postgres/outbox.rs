//! Publishing within transactions: once, in an order that stays, and only what was committed.

use std::{
    collections::{BTreeMap, HashSet},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use servers::Process;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_postgres::Client;
use tower_sse::store::Wakes;

use super::*;

const URL: &str = "TOWER_SSE_POSTGRES";

async fn publish(client: &Client, topic: &str, data: &str) {
    let publish = "select tower_sse.publish($1, $2)";
    client.execute(publish, &[&topic, &data]).await.unwrap();
}

/// Reads until so many events are there.
async fn until(store: &PostgresStore, topic: &TopicName, count: usize) -> Vec<String> {
    let reading = async {
        loop {
            let texts = texts(&page_of(store, topic, ReadFrom::Oldest).await);
            if texts.len() >= count {
                return texts;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let read = timeout(PATIENCE, reading).await;
    read.unwrap_or_else(|_| panic!("{topic} has not {count} events"))
}

#[tokio::test]
async fn an_event_is_there_with_its_transaction() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let client = client(&server).await;
    client
        .batch_execute(
            "create table orders (id int); begin; insert into orders values (1);
        select tower_sse.publish('topic', '{\"order\":1}', 'paid')",
        )
        .await
        .unwrap();
    append(&store, "meanwhile").await;
    client.batch_execute("commit").await.unwrap();
    until(&store, &TOPIC, 2).await;
    client
        .batch_execute("begin; select tower_sse.publish('topic', 'never'); rollback")
        .await
        .unwrap();
    client
        .batch_execute("select tower_sse.publish('topic', 'last')")
        .await
        .unwrap();
    let read = until(&store, &TOPIC, 3).await;
    assert_eq!(read, ["meanwhile", "{\"order\":1}", "last"]);
    let page = page(&store, ReadFrom::Oldest).await;
    let name = page.records[1].content().name();
    assert_eq!(name.map(|name| name.as_str()), Some("paid"));
    assert_eq!(server.number("select count(*) from tower_sse.outbox"), 0);
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let options = PostgresStore::options().max_bytes(NonZeroUsize::new(100).unwrap());
    let store = server.connect_with(options).await;
    let client = client(&server).await;
    for arguments in [
        "'no topic', 'data'",
        "'', 'data'",
        "null, 'data'",
        "'topic', null",
        "'topic', 'data', ''",
        "'topic', 'data', 'sse.gap'",
        "'topic', 'data', E'two\\nlines'",
        "'topic', repeat('x', 101)",
    ] {
        for function in ["publish", "append"] {
            let call = format!("select tower_sse.{function}({arguments})");
            let answer = client.batch_execute(&call).await;
            assert!(answer.is_err(), "{call}");
        }
    }
    let id = "select tower_sse.append('topic', 'data', 'name')";
    let id: String = client.query_one(id, &[]).await.unwrap().get(0);
    let page = page(&store, ReadFrom::Oldest).await;
    assert_eq!(page.head.to_string(), id);
    assert_eq!(texts(&page), ["data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_interleave_commit_late_and_roll_back() {
    const WRITERS: usize = 64;
    let Some(server) = Server::start(&["max_connections=200"]) else {
        return;
    };
    let store = Arc::new(server.connect().await);
    let another = server.connect().await;
    let topics = ["topic", "other"].map(|name| TopicName::new(name).unwrap());
    // A transaction that is open all the while delays nobody.
    let slow = client(&server).await;
    slow.batch_execute("begin; select tower_sse.publish('topic', 'slow')")
        .await
        .unwrap();

    // Readers see one order, from the first event that they see.
    let mut readers = JoinSet::new();
    let rounds = crate::sizes(10, 100);
    let mut expected: BTreeMap<&str, HashSet<String>> = BTreeMap::new();
    for writer in 0..WRITERS {
        for round in 0..rounds {
            if (writer + round) % 5 != 0 {
                for topic in ["topic", "other"] {
                    let data = format!("{writer}-{round}");
                    expected.entry(topic).or_default().insert(data);
                }
            }
        }
    }
    let count = expected["topic"].len();
    for reader in 0..4 {
        let (store, topic) = (Arc::clone(&store), topics[reader % 2].clone());
        readers.spawn(async move {
            let mut read = Vec::new();
            let mut cursor = store.heads(std::slice::from_ref(&topic)).await.unwrap()[0];
            while read.len() < count {
                let from = ReadFrom::After(cursor);
                let page = page_of(&*store, &topic, from).await;
                cursor = page.end();
                read.extend(page.records);
                // Some read less often, and so more at once.
                sleep(Duration::from_millis(reader as u64 * 5)).await;
            }
            (topic, read)
        });
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = client(&server).await;
        writers.spawn(async move {
            for round in 0..rounds {
                client.batch_execute("begin").await.unwrap();
                let data = format!("{writer}-{round}");
                let mut topics = ["topic", "other"];
                // In opposite order.
                if writer % 2 == 0 {
                    topics.reverse();
                }
                for topic in topics {
                    publish(&client, topic, &data).await;
                    // So that transactions overlap, and end in another order than they began.
                    sleep(Duration::from_millis(fastrand::u64(..10))).await;
                }
                let end = match (writer + round) % 5 {
                    0 => "rollback",
                    _ => "commit",
                };
                client.batch_execute(end).await.unwrap();
            }
        });
    }
    timeout(PATIENCE, writers.join_all()).await.unwrap();
    let read = timeout(PATIENCE, readers.join_all()).await.unwrap();
    for (topic, records) in read {
        assert_eq!(records.len(), count);
        let page = page_of(&another, &topic, ReadFrom::Oldest).await;
        assert_eq!(records, page.records, "the order of {topic} has changed");
        let data: HashSet<String> = texts(&page).into_iter().collect();
        assert_eq!(data, expected[topic.as_str()]);
    }
    slow.batch_execute("commit").await.unwrap();
    let read = until(&store, &TOPIC, count + 1).await;
    assert_eq!(read.last().unwrap(), "slow");
}

/// A process of its own, which is killed.
fn sequences(server: &Server) -> Process {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::outbox::sequences_until_it_is_killed"])
        .env(URL, server.url())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    Process(child.unwrap())
}

#[tokio::test]
async fn sequences_until_it_is_killed() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let store = PostgresStore::connect(&url).await.unwrap();
    std::future::pending::<()>().await;
    drop(store);
}

/// Waits for the one that puts events in order, and returns the process of the server for it.
async fn holder(server: &Server) -> String {
    let holder = "select l.pid from pg_locks l join pg_stat_activity a using (pid)
        where l.locktype = 'advisory' and l.granted and a.application_name like '%sequencer'";
    let found = async {
        loop {
            let pids = server.sql(holder);
            assert!(pids.lines().count() <= 1, "two at a time: {pids}");
            if !pids.is_empty() {
                return pids;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, found).await.expect("one in time")
}

async fn outbox_is_empty(server: &Server) {
    let empty = async {
        while server.number("select count(*) from tower_sse.outbox") > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, empty)
        .await
        .expect("all is moved in time");
}

/// One is killed while it waits in its batch for a log that somebody has locked: before what it does
/// is committed, and where the server goes on with the statement, also after.
#[tokio::test(flavor = "multi_thread")]
async fn another_goes_on_where_a_sequencer_was_killed_in_its_batch() {
    const EACH: usize = 2000;
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let options = PostgresStore::options().max_events(NonZeroUsize::MAX);
    // The schema is there before the first of them, and so are the logs.
    let store = server.connect_with(options.clone()).await;
    append(&store, "first").await;
    drop(store);
    let publisher = client(&server).await;
    let locker = client(&server).await;
    let mut sequencing = sequences(&server);
    let mut count = 1;
    for is_ended in [false, true, false, true] {
        let pid = holder(&server).await;
        let next = sequences(&server);
        locker
            .batch_execute("begin; select from tower_sse.topics where topic = 'topic' for update")
            .await
            .unwrap();
        let many = format!(
            "select tower_sse.publish('topic', '{count}-' || n) from generate_series(1, {EACH}) n"
        );
        publisher.batch_execute(&many).await.unwrap();
        count += EACH;
        let in_its_batch = format!(
            "select count(*) from pg_stat_activity
            where pid = {pid} and wait_event_type = 'Lock' and query like '%sequence(%'"
        );
        let waits = async {
            while server.number(&in_its_batch) == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waits).await.expect("a batch in time");
        sequencing.kill();
        if is_ended {
            // As where its machine has gone, and the server has noticed.
            server.sql(&format!("select pg_terminate_backend({pid}, 60000)"));
        }
        locker.batch_execute("rollback").await.unwrap();
        sequencing = next;
        outbox_is_empty(&server).await;
    }
    let store = server.connect_with(options).await;
    let read = until(&store, &TOPIC, count).await;
    let distinct: HashSet<&String> = read.iter().collect();
    assert_eq!((read.len(), distinct.len()), (count, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_holds_up_nobody_else() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    append(&store, 0).await;
    let foreign = "insert into tower_sse.records
        select log, head + 1, 0, 0, null, 'foreign' from tower_sse.topics where topic = 'topic'";
    server.sql(foreign);
    let client = client(&server).await;
    publish(&client, "topic", "held").await;
    publish(&client, "other", "not held").await;
    let other = TopicName::new("other").unwrap();
    assert_eq!(until(&store, &other, 1).await, ["not held"]);
    server.sql("delete from tower_sse.records where data = 'foreign'");
    assert_eq!(until(&store, &TOPIC, 2).await, ["0", "held"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_woken_by_what_was_published() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let (told, mut tellings) = tokio::sync::mpsc::unbounded_channel();
    let wakes = Wakes::new(move |topic| drop(told.send(topic.cloned())));
    let client = client(&server).await;
    let waiting = async {
        assert_eq!(tellings.recv().await.unwrap(), None);
        publish(&client, "topic", "data").await;
        assert_eq!(tellings.recv().await.unwrap(), Some(TOPIC));
        client
            .batch_execute("select tower_sse.append('topic', 'more')")
            .await
            .unwrap();
        assert_eq!(tellings.recv().await.unwrap(), Some(TOPIC));
    };
    tokio::select! {
        done = timeout(PATIENCE, waiting) => done.unwrap(),
        error = store.watch(wakes) => panic!("{error:?}"),
    }
}
