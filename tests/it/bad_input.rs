//! What a client may send as its last event id, against the streams of a hub.

use bytes::Bytes;
use tower_sse::{
    Hub, Sse, SseLayer, TopicName,
    store::{Epoch, Position},
};

use crate::{
    client::{Client, Request, Response},
    servers::{Kind, Site, on},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// A new client: no gap.
    Fresh,
    Gap(&'static str),
    /// All behind the first of three events.
    Resumed,
    /// Whatever the parser of requests makes of it, as long as the server goes on.
    Parsers,
}
use Expected::{Fresh, Gap, Parsers, Resumed};

/// The values of the header, the query, and what is to come of them.
type Case = (Vec<Bytes>, String, Expected);

/// Cases against a topic of three events.
fn cases(first: Position) -> Vec<Case> {
    let header = |value: &[u8], expected| {
        let value = Bytes::copy_from_slice(value);
        (vec![value], String::new(), expected)
    };
    let query = |query: &str, expected| (Vec::new(), query.to_owned(), expected);
    let epoch = first.epoch().get();
    let (first, id) = (first.to_string(), &first);
    let at = |epoch, offset| Position::new(Epoch::new(epoch), offset).to_string();
    let other = at(epoch ^ 1, id.offset());
    let ahead = at(epoch, id.offset() + 1_000_000);
    let highest = at(epoch, u64::MAX);
    let long = "a".repeat(6 * 1024);

    let mut cases = vec![
        (vec![], String::new(), Fresh),
        header(b"", Fresh),
        header(b" \t ", Fresh),
        header(first.as_bytes(), Resumed),
        header(format!(" {first} ").as_bytes(), Resumed),
        header(long.as_bytes(), Gap("unknown")),
        header(b"\xff\xfe", Gap("unknown")),
        header(b"\xed\xa0\x80", Gap("unknown")),
        header("é\u{1f980}".as_bytes(), Gap("unknown")),
        header(b"a\tb", Gap("unknown")),
        header(b"-", Gap("unknown")),
        header(b"1", Gap("unknown")),
        header(b"1-2-3", Gap("unknown")),
        header(b"-1", Gap("unknown")),
        header(format!("{first} x").as_bytes(), Gap("unknown")),
        header(
            format!("{first}0000000000000000000000").as_bytes(),
            Gap("unknown"),
        ),
        header(format!("+{first}").as_bytes(), Gap("unknown")),
        header(b"../../etc/passwd", Gap("unknown")),
        header(other.as_bytes(), Gap("unknown")),
        header(ahead.as_bytes(), Gap("ahead")),
        header(highest.as_bytes(), Gap("ahead")),
    ];
    for control in [b"\0", b"\x01", b"\x1b", b"\x7f"] {
        let value = [first.as_bytes(), &control[..]].concat();
        cases.push(header(&value, Parsers));
    }
    let several = |values: [&str; 2], expected| {
        let values = values.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        (values.into(), String::new(), expected)
    };
    cases.extend([
        several([&first, &first], Resumed),
        several(["", &first], Resumed),
        several(["", ""], Fresh),
        several([&first, &other], Gap("unknown")),
        (vec!["".into()], format!("lastEventId={first}"), Resumed),
        (
            vec!["x".into()],
            format!("lastEventId={first}"),
            Gap("unknown"),
        ),
        (vec![first.clone().into()], "lastEventId=x".into(), Resumed),
    ]);
    for name in ["lastEventId", "last_event_id", "lastEventID"] {
        cases.extend([
            query(&format!("{name}="), Fresh),
            query(name, Fresh),
            query(&format!("{name}={first}"), Resumed),
            query(
                &format!("a=b&{name}={}", first.replace('-', "%2D")),
                Resumed,
            ),
            query(&format!("{name}={first}&{name}={first}"), Resumed),
            query(&format!("{name}={first}&{name}={other}"), Gap("unknown")),
            query(&format!("{name}={other}"), Gap("unknown")),
            query(&format!("{name}={ahead}"), Gap("ahead")),
            query(&format!("{name}={long}"), Gap("unknown")),
            query(&format!("{name}=%ff%fe"), Gap("unknown")),
            query(&format!("{name}=%00"), Gap("unknown")),
            query(&format!("{name}=%0d%0adata:%20x"), Gap("unknown")),
            query(&format!("{name}=%"), Gap("unknown")),
            query(&format!("{name}=%zz"), Gap("unknown")),
            query(&format!("{name}=+"), Gap("unknown")),
            query(&format!("{name}={first}%00"), Gap("unknown")),
        ]);
    }
    cases.push(query("lastEventId=&last_event_id=x", Gap("unknown")));
    cases.push(query("LASTEVENTID=x&last-event-id=x", Fresh));
    cases.push(query("&&=;%%%", Fresh));
    cases
}

async fn send(client: &Client, topic: &TopicName, (header, query, _): &Case) -> Response {
    let mut request = Request::get(format!("/{topic}?{query}"));
    for value in header {
        request = request.header("last-event-id", value);
    }
    client.send(request).await
}

/// Publishes to the topic and sees it arrive, after what has come already.
async fn check_goes_on(hub: &Hub, topic: &TopicName, response: &mut Response, before: usize) {
    let published = hub.topic::<str>(topic).unwrap().publish("late");
    let id = published.await.unwrap();
    let events = response.events(before + 1).await;
    assert_eq!(events.len(), before + 1, "{events:?}");
    let late = ("message".into(), "\"late\"".into(), id.as_str().to_owned());
    assert_eq!(events[before], late);
}

/// Follows the topic, so that the process knows its newest events before anybody comes back.
async fn follow(client: &Client, topic: &TopicName) -> Response {
    let mut follower = send(client, topic, &(vec![], String::new(), Fresh)).await;
    follower.events(1).await;
    follower
}

async fn check(hub: &Hub, client: &Client, topic: &TopicName, case: &Case) {
    let mut response = send(client, topic, case).await;
    if case.2 == Parsers {
        assert!([200, 400].contains(&response.status));
        return;
    }
    assert_eq!(response.status, 200);
    let events = response.events(1).await;
    let (kind, data, id) = &events[0];
    assert_ne!(id, "");
    match case.2 {
        Fresh => {
            assert_eq!((&**kind, &**data), ("sse.open", "{}"));
            check_goes_on(hub, topic, &mut response, 1).await;
        }
        Gap(reason) => {
            let gap = format!(r#"{{"reason":"{reason}""#);
            assert_eq!(kind, "sse.gap");
            assert!(data.starts_with(&gap), "{data}");
            check_goes_on(hub, topic, &mut response, 1).await;
            // A drop after the gap neither repeats it nor loses what came.
            let again = (vec![id.clone().into()], String::new(), Resumed);
            let mut again = send(client, topic, &again).await;
            assert_eq!(again.events(1).await[0].1, "\"late\"");
        }
        Resumed => {
            let events = response.events(2).await;
            let data: Vec<_> = events.iter().map(|event| &*event.1).collect();
            assert_eq!(data, ["\"second\"", "\"third\""]);
            check_goes_on(hub, topic, &mut response, 2).await;
        }
        Parsers => {}
    }
}

async fn check_all(kinds: &[Kind], followed: bool) {
    let hub = Hub::new();
    let subscribe = hub.clone();
    let site = Site::new(move |seen| {
        let topic = TopicName::new(&seen.path[1..]).unwrap();
        Sse::new(subscribe.subscribe(topic, seen.last))
    });
    on(kinds, &site.layer(SseLayer::new()), async |server| {
        let client = server.client().await;
        for index in 0.. {
            let topic = TopicName::new(format!("{:?}-{index}", server.kind)).unwrap();
            let mut follower = match followed {
                true => Some(follow(&client, &topic).await),
                false => None,
            };
            let publisher = hub.topic::<str>(&topic).unwrap();
            let first = publisher.publish("first").await.unwrap();
            publisher.publish("second").await.unwrap();
            publisher.publish("third").await.unwrap();
            if let Some(follower) = &mut follower {
                follower.events(4).await;
            }
            let cases = cases(first.as_str().parse().unwrap());
            let Some(case) = cases.get(index) else {
                assert!(index > 60);
                break;
            };
            eprintln!("{:.100}", format!("{case:?}"));
            check(&hub, &client, &topic, case).await;
        }
    })
    .await;
}

#[tokio::test]
async fn whatever_last_event_id_is_sent_a_stream_comes_and_loss_is_told() {
    check_all(&Kind::FRAMEWORKS, false).await;
}

#[tokio::test]
async fn whatever_last_event_id_is_sent_to_a_topic_that_others_follow_loss_is_told() {
    check_all(&Kind::FRAMEWORKS, true).await;
}
