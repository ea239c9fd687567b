//! Events to bytes, read back by the oracle.

use std::{iter, time::Duration};

use proptest::prelude::*;
use tower_sse::{Event, EventId, EventName};

use super::{cut, cuts, read};
use crate::{sizes, whatwg};

fn name(name: &str) -> EventName {
    EventName::new(name).expect("a valid name")
}

fn id(id: &str) -> EventId {
    EventId::new(id).expect("a valid id")
}

/// Each CRLF, CR and LF as a client reads it.
fn breaks_as_lf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

#[track_caller]
fn check_block(event: &Event, expected: whatwg::Event) {
    let block = event.encode();
    let text = std::str::from_utf8(&block).expect("a block is UTF-8");
    assert!(!text.contains('\r'), "{event:?}");
    assert_eq!(text.find("\n\n"), Some(text.len() - 2), "{event:?}");
    assert_eq!(whatwg::parse(&block).events, [expected], "{event:?}");
}

#[test]
fn blocks_are_written_to_the_byte() {
    #[track_caller]
    fn check(event: Event, expected: &str) {
        assert_eq!(event.encode(), expected, "{event:?}");
    }
    check(Event::new("a"), "data: a\n\n");
    check(Event::new(""), "data:\n\n");
    check(Event::new(" a"), "data:  a\n\n");
    check(Event::new("a\n"), "data: a\ndata:\n\n");
    check(Event::new("\r\n\r\n\n"), "data:\ndata:\ndata:\ndata:\n\n");
    check(
        Event::new("a\rb\nc\r\nd"),
        "data: a\ndata: b\ndata: c\ndata: d\n\n",
    );
    check(Event::new("a").name(name("n")), "event: n\ndata: a\n\n");
    check(
        Event::new("a\nb").id(id("7")),
        "data: a\ndata: b\nid: 7\n\n",
    );
    check(Event::new("a").reset_id(), "data: a\nid:\n\n");
    check(
        Event::new("").name(name(" n")).id(id(":")),
        "event:  n\ndata:\nid: :\n\n",
    );
    check(Event::new("a").comment("c"), ": c\ndata: a\n\n");
    check(Event::new("a").comment(""), ":\ndata: a\n\n");
    check(
        Event::new("a").comment("b\rc\r\n\nd"),
        ": b\n: c\n:\n: d\ndata: a\n\n",
    );
    check(
        Event::new("a")
            .retry(Duration::from_secs(3))
            .name(name("n"))
            .id(id("7"))
            .comment("c"),
        ": c\nretry: 3000\nevent: n\ndata: a\nid: 7\n\n",
    );
}

#[test]
fn any_text_is_read_back_as_data() {
    #[track_caller]
    fn check(data: &str) {
        let expected = breaks_as_lf(data);
        let event = Event::new(data);
        assert_eq!(
            (event.event_type(), event.data(), event.last_event_id()),
            ("message", data, None)
        );
        check_block(
            &event,
            ("message".to_owned(), expected.clone(), String::new()),
        );
        let event = event.name(name("n")).id(id("7")).comment(data);
        check_block(&event, ("n".to_owned(), expected, "7".to_owned()));
    }
    for data in [
        "",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\r",
        "\n\r",
        "\r\n\r\n",
        "\r\r\n",
        "a\n",
        "a\n\n",
        "\na",
        "a\r",
        "a\r\n",
        "a\r\nb",
        "a\rb",
        "a\n\rb",
        " ",
        "  ",
        " a",
        "\ta",
        "a ",
        "\n a",
        ":",
        ": a",
        "a:b",
        "data: x\n\nevent: y",
        "x\n\ndata: y\n\n",
        "x\r\rid: 1\r\r",
        "x\r\nretry: 1\r\n\r\n",
        "id: 1",
        "event",
        "retry: 0",
        "\u{feff}",
        "\u{feff}a",
        "a\n\u{feff}b",
        "\0",
        "a\0b",
        "\u{1}",
        "\u{85}",
        "a\u{2028}b\u{2029}c",
        "\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{1f}\u{7f}",
        "é🦀",
        "\u{fffd}",
        "\u{10ffff}",
        "{\"a\": [1,\n2]}",
    ] {
        check(data);
    }
    check(&"x".repeat(4 * 1024 * 1024));
    check(&"a\n".repeat(100_000));
    check(&"\r".repeat(100_000));
}

