//! What a `GET` follows.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    client::{Client, answer, get, http, line, post, publish, stats},
    hub::{Hub, PATIENCE},
};

#[tokio::test]
async fn new_client_begins_where_it_asks_to() {
    let hub = Hub::start(&[]);
    for data in ["1", "2", "3"] {
        publish(&hub, "a/b:c", "n", data).await;
    }
    let cases: [(&str, &[&str]); 7] = [
        ("", &[]),
        ("?from=live", &[]),
        ("?from=all", &["1", "2", "3"]),
        ("?from=last:2", &["2", "3"]),
        ("?from=last:0", &[]),
        ("?from=last:99", &["1", "2", "3"]),
        ("?from=last%3A1", &["3"]),
    ];
    let mut clients = Vec::new();
    for (query, _) in cases {
        let mut client = Client::open(get(&hub, &format!("/topics/a/b:c{query}"))).await;
        if matches!(query, "" | "?from=live" | "?from=last:0") {
            client.expect("sse.open").await;
        }
        clients.push(client);
    }
    publish(&hub, "a/b:c", "n", "live").await;
    for (mut client, (query, expected)) in clients.into_iter().zip(cases) {
        for data in expected.iter().chain(&["live"]) {
            assert_eq!(client.expect("n").await.data(), *data, "{query}");
        }
    }
}

