//! What others do to the keys is met as what it is: publishing, eviction, damage, or another life.

use tower_sse::store::{
    Appended, EventStore, Evicted, Page, Position, Read, ReadFrom, RedisStore, StoreErrorKind,
};

use super::*;

const STREAM: &str = "tower-sse:topic";
const LOG: &str = "tower-sse:topic#";

#[track_caller]
fn is_damaged<T: std::fmt::Debug>(answer: Result<T, tower_sse::store::StoreError>, says: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Damaged, "{}", told(&error));
    assert!(told(&error).contains(says), "{}", told(&error));
}

#[tokio::test]
async fn anyone_publishes_with_redis_cli() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let beginning = head(&store).await;
    let publish = |arguments: &[&str]| {
        let call = ["FCALL", "tower_sse_append", "1", "tower-sse"];
        server.cli(&[&call, arguments].concat())
    };
    let first = publish(&["topic", "21.5", "temperature"]);
    let second = publish(&["topic", "grüße, 世界 😀\nsecond line"]);
    let answer = after(&store, beginning).await.unwrap();
    let Read::Page(read) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(texts(&read), ["21.5", "grüße, 世界 😀\nsecond line"]);
    assert_eq!(
        read.records[0].content().name().unwrap().as_str(),
        "temperature"
    );
    assert_eq!(read.records[1].content().name(), None);
    assert_eq!(second, read.head.to_string());
    assert_eq!(first, Position::new(read.head.epoch(), 1).to_string());

    let long = "x".repeat(201);
    let refused: [&[&str]; 9] = [
        &["topic"],
        &["topic", "data", "name", "more"],
        &["", "data"],
        &["a topic", "data"],
        &["topic#", "data"],
        &[&long, "data"],
        &["topic", "data", "sse.gap"],
        &["topic", "data", "two\nlines"],
        &["topic", "data", "two\rlines"],
    ];
    for arguments in refused {
        let answer = publish(arguments);
        assert!(answer.starts_with("INVALID"), "{arguments:?}: {answer}");
    }
    for first in [0xff_u8, 0xc0, 0xed] {
        let mut connection = ::redis::Client::open(server.url())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        let answer: Result<String, _> = ::redis::cmd("FCALL")
            .arg(("tower_sse_append", 1, "tower-sse", "topic"))
            .arg([first, 0xa0, 0x80].as_slice())
            .query_async(&mut connection)
            .await;
        assert_eq!(answer.unwrap_err().code(), Some("INVALID"));
    }
    assert_eq!(head(&store).await, read.head);
}

#[tokio::test]
async fn limits_bind_all_publishers() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let options = RedisStore::options()
        .max_events(3.try_into().unwrap())
        .max_bytes(10.try_into().unwrap());
    let store = server.connect_with(options).await;
    let publish = |data: &str| {
        let call = ["FCALL", "tower_sse_append", "1", "tower-sse", "topic", data];
        server.cli(&call)
    };
    for data in ["a", "b", "c", "d"] {
        publish(data);
    }
    assert_eq!(all(&store).await, ["b", "c", "d"]);
    publish("123456789");
    assert_eq!(all(&store).await, ["d", "123456789"]);
    let refused = publish("12345678901");
    assert!(refused.starts_with("TOOLARGE"), "{refused}");
    assert_eq!(server.cli(&["XLEN", STREAM]), "2");
}

#[tokio::test]
async fn an_entry_that_was_added_past_the_function_is_reported() {
    for id in ["*", "3-0", "2-1", "100-0", "2-18446744073709551615"] {
        let Some(server) = Server::start(&[]) else {
            return;
        };
        let store = server.connect().await;
        let positions = append_each(&store, 0..2).await;
        let added = server.cli(&["XADD", STREAM, id, "data", "foreign"]);
        is_damaged(try_append(&store, "next").await, "past tower_sse_append");
        is_damaged(after(&store, positions[1]).await, &added);
        // What stands before it is as it was.
        assert_eq!(all(&store).await, ["0", "1"], "{id}");
        let by_hand = ["FCALL", "tower_sse_append", "1", "tower-sse", "topic", "x"];
        let refused = server.cli(&by_hand);
        assert!(refused.starts_with("DAMAGED"), "{refused}");

        // Nobody can put something between what there is.
        server.cli(&["XDEL", STREAM, &added]);
        server.cli(&["XSETID", STREAM, "2-0"]);
        append(&store, 2).await;
        assert_eq!(all(&store).await, ["0", "1", "2"], "{id}");
    }
}

