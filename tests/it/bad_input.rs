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

#[tokio::test]
async fn whatever_last_event_id_is_sent_a_stream_comes_and_loss_is_told() {
    let hub = Hub::new();
    let followed = hub.clone();
    let site = Site::new(move |seen| {
        let topic = TopicName::new(&seen.path[1..]).unwrap();
        Sse::new(followed.subscribe(topic, seen.last))
    });
    let kinds = [Kind::Tower, Kind::Axum, Kind::Actix];
    on(&kinds, &site.layer(SseLayer::new()), async |server| {
        let client = server.client().await;
        let mut index = 0;
        loop {
            let topic = TopicName::new(format!("{:?}-{index}", server.kind)).unwrap();
            let publisher = hub.topic::<str>(&topic).unwrap();
            let first = publisher.publish("first").await.unwrap();
            publisher.publish("second").await.unwrap();
            publisher.publish("third").await.unwrap();
            let mut cases = cases(first.as_str().parse().unwrap());
            if index == cases.len() {
                break;
            }
            let case = cases.swap_remove(index);
            index += 1;
            eprintln!("{case:?}");

            let mut response = send(&client, &topic, &case).await;
            if case.2 == Parsers {
                assert!([200, 400].contains(&response.status), "{case:?}");
                continue;
            }
            assert_eq!(response.status, 200, "{case:?}");
            let events = response.events(1).await;
            let (kind, data, id) = &events[0];
            assert_ne!(id, "", "{case:?}");
            match case.2 {
                Fresh => {
                    assert_eq!((&**kind, &**data), ("sse.open", "{}"), "{case:?}");
                    check_goes_on(&hub, &topic, &mut response, 1).await;
                }
                Gap(reason) => {
                    let gap = format!(r#"{{"reason":"{reason}""#);
                    assert_eq!(kind, "sse.gap", "{case:?}");
                    assert!(data.starts_with(&gap), "{data} {case:?}");
                    check_goes_on(&hub, &topic, &mut response, 1).await;
                    // A drop after the gap neither repeats it nor loses what came.
                    let id = Bytes::from(id.clone());
                    let again = (vec![id], String::new(), Resumed);
                    let mut again = send(&client, &topic, &again).await;
                    assert_eq!(again.events(1).await[0].1, "\"late\"", "{case:?}");
                }
                Resumed => {
                    let data: Vec<_> = response.events(2).await;
                    let data: Vec<_> = data.iter().map(|event| &*event.1).collect();
                    assert_eq!(data, ["\"second\"", "\"third\""], "{case:?}");
                    check_goes_on(&hub, &topic, &mut response, 2).await;
                }
                Parsers => {}
            }
        }
        assert!(index > 60);
    })
    .await;
}
