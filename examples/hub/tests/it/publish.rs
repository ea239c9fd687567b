//! What a `POST` takes and answers.

use reqwest::StatusCode;
use serde_json::json;

use crate::{
    client::{Client, answer, get, http, line, post, stats, value},
    hub::Hub,
};

const TOPIC: &str = "/topics/a";
const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn what_is_posted_is_followed() {
    let hub = Hub::start(&[]);
    let cases = [
        (r#"{"event":"note","data":"text"}"#, "note", "text"),
        (r#"{"data":"two\nlines"}"#, "message", "two\nlines"),
        (r#"{"event":"note","data":""}"#, "note", ""),
        (
            r#" { "json" : {"b": 1.50, "a": 12345678901234567890123} } "#,
            "message",
            r#"{"b": 1.50, "a": 12345678901234567890123}"#,
        ),
        (r#"{"event":"n","json":null}"#, "n", "null"),
        (r#"{"json":"text","event":"é ü"}"#, "é ü", r#""text""#),
    ];
    let mut ids = Vec::new();
    for (body, _, _) in cases {
        let response = answer(post(&hub, TOPIC, body)).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{body}");
        assert_eq!(response.headers()["content-type"], "application/json");
        let answer = value(response).await;
        assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    let mut client = Client::open(get(&hub, "/topics/a?from=all")).await;
    for ((_, name, data), id) in cases.iter().zip(&ids) {
        let event = client.expect(name).await;
        assert_eq!((event.data(), event.last_event_id()), (*data, &**id));
    }
}

#[tokio::test]
async fn what_is_refused_is_told_in_a_line_and_not_stored() {
    let hub = Hub::start(&[]);
    let unchanged = stats(&hub).await;
    let name_too_long = format!("/topics/{}", "x".repeat(201));
    let body_too_large = format!(r#"{{"data":"{}"}}"#, "x".repeat(MIB + 4096));
    let event_too_large = format!(r#"{{"data":"{}"}}"#, "x".repeat(MIB + 1));
    let good = r#"{"data":"text"}"#;
    let cases: [(&str, &str, u16, &str); 26] = [
        (TOPIC, "", 400, "no JSON object"),
        (TOPIC, "text", 400, "no JSON object"),
        (TOPIC, r#"{"data":"text""#, 400, "EOF"),
        (TOPIC, r#"{"data":"text"} {}"#, 400, "trailing"),
        (TOPIC, r#"["n","text"]"#, 400, "no JSON object"),
        (TOPIC, r#"{"data":7}"#, 400, "expected a string"),
        (TOPIC, r#"{"data":null}"#, 400, "expected a string"),
        (TOPIC, r#"{"event":7,"data":""}"#, 400, "expected a string"),
        (
            TOPIC,
            r#"{"event":null,"data":""}"#,
            400,
            "expected a string",
        ),
        (TOPIC, r#"{"data":"","id":"7"}"#, 400, "unknown field `id`"),
        (TOPIC, "{\"data\":\"\",\"a\\n\\u0007b\":1}", 400, "unknown"),
        (TOPIC, r#"{"data":"","data":""}"#, 400, "duplicate"),
        (TOPIC, r#"{"data":"\ud800"}"#, 400, "the body is no event"),
        (TOPIC, r#"{"json":{"a":}}"#, 400, "the body is no event"),
        (TOPIC, "{}", 400, "neither"),
        (TOPIC, r#"{"event":"note"}"#, 400, "neither"),
        (TOPIC, r#"{"data":"","json":1}"#, 400, "both"),
        (TOPIC, r#"{"data":"","event":""}"#, 400, "event name"),
        (TOPIC, r#"{"data":"","event":"a\nb"}"#, 400, "event name"),
        (TOPIC, r#"{"data":"","event":"sse.gap"}"#, 400, "event name"),
        (TOPIC, &body_too_large, 413, "nothing was stored"),
        (TOPIC, &event_too_large, 413, "nothing was stored"),
        ("/topics/a%20b", good, 404, "topic name"),
        ("/topics/%ff", good, 400, "UTF-8"),
        (&name_too_long, good, 404, "topic name"),
        ("/topics/", good, 404, "/topics/NAME"),
    ];
    for (path, body, status, says) in cases {
        line(answer(post(&hub, path, body)).await, status, says).await;
    }
    let response = answer(http().put(hub.url(TOPIC)).body(good)).await;
    line(response, 405, "GET and POST").await;
    let response = answer(post(&hub, "/stats", good)).await;
    line(response, 405, "GET").await;
    assert_eq!(stats(&hub).await["connections"], unchanged["connections"]);

    // The first event of the topic is the one that was not refused.
    let first = answer(post(
        &hub,
        TOPIC,
        json!({ "data": "x".repeat(MIB) }).to_string(),
    ))
    .await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let id = value(first).await["id"].as_str().unwrap().to_owned();
    assert!(id.ends_with("-1"), "{id}");
}
