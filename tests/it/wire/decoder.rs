//! Bytes to events, against the oracle.

use std::time::Duration;

use proptest::prelude::*;
use tower_sse::Decoder;

use super::{cut, cuts, feed, parsed, read};
use crate::{sizes, whatwg};

/// Whole, in two at every position, and byte by byte, where no event may come late.
#[track_caller]
fn check_splits(stream: &[u8]) {
    let whole = whatwg::parse(stream);
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(read([head, tail]), whole, "{:?}", [head, tail].map(show));
    }

    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for at in 0..stream.len() {
        feed(&mut decoder, &stream[at..=at], &mut events).expect("events are within the limit");
        let so_far = &stream[..=at];
        let read = parsed(&decoder, events.clone());
        assert_eq!(read, whatwg::parse(so_far), "{}", show(so_far));
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn streams_are_read_as_the_standard_says_wherever_they_are_split() {
    #[track_caller]
    fn check(stream: impl AsRef<[u8]>, expected: &[(&str, &str, &str)]) {
        let stream = stream.as_ref();
        let events = whatwg::parse(stream).events;
        let events: Vec<_> = events.iter().map(|(t, d, i)| (&**t, &**d, &**i)).collect();
        assert_eq!(events, expected, "the oracle, {}", show(stream));
        check_splits(stream);
    }
    #[track_caller]
    fn check_data(stream: impl AsRef<[u8]>, expected: &[&str]) {
        let events: Vec<_> = expected.iter().map(|data| ("message", *data, "")).collect();
        check(stream, &events);
    }

    // The streams of the web platform tests, `eventsource/format-*`.
    let long = "long comment ".repeat(20);
    check_data(
        "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n",
        &["1", "3"],
    );
    check_data(
        "\u{feff}\u{feff}data:1\n\ndata:2\n\ndata:3\n\n",
        &["2", "3"],
    );
    check_data(
        format!("data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\ndata:4\n\n"),
        &["1\n2\n3\n4"],
    );
    check_data("retry:1000\ndata:test1\n\nid:test\ndata:test2", &["test1"]);
    check_data("data:\n\ndata\ndata\n\ndata:test\n\n", &["", "\n", "test"]);
    check(
        "event:test\ndata:x\n\ndata:x\n\n",
        &[("test", "x", ""), ("message", "x", "")],
    );
    check("event: \ndata:data\n\n", &[("message", "data", "")]);
    check(
        "id: 1\ndata: a\n\ndata: b\n\nid: \ndata: c\n\nid: 2\ndata: d\n\nid\ndata: e\n\n",
        &[
            ("message", "a", "1"),
            ("message", "b", "1"),
            ("message", "c", ""),
            ("message", "d", "2"),
            ("message", "e", ""),
        ],
    );
    check_data("id: \0\0\ndata:x\n\nid: 1\x002\ndata:y\n\n", &["x", "y"]);
    check_data(
        "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n \
         data:32\ndata:4\n\n",
        &["\0\n 2\n1\n3\n\n4"],
    );
    check_data(
        "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
        &["test\n\ntest"],
    );
    check_data("data:\ttest\rdata: \ndata:test\n\n", &["\ttest\n\ntest"]);
    check_data("data:test\r\ndata\ndata:test\r\n\r\n", &["test\n\ntest"]);
    check_data("data:\0\n\n\n\n", &["\0"]);
    check_data("data:ok…\n\n", &["ok…"]);

    // The examples of the standard.
    check_data(
        "data: YHOO\ndata: +2\ndata: 10\n\n: test stream\n\ndata: first event\nid: 1",
        &["YHOO\n+2\n10"],
    );
    check(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        &[
            ("message", "first event", "1"),
            ("message", "second event", ""),
        ],
    );
    check_data("data:test\n\ndata: test\n\n", &["test", "test"]);

    // Line ends.
    check_data("data: a\n\ndata: b\r\rdata: c\r\n\r\n", &["a", "b", "c"]);
    check_data("data: a\r\r\ndata: b\n\r", &["a", "b"]);
    check_data("data: a\n\r\ndata: b\r\n\n", &["a", "b"]);
    check_data("\r\n\r\r\n\n\rdata: a\r\n\r\n\n\n\r\r", &["a"]);
    check_data("data: a\r", &[]);
    check_data("data: a\n", &[]);
    check_data("data: a", &[]);
    check_data(
        "data: \u{85}\u{2028}\u{2029}\u{b}\u{c}\u{1c}\n\n",
        &["\u{85}\u{2028}\u{2029}\u{b}\u{c}\u{1c}"],
    );

    // Colons and spaces.
    check_data(
        "data:  two \ndata:\ndata: : a: b\ndata::\n\n",
        &[" two \n\n: a: b\n:"],
    );
    check_data("data : a\n data: b\ndata\t: c\ndatas: d\ndat: e\n\n", &[]);
    check_data("DATA: a\nEvent: b\nID: c\nRetry: 1\ndata: d\n\n", &["d"]);
    check_data(": data: a\n:\n::\n\n", &[]);

    // Blocks that fire nothing, but for their ids.
    check_data("event: a\n\nretry: 5\n\n:\n\n\n\ndata: b\n\n", &["b"]);
    check("id: 5\n\ndata: a\n\n", &[("message", "a", "5")]);
    check("id: 5\n\nid: 6\ndata: a", &[]);
    check(
        "id: 5\nid: 6\0\ndata: a\n\nid: é 🦀 \ndata: b\n\n",
        &[("message", "a", "5"), ("message", "b", "é 🦀 ")],
    );
    check(
        "data: a\nevent: x\nevent: y\nid: 1\nid: 2\n\nevent: z\nevent\ndata\n\n",
        &[("y", "a", "2"), ("message", "", "2")],
    );

    // The byte order mark, whole and in parts.
    check_data("\u{feff}", &[]);
    check_data("\u{feff}\ndata: a\n\n", &["a"]);
    check_data("\u{feff}\r\ndata: a\n\n", &["a"]);
    check_data("\u{feff}: comment\ndata: a\n\n", &["a"]);
    check_data("\u{feff}data\n\n", &[""]);
    check_data("\n\u{feff}data: a\n\n", &[]);
    check_data(
        "data: \u{feff}a\ndata:\u{feff}\n\n",
        &["\u{feff}a\n\u{feff}"],
    );
    check_data(b"\xef\xbb\ndata: a\n\n", &["a"]);
    check_data(b"\xef\xbbdata: a\n\xefdata: b\n\n", &[]);

    // Bytes that are not UTF-8, each ill-formed part one U+FFFD.
    check_data(
        b"data: \xff\xfe \xe2\x82\n\n",
        &["\u{fffd}\u{fffd} \u{fffd}"],
    );
    check_data(
        b"data: \xc0\xaf\xed\xa0\x80\n\n",
        &["\u{fffd}".repeat(5).as_str()],
    );
    check_data(
        b"data: \xf0\x9f\xa6\ndata: \x80\n\n",
        &["\u{fffd}\n\u{fffd}"],
    );
    check_data(
        b"data\xe2: a\n\xe2\x82data: b\ndata:\xe2 c\n\n",
        &["\u{fffd} c"],
    );
    check(
        b"event: \xf0\x9f\nid: \x80\ndata: a\n\n",
        &[("\u{fffd}", "a", "\u{fffd}")],
    );
}

#[test]
fn retry_is_digits_only_and_counts_at_once() {
    #[track_caller]
    fn check(stream: &str, expected: impl Into<Option<u64>>) {
        let retry = expected.into().map(Duration::from_millis);
        assert_eq!(
            whatwg::parse(stream.as_bytes()).retry,
            retry,
            "the oracle, {stream:?}"
        );
        check_splits(stream.as_bytes());
    }
    check("retry:03000\ndata:x\n\n", 3000);
    check("retry:3000\nretry:1000x\ndata:x\n\n", 3000);
    check("retry\ndata:test\n\n", None);
    check("retry: 5\n\nretry:\n\nretry: \n\n", 5);
    check("retry: 1\rretry: 2\r", 2);
    check("retry: 0\n", 0);
    check("retry: 7", None);
    for bogus in [
        "1.5", "-1", "+1", "1s", " 1", "1 ", "0x1", "1e3", "٣", "1\0",
    ] {
        check(&format!("retry: 4\nretry: {bogus}\n\n"), 4);
    }
    check("retry: 18446744073709551615\n", u64::MAX);
    check("retry: 18446744073709551616\n", u64::MAX);
    check(&format!("retry: 1{}\n", "0".repeat(90)), u64::MAX);
    check(&format!("retry: {}1\n", "0".repeat(90)), 1);
}

#[test]
fn lines_and_events_may_be_long() {
    #[track_caller]
    fn check(stream: String, data: String) {
        let event = ("message".to_owned(), data, String::new());
        for length in [stream.len(), 65_536, 4_093, 7] {
            let read = read(stream.as_bytes().chunks(length));
            assert!(read.events == [event.clone()], "chunks of {length} bytes");
        }
    }
    let megabyte = "x".repeat(1024 * 1024);
    let longest = &megabyte["data: ".len()..];
    check(format!("data: {longest}\n\n"), longest.to_owned());
    check(
        format!("\u{feff}data: {longest}\r\n\r\n"),
        longest.to_owned(),
    );
    check(
        format!(": {megabyte}\n{megabyte}: x\ndata: a\n\n"),
        "a".to_owned(),
    );
    check(
        "data: a\n".repeat(100_000) + "\n",
        vec!["a"; 100_000].join("\n"),
    );
    check(":\n".repeat(1_000_000) + "data: a\n\n", "a".to_owned());
}

#[test]
fn event_over_the_limit_fails_the_decoder_for_good() {
    /// With `Err(n)`, the decoder fails after `n` events.
    #[track_caller]
    fn check(max: usize, stream: &str, expected: Result<usize, usize>) {
        let whole = whatwg::parse(stream.as_bytes()).events;
        for at in 0..=stream.len() {
            let halves = stream.as_bytes().split_at(at);
            let context = format!("{max} bytes, {:?} {:?}", show(halves.0), show(halves.1));
            let mut decoder = Decoder::new().max_event_bytes(max);
            let mut events = Vec::new();
            let fed = feed(&mut decoder, halves.0, &mut events)
                .and_then(|()| feed(&mut decoder, halves.1, &mut events));
            let (Ok(count) | Err(count)) = expected;
            assert_eq!(
                (events.len(), fed.is_ok()),
                (count, expected.is_ok()),
                "{context}"
            );
            assert_eq!(events, whole[..count], "{context}");

            if let Err(error) = fed {
                assert_eq!(
                    error.to_string(),
                    format!("event is larger than {max} bytes")
                );
                for next in ["", "\n\n", "data\n\n"] {
                    let again = feed(&mut decoder, next.as_bytes(), &mut events);
                    let again = again.expect_err("the decoder has failed");
                    assert_eq!(again.to_string(), error.to_string(), "{context}");
                }
                assert_eq!(events.len(), count, "{context}");
            }
        }
    }
    check(6, "data: \n\n", Ok(1));
    check(5, "data: \n\n", Err(0));
    check(4, "data\n\n", Ok(1));
    check(3, "data\n\n", Err(0));
    check(
        0,
        "\n\r\r\n:\n: ignored\nignored: x\nignored\nDATA: x\n\n",
        Ok(0),
    );
    check(0, "\u{feff}retryx\nretryx: 1\n\n", Ok(0));
    check(0, "id\n", Err(0));
    check(9, "data: abc\n\ndata: abc\r\rdata: abc\r\n\r\n", Ok(3));
    check(8, "data: ab\n\n:\n: a long comment\ndata: abc\n\n", Err(1));
    check(15, "data: a\r\ndata: b\r\n\r\n", Ok(1));
    check(14, "data: a\r\ndata: b\r\n\r\n", Err(0));
    check(24, "id: 1\nevent: e\nretry: 22\n\n", Ok(0));
    check(23, "id: 1\nevent: e\nretry: 22\n\n", Err(0));
    check(10, "id: 1\nid: 2\n\n", Err(0));
    check(9, "\u{feff}data: abc\n\n", Ok(1));
    check(8, "\u{feff}data: abc\n\n", Err(0));
    check(8, "data: a\n\ndata: b\n\nevent: too long", Err(2));
    check(
        6,
        ": long comment\nunknown: field\n\u{feff}data: x\ndatax: y\n\n",
        Ok(0),
    );
    check(
        usize::MAX,
        "\u{feff}data: a\nevent: b\nid: c\nretry: 1\n: d\n\n",
        Ok(1),
    );
}

#[test]
fn endless_line_fails_as_soon_as_it_is_too_long() {
    #[track_caller]
    fn check(start: &str, expected: usize) {
        let mut decoder = Decoder::new();
        let mut events = Vec::new();
        feed(&mut decoder, start.as_bytes(), &mut events).expect("a start is within the limit");
        let mut read = 0;
        while read <= expected && feed(&mut decoder, &[b'x'; 16], &mut events).is_ok() {
            read += 16;
        }
        assert_eq!(read, expected, "{start:?}");
    }
    check("data: .....", 1024 * 1024 - 16);
    check("\u{feff}data: ..........", 1024 * 1024 - 16);
    check("event: .........", 1024 * 1024 - 16);
    check("id: 4567\ndata: .", 1024 * 1024 - 16);
}

#[test]
fn decoder_holds_no_more_than_the_limit() {
    #[track_caller]
    fn check(stream: &str) {
        let mut decoder = Decoder::new().max_event_bytes(64);
        let mut events = Vec::new();
        for chunk in stream.as_bytes().chunks(50) {
            let failed = feed(&mut decoder, chunk, &mut events).is_err();
            // All that it holds shows here, a byte in up to five characters.
            let size = format!("{decoder:?}").len();
            assert!(size < 256 + 5 * 128, "{size} bytes of {}", show(chunk));
            assert!(!failed || size < 256, "{size} bytes after the failure");
        }
    }
    let long = "x".repeat(10_000);
    check(&format!(": {long}"));
    check(&format!("{long}: "));
    check(&format!("data{long}"));
    check(&format!("data: {long}"));
    check(&format!("\u{feff}retry: {long}"));
    check(&format!("event: e\nid: i\ndata: a\ndata: {long}"));
    check(&"data\n".repeat(10_000));
    check(&"id: a long id\n".repeat(10_000));
    check(&"event: a long name\n\n".repeat(10_000));
    check(&format!("data: {}\nid: {}\n\n", "x".repeat(40), "7".repeat(10)).repeat(100));
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |bytes: &'static [u8]| Just(bytes.to_vec());
    let token = prop_oneof![
        6 => prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n"]).prop_map(Vec::from),
        4 => prop::sample::select(vec![
            "data", "data:", "data: ", "event", "event: ", "id", "id:", "id: ", "retry", "retry: ",
        ]).prop_map(Vec::from),
        4 => prop::sample::select(vec![
            ":", " ", "0", "7", "x", "\0", "é", "🦀", "\u{feff}", "\u{2028}", "\t",
        ]).prop_map(Vec::from),
        1 => prop_oneof![
            bytes(b"\xef"), bytes(b"\xbb"), bytes(b"\xbf"), bytes(b"\xef\xbb"), bytes(b"\xff"),
            bytes(b"\xe2\x82"), bytes(b"\xf0\x9f\xa6"), bytes(b"\x80"), bytes(b"\xed\xa0"),
        ],
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    let start = prop_oneof![
        3 => bytes(b""),
        1 => bytes(b"\xef\xbb\xbf"),
        1 => bytes(b"\xef\xbb"),
    ];
    (start, prop::collection::vec(token, 0..60))
        .prop_map(|(start, tokens)| [start, tokens.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(sizes(2_000, 50_000)))]

    #[test]
    fn any_bytes_are_read_as_the_standard_says_wherever_they_are_split(
        stream in streams(),
        cuts in cuts(),
    ) {
        let expected = whatwg::parse(&stream);
        prop_assert_eq!(&read([&stream[..]]), &expected);
        prop_assert_eq!(&read(stream.chunks(1)), &expected);
        prop_assert_eq!(&read(cut(&stream, &cuts)), &expected);
    }

    #[test]
    fn splitting_does_not_change_what_is_too_large(
        stream in streams(),
        cuts in cuts(),
        max in 0..24_usize,
    ) {
        let read = |chunks: Vec<&[u8]>| {
            let mut decoder = Decoder::new().max_event_bytes(max);
            let mut events = Vec::new();
            let fed = chunks.into_iter().try_for_each(|chunk| feed(&mut decoder, chunk, &mut events));
            (fed.is_ok(), parsed(&decoder, events))
        };
        let whole = read(vec![&stream]);
        prop_assert_eq!(&read(cut(&stream, &cuts)), &whole);
        prop_assert_eq!(&read(stream.chunks(1).collect()), &whole);
        let (fits, parsed) = whole;
        let expected = whatwg::parse(&stream);
        prop_assert!(expected.events.starts_with(&parsed.events));
        prop_assert!(!fits || parsed == expected);
    }
}