#[tokio::test]
async fn an_entry_without_a_log_is_reported() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    server.cli(&["XADD", STREAM, "*", "data", "foreign"]);
    is_damaged(try_append(&store, 0).await, "no log");
    is_damaged(
        store.read(&TOPIC, ReadFrom::Oldest, super::ALL).await,
        "no log",
    );
    server.cli(&["DEL", STREAM]);
    append(&store, 0).await;
    assert_eq!(all(&store).await, ["0"]);
    server.cli(&["DEL", LOG]);
    is_damaged(try_append(&store, 1).await, "no log");
}

#[tokio::test]
async fn keys_of_another_type_are_reported() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    for key in [STREAM, LOG, "tower-sse#births", "tower-sse#"] {
        server.cli(&["FLUSHALL"]);
        server.cli(&["SET", key, "text"]);
        is_damaged(try_append(&store, 0).await, "WRONGTYPE");
        is_damaged(
            store.read(&TOPIC, ReadFrom::Oldest, super::ALL).await,
            "WRONGTYPE",
        );
        assert_eq!(
            server.cli(&["EXISTS", STREAM, LOG]),
            match key {
                STREAM | LOG => "1",
                _ => "0",
            }
        );
    }
    // They hide nothing of other topics.
    server.cli(&["FLUSHALL"]);
    let other = tower_sse::TopicName::from_static("other");
    let stored = store.append(&other, tower_sse::store::Append::new([event(0)]));
    let Appended::Stored(last) = stored.await.unwrap() else {
        panic!("there is no condition");
    };
    server.cli(&["SET", LOG, "text"]);
    assert_eq!(store.heads(&[TOPIC, other]).await.unwrap()[1], last);
    // As are logs with other words in them.
    for (field, value) in [("head", "x"), ("epoch", "x"), ("from", "x"), ("bytes", "")] {
        server.cli(&["FLUSHALL"]);
        append(&store, 0).await;
        server.cli(&["HSET", LOG, field, value]);
        let read = store.read(&TOPIC, ReadFrom::Oldest, super::ALL).await;
        is_damaged(read, LOG);
    }
}

#[tokio::test]
async fn an_entry_that_was_deleted_leaves_a_hole_to_see() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let positions = append_each(&store, 1..7).await;
    server.cli(&["XDEL", STREAM, "3-0"]);
    let read = page(&store, ReadFrom::Oldest).await;
    assert_eq!(texts(&read), ["1", "2", "4", "5", "6"]);
    assert_eq!(read.records[2].previous_offset(), 3);
    let behind = page(&store, ReadFrom::After(positions[1])).await;
    assert_eq!(behind.start, positions[1]);
    assert_eq!(behind.records[0].previous_offset(), 3);
    append(&store, 7).await;
    assert_eq!(all(&store).await, ["1", "2", "4", "5", "6", "7"]);
    let newest = page(&store, ReadFrom::Newest(4)).await;
    assert_eq!(texts(&newest), ["4", "5", "6", "7"]);
    assert_eq!(server.cli(&["HMGET", LOG, "events", "holes"]), "6\n1");
}

#[tokio::test]
async fn what_was_trimmed_or_emptied_is_missed() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let positions = append_each(&store, 1..7).await;
    server.cli(&["XTRIM", STREAM, "MAXLEN", "2"]);
    assert_eq!(all(&store).await, ["5", "6"]);
    // Before the next append, what is missing is a hole.
    let behind = page(&store, ReadFrom::After(positions[0])).await;
    assert_eq!(behind.records[0].previous_offset(), 4);
    append(&store, 7).await;
    let evicted = |oldest: u64, middle, missed| {
        let at = |offset| Position::new(positions[0].epoch(), offset);
        Read::Evicted(Evicted {
            oldest: at(oldest),
            middle: at(middle),
            missed,
        })
    };
    assert_eq!(
        after(&store, positions[0]).await.unwrap(),
        evicted(4, 5, None)
    );

    server.cli(&["DEL", STREAM]);
    let last = head(&store).await;
    assert_eq!(
        after(&store, positions[5]).await.unwrap(),
        evicted(7, 7, None)
    );
    let empty = Page {
        start: last,
        records: Vec::new(),
        head: last,
    };
    assert_eq!(
        after(&store, last).await.unwrap(),
        Read::Page(empty.clone())
    );
    for from in [ReadFrom::Oldest, ReadFrom::Newest(3)] {
        assert_eq!(page(&store, from).await, empty);
    }
    append(&store, 8).await;
    assert_eq!(
        after(&store, positions[5]).await.unwrap(),
        evicted(7, 7, None)
    );
    let behind = page(&store, ReadFrom::After(last)).await;
    assert_eq!(texts(&behind), ["8"]);
    assert_eq!(
        server.cli(&["HMGET", LOG, "first", "events", "holes"]),
        "7\n1\n0"
    );
}