#[test]
fn comment_breaks_out_of_nothing() {
    #[track_caller]
    fn check(comment: &str) {
        let event = Event::new("data").comment(comment);
        check_block(
            &event,
            ("message".to_owned(), "data".to_owned(), String::new()),
        );
        let block = event.encode();
        let block = std::str::from_utf8(&block).expect("a block is UTF-8");
        let comments = block.lines().filter_map(|line| line.strip_prefix(':'));
        let comments: Vec<_> = comments
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        assert_eq!(comments.join("\n"), breaks_as_lf(comment), "{comment:?}");
    }
    for comment in [
        "",
        "a",
        " a",
        "\n",
        "a\nb",
        "a\rb",
        "a\r\nb",
        "\n\ndata: x\n\n",
        "\r\rdata: x\r\r",
        "a\n",
        "\u{feff}",
        "\0",
        ":",
    ] {
        check(comment);
    }
}

#[test]
fn retry_is_whole_milliseconds_and_never_zero() {
    #[track_caller]
    fn check(retry: Duration, millis: u64) {
        let block = Event::new("a").retry(retry).encode();
        let read = whatwg::parse(&block);
        assert_eq!(read.retry, Some(Duration::from_millis(millis)), "{retry:?}");
        assert_eq!(read.events.len(), 1, "{retry:?}");
    }
    check(Duration::ZERO, 1);
    check(Duration::from_micros(999), 1);
    check(Duration::from_millis(1), 1);
    check(Duration::from_micros(2_999), 2);
    check(Duration::from_millis(2_500), 2_500);
    check(Duration::from_secs(24 * 60 * 60), 86_400_000);
    check(Duration::MAX, 0x7fff_ffff);
}

#[test]
fn reset_id_makes_a_client_forget() {
    let blocks = [
        Event::new("a").id(id("7")),
        Event::new("b"),
        Event::new("c").reset_id(),
        Event::new("d"),
    ]
    .map(|event| event.encode());
    let events = whatwg::parse(&blocks.concat()).events;
    let ids: Vec<_> = events
        .iter()
        .map(|(_, data, id)| (&**data, &**id))
        .collect();
    assert_eq!(ids, [("a", "7"), ("b", "7"), ("c", ""), ("d", "")]);
}

#[test]
fn names_have_no_line_break_and_not_our_prefix() {
    for valid in [
        "a",
        "message",
        "error",
        "open",
        "two words",
        " a",
        "a ",
        "a:b",
        ": a",
        "é🦀",
        "\0",
        "\u{feff}",
        "\u{2028}",
        "s",
        "sse",
        "sse_open",
        "sse:",
        "SSE.open",
        "ssse.",
        "x.sse.open",
        " sse.open",
    ] {
        let name = EventName::new(valid).expect(valid);
        assert_eq!(name.as_str(), valid);
        let event = Event::new("data").name(name);
        assert_eq!(event.event_type(), valid);
        check_block(&event, (valid.to_owned(), "data".to_owned(), String::new()));
    }
    for invalid in [
        "",
        "\n",
        "\r",
        "a\n",
        "a\r",
        "\na",
        "a\r\nb",
        "a\ndata: x",
        "sse.",
        "sse.open",
        "sse.x\n",
    ] {
        assert!(EventName::new(invalid).is_err(), "{invalid:?}");
    }
}