#[tokio::test]
async fn client_that_comes_back_gets_all_it_missed() {
    let hub = Hub::start(&[]);
    let id = publish(&hub, "a", "n", "1").await;
    publish(&hub, "a", "n", "2").await;
    let by_header = get(&hub, "/topics/a?from=live").header("last-event-id", &id);
    let by_query = get(&hub, &format!("/topics/a?from=live&lastEventId={id}"));
    for request in [by_header, by_query] {
        let mut client = Client::open(request).await;
        assert_eq!(client.expect("n").await.data(), "2");
    }
    let mut lost = Client::open(get(&hub, "/topics/a").header("last-event-id", "abc-7")).await;
    let gap = lost.expect("sse.gap").await;
    assert_eq!(gap.data(), r#"{"reason":"unknown"}"#);
    assert_eq!(stats(&hub).await["gaps"], json!({ "unknown": 1 }));
}

#[tokio::test]
async fn several_topics_are_followed_and_resumed_on_one_connection() {
    let hub = Hub::start(&[]);
    for (topic, data) in [("a", "1"), ("b/c", "2"), ("d", "3"), ("a", "4")] {
        publish(&hub, topic, "n", data).await;
    }
    let mut client = Client::open(get(&hub, "/topics?topic=a&topic=b/c&from=all")).await;
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(client.expect("n").await);
    }
    let mut all: Vec<_> = got.iter().map(|event| event.data()).collect();
    assert!(all.iter().position(|data| *data == "1") < all.iter().position(|data| *data == "4"));
    all.sort_unstable();
    assert_eq!(all, ["1", "2", "4"]);

    // From after its first event it gets the other two, in whatever order it names the topics.
    let query = "/topics?topic=b%2Fc&topic=a&topic=b/c&from=live";
    let request = get(&hub, query).header("last-event-id", got[0].last_event_id());
    let mut back = Client::open(request).await;
    let mut rest = [back.expect("n").await, back.expect("n").await].map(|it| it.data().to_owned());
    rest.sort_unstable();
    let mut missed = [got[1].data(), got[2].data()];
    missed.sort_unstable();
    assert_eq!(rest, missed);

    publish(&hub, "b/c", "n", "live").await;
    for client in [&mut client, &mut back] {
        assert_eq!(client.expect("n").await.data(), "live");
    }
    let counted = stats(&hub).await;
    assert_eq!(counted["connections"], 2);
    assert_eq!(counted["positions"].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn so_many_events_are_retained() {
    let hub = Hub::start(&["--retain", "2"]);
    for data in ["1", "2", "3"] {
        publish(&hub, "a", "n", data).await;
    }
    let mut client = Client::open(get(&hub, "/topics/a?from=all")).await;
    for data in ["2", "3"] {
        assert_eq!(client.expect("n").await.data(), data);
    }
}

#[tokio::test]
async fn unusable_request_is_told_so_in_a_line() {
    let hub = Hub::start(&[]);
    let many: String = (0..65).map(|at| format!("&topic={at}")).collect();
    let too_many = format!("/topics?from=live{many}");
    let cases = [
        ("/topics/a?from=first", 400, "`from`"),
        ("/topics/a?from=last", 400, "`from`"),
        ("/topics/a?from=last:-1", 400, "`from`"),
        ("/topics/a?from=", 400, "`from`"),
        ("/topics/a?from=all&from=live", 400, "twice"),
        ("/topics/%C3%A9", 404, "topic name"),
        ("/topics/%ff", 400, "UTF-8"),
        ("/topics/", 404, "/topics/NAME"),
        ("/topics", 400, "no topic"),
        ("/topics?from=all", 400, "no topic"),
        ("/topics?topic=", 404, "topic name"),
        ("/topics?topic=a&topic=b%20c", 404, "topic name"),
        (&too_many, 400, "64"),
        ("/", 404, "/topics/NAME"),
    ];
    for (path, status, says) in cases {
        line(answer(get(&hub, path)).await, status, says).await;
    }
}

#[tokio::test]
async fn token_is_asked_for_everywhere() {
    const TOKEN: &str = "se/cret+1==";
    let hub = Hub::start(&["--token", TOKEN]);
    let body = r#"{"data":"1"}"#;
    let requests = [
        post(&hub, "/topics/a", body),
        get(&hub, "/topics/a?from=all"),
        get(&hub, "/topics?topic=a"),
        get(&hub, "/stats"),
        get(&hub, "/nothing"),
        http().head(hub.url("/topics/a")),
    ];
    for request in requests {
        let (plain, wrong) = (request.try_clone().unwrap(), request.try_clone().unwrap());
        for refused in [plain, wrong.bearer_auth("se/cret+1=")] {
            let response = answer(refused).await;
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let text = response.text().await.unwrap();
            assert!(
                text.is_empty() || text == "a valid token is needed\n",
                "{text}"
            );
        }
        let let_in = answer(request.bearer_auth(TOKEN)).await;
        assert_ne!(let_in.status(), StatusCode::UNAUTHORIZED);
    }
    let query = "from=all&token=se%2Fcret%2B1%3D%3D";
    let mut client = Client::open(get(&hub, &format!("/topics/a?{query}"))).await;
    assert_eq!(client.expect("message").await.data(), "1");
    assert!(!hub.log().contains("cret"), "{}", hub.log());
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let hub = Hub::start(&[]);
    let empty = json!({ "connections": 0, "gaps": {}, "positions": {} });
    assert_eq!(stats(&hub).await, empty);

    let id = publish(&hub, "a", "n", "1").await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::open(get(&hub, "/topics/b/c")).await;
        client.expect("sse.open").await;
        clients.push(client);
    }
    let response = answer(http().head(hub.url("/topics/a"))).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");

    let counted = stats(&hub).await;
    assert_eq!(counted["connections"], 5);
    assert_eq!(counted["positions"]["a"], *id);
    let unborn = counted["positions"]["b/c"].as_str().unwrap();
    assert!(unborn.contains('-'), "{unborn}");

    drop(clients);
    let deadline = Instant::now() + PATIENCE;
    while stats(&hub).await["connections"] != 0 {
        assert!(Instant::now() < deadline, "connections are given back");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn heartbeat_comes_after_so_much_silence_or_never() {
    for (seconds, expected) in [("1", true), ("0", false)] {
        let hub = Hub::start(&["--heartbeat", seconds]);
        let mut response = answer(get(&hub, "/topics/a")).await;
        let mut text = String::new();
        let heartbeat = async {
            loop {
                let chunk = response.chunk().await.unwrap().unwrap();
                text += str::from_utf8(&chunk).unwrap();
                let opened = text.split_once("event: sse.open\n");
                if opened.is_some_and(|(_, rest)| rest.ends_with("\n\n:\n")) {
                    return;
                }
            }
        };
        let patience = match expected {
            true => PATIENCE,
            false => Duration::from_millis(2_500),
        };
        let came = timeout(patience, heartbeat).await;
        assert_eq!(came.is_ok(), expected, "{text:?}");
    }
}