#[tokio::test]
async fn a_log_that_was_removed_begins_another_life() {
    let removals: [&[&str]; 3] = [&["DEL", STREAM, LOG], &["FLUSHALL"], &["FLUSHALL", "SYNC"]];
    for removal in removals {
        let Some(server) = Server::start(&[]) else {
            return;
        };
        let store = server.connect().await;
        let beginning = head(&store).await;
        let old = append_each(&store, 0..5).await;
        server.cli(removal);
        let between = head(&store).await;
        for position in old.iter().chain([&beginning]) {
            let answer = after(&store, *position).await.unwrap();
            assert_eq!(answer, Read::UnknownEpoch(between), "{removal:?}");
        }
        let new = append_each(&store, 10..30).await;
        for position in old.iter().chain([&beginning]) {
            let answer = after(&store, *position).await.unwrap();
            assert_eq!(answer, Read::UnknownEpoch(new[19]), "{removal:?}");
        }
        assert_eq!(
            page(&store, ReadFrom::After(between)).await.records.len(),
            20
        );
    }
}

#[tokio::test]
async fn settings_and_functions_come_back() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let options = RedisStore::options().max_events(2.try_into().unwrap());
    let store = server.connect_with(options).await;
    append_each(&store, 0..3).await;
    server.cli(&["FUNCTION", "FLUSH"]);
    append(&store, 3).await;
    assert_eq!(all(&store).await, ["2", "3"]);
    // Whoever is first, reader or publisher.
    server.cli(&["FLUSHALL"]);
    assert_eq!(all(&store).await, [""; 0]);
    assert_eq!(server.cli(&["HGET", "tower-sse#", "max_events"]), "2");
    server.cli(&["FLUSHALL"]);
    append_each(&store, 0..3).await;
    assert_eq!(server.cli(&["HGET", "tower-sse#", "max_events"]), "2");
    assert_eq!(all(&store).await, ["1", "2"]);
}

#[tokio::test]
async fn a_newer_library_stays_and_an_older_one_goes() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let version = || server.cli(&["FCALL", "tower_sse_version", "0"]);
    let load = |version: u64| {
        let source = include_str!("../../../src/store/redis/library.lua");
        let source = source.replace("VERSION = 1", &format!("VERSION = {version}"));
        assert!(source.contains(&format!("VERSION = {version}")));
        server.cli_with(&["FUNCTION", "LOAD", "REPLACE"], &source)
    };
    for (before, then) in [(0, "1"), (1, "1"), (7, "7")] {
        assert_eq!(load(before), "tower_sse");
        append(&server.connect().await, before).await;
        assert_eq!(version(), then);
    }
    server.cli(&["FUNCTION", "FLUSH"]);
    let other = "#!lua name=tower_sse\nredis.register_function('other', function() return 1 end)";
    server.cli_with(&["FUNCTION", "LOAD"], other);
    let error = RedisStore::connect(&server.url()).await.unwrap_err();
    assert!(told(&error).contains("another library"), "{}", told(&error));
    assert_eq!(server.cli(&["FCALL", "other", "0"]), "1");
}

#[tokio::test]
async fn a_condition_is_compared_with_what_stands_there() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = server.connect().await;
    let last = append_each(&store, 0..2).await[1];
    let call = |condition: &str| {
        let options = ["", "", "", "", ""];
        let name = ["FCALL", "tower_sse_append_all", "1", "tower-sse", "topic"];
        let record = ["event", "", "by hand"];
        server.cli(&[&name[..], &[condition], &options, &record].concat())
    };
    assert_eq!(call("1-1"), format!("conflict\n{last}"));
    let next = Position::new(last.epoch(), 3);
    assert_eq!(call(&last.to_string()), format!("stored\n{next}"));
    let append = tower_sse::store::Append::new([event("late")]).while_head(last);
    let answer = store.append(&TOPIC, append).await.unwrap();
    assert_eq!(answer, Appended::Conflict(next));
}