#[test]
fn ids_are_what_every_client_sends_back() {
    let every_visible = ('!'..='~').collect::<String>();
    let longest = "x".repeat(128);
    for valid in ["0", "a", "!", "~", ":", "8f2c-17", &every_visible, &longest] {
        let id = EventId::new(valid).expect(valid);
        assert_eq!(id.as_str(), valid);
        let event = Event::new("data").id(id);
        assert_eq!(event.last_event_id(), Some(valid));
        check_block(
            &event,
            ("message".to_owned(), "data".to_owned(), valid.to_owned()),
        );
    }
    let too_long = "x".repeat(129);
    for invalid in [
        "",
        " ",
        "a b",
        " a",
        "a ",
        "\n",
        "a\n",
        "a\r",
        "a\r\ndata: x",
        "\0",
        "a\0",
        "\t",
        "\u{7f}",
        "é",
        "🦀",
        "\u{feff}a",
        &too_long,
    ] {
        assert!(EventId::new(invalid).is_err(), "{invalid:?}");
    }
}

#[test]
fn literals_are_checked_when_they_are_made() {
    const NAME: EventName = EventName::from_static("note");
    const ID: EventId = EventId::from_static("7");
    check_block(
        &Event::new("a").name(NAME).id(ID),
        ("note".to_owned(), "a".to_owned(), "7".to_owned()),
    );
}

/// What a client is to make of an event; `id` is `None` for an event that has none.
#[derive(Clone, Debug)]
struct Model {
    event: Event,
    event_type: String,
    data: String,
    id: Option<String>,
    retry: Option<u32>,
}

fn texts() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        prop::sample::select(vec![
            "\n", "\r", "\r\n", "\n\n", " ", ":", "data: ", "event: ", "id: ", "retry: 1", "\0",
            "\u{feff}", "\u{85}", "\u{2028}", "é", "🦀", "x",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    prop::collection::vec(token, 0..8).prop_map(|tokens| tokens.concat())
}

fn names() -> impl Strategy<Value = String> {
    let name = texts().prop_map(|text| text.replace(['\r', '\n'], ""));
    name.prop_filter("a name", |name| {
        !name.is_empty() && !name.starts_with("sse.")
    })
}

fn models() -> impl Strategy<Value = Model> {
    let id = prop::option::of("[!-~]{0,128}");
    let retry = prop::option::of(1..u32::MAX >> 1);
    let parts = (
        texts(),
        prop::option::of(names()),
        id,
        retry,
        prop::option::of(texts()),
    );
    parts.prop_map(|(data, event_name, event_id, retry, comment)| {
        let mut event = Event::new(&*data);
        if let Some(event_name) = &event_name {
            event = event.name(name(event_name));
        }
        event = match event_id.as_deref() {
            Some("") => event.reset_id(),
            Some(event_id) => event.id(EventId::new(event_id).expect("a valid id")),
            None => event,
        };
        if let Some(retry) = retry {
            event = event.retry(Duration::from_millis(retry.into()));
        }
        if let Some(comment) = &comment {
            event = event.comment(&**comment);
        }
        Model {
            event,
            event_type: event_name.unwrap_or_else(|| "message".to_owned()),
            data: breaks_as_lf(&data),
            id: event_id,
            retry,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(sizes(256, 5_000)))]

    #[test]
    fn any_events_in_a_row_are_read_back_exactly_wherever_they_are_cut(
        models in prop::collection::vec(models(), 0..6),
        cuts in cuts(),
    ) {
        let mut stream = b":\n".to_vec();
        let mut last_event_id = String::new();
        let mut retry = None;
        let mut expected = Vec::new();
        for model in models {
            stream.extend_from_slice(&model.event.encode());
            stream.extend_from_slice(b":\n");
            if let Some(id) = model.id {
                last_event_id = id;
            }
            retry = model.retry.or(retry);
            expected.push((model.event_type, model.data, last_event_id.clone()));
        }
        let expected = whatwg::Parsed {
            events: expected,
            last_event_id,
            retry: retry.map(|millis| Duration::from_millis(millis.into())),
        };
        prop_assert_eq!(&whatwg::parse(&stream), &expected);
        prop_assert_eq!(&read(iter::once(&stream[..])), &expected);
        prop_assert_eq!(&read(stream.chunks(1)), &expected);
        prop_assert_eq!(&read(cut(&stream, &cuts)), &expected);
    }
}
