//! The layer on streams of others: cut anywhere, decorated where that is safe, and otherwise as they
//! were to the byte.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use axum::{
    Router,
    response::sse::{Event, KeepAlive, Sse},
    routing::get,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::time::sleep;
use tower::ServiceExt;
use tower_sse::SseLayer;

use crate::{
    servers::{Kind, Site, Streamed},
    whatwg,
};

const BOM: &[u8] = b"\xef\xbb\xbf";
const OURS: [&[u8]; 2] = [b":\n", b"retry: 4321\n"];
const RETRY: Duration = Duration::from_millis(4321);

fn layer() -> SseLayer {
    SseLayer::new().retry(RETRY..=RETRY)
}

/// A piece of a stream, and how many milliseconds after the one before it comes.
type Piece = (Vec<u8>, u64);

/// A heartbeat is due within either. Two dozen of them, however mixed, do not add up to the time of a
/// heartbeat, when the next piece would come at the same moment.
const PAUSE: u64 = 18_103;
const LONG_PAUSE: u64 = 39_104;

async fn decorated(pieces: &[Piece], kind: Kind) -> Vec<u8> {
    let pieces = pieces.to_vec();
    let site = Site::new(move |_| Streamed {
        headers: vec![("content-type", "text/event-stream")],
        stream: stream::iter(pieces.clone()).then(|(bytes, pause)| async move {
            if pause > 0 {
                sleep(Duration::from_millis(pause)).await;
            }
            Ok(Bytes::from(bytes))
        }),
    });
    let mut response = site.layer(layer()).get(kind).await;
    let mut seen = Vec::new();
    while let Some(bytes) = response.next().await {
        seen.extend_from_slice(&bytes.unwrap());
    }
    seen
}

/// What is left of a stream without the byte order mark that it begins with, complete or not.
fn without_mark(stream: &[u8]) -> &[u8] {
    match BOM.starts_with(stream) {
        true => &[],
        false => stream.strip_prefix(BOM).unwrap_or(stream),
    }
}

/// Whether `seen` is `stream` with lines of ours put in, where lines of it start.
fn is_woven_of(seen: &[u8], stream: &[u8]) -> bool {
    let starts_line = |at: usize| match at.checked_sub(1).map(|before| stream[before]) {
        None | Some(b'\n') => true,
        Some(b'\r') => stream.get(at).is_some_and(|next| *next != b'\n'),
        Some(_) => false,
    };
    // By where in `seen`, all places in `stream` that it may have got to.
    let mut places = vec![BTreeSet::new(); seen.len() + 1];
    places[0].insert(0);
    for at in 0..seen.len() {
        for place in std::mem::take(&mut places[at]) {
            if stream.get(place) == Some(&seen[at]) {
                places[at + 1].insert(place + 1);
            }
            for line in OURS {
                if starts_line(place) && seen[at..].starts_with(line) {
                    places[at + line.len()].insert(place);
                }
            }
        }
    }
    places[seen.len()].contains(&stream.len())
}

/// How many heartbeats are due between the pieces, where a line starts.
fn heartbeats(pieces: &[Piece]) -> usize {
    let (mut stream, mut silence, mut beats) = (Vec::new(), 0, 0);
    for (bytes, pause) in pieces {
        silence += pause;
        let before = without_mark(&stream).to_vec();
        stream.extend_from_slice(bytes);
        if without_mark(&stream).len() > before.len() {
            if before.is_empty() || before.ends_with(b"\n") {
                beats += silence / 15_000;
            }
            silence = 0;
        }
    }
    let all = without_mark(&stream);
    if all.is_empty() || all.ends_with(b"\n") {
        beats += silence / 15_000;
    }
    beats.try_into().unwrap()
}

/// The blocks of a stream, with LF for every line break.
fn blocks(stream: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stream);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.split("\n\n").map(str::to_owned).collect()
}

fn has_field(block: &str, name: &str) -> bool {
    let mut lines = block.lines();
    lines.any(|line| line == name || line.starts_with(&format!("{name}:")))
}

#[track_caller]
fn check_decorated(seen: &[u8], pieces: &[Piece]) {
    let stream = pieces.iter().flat_map(|(bytes, _)| bytes);
    let stream: Vec<_> = stream.copied().collect();
    let show = String::from_utf8_lossy(seen);

    assert!(is_woven_of(seen, without_mark(&stream)), "{show:?}");

    let ours = |block: &&String| block.lines().any(|line| line == "retry: 4321");
    let blocks = blocks(seen);
    let retries: Vec<_> = blocks.iter().filter(ours).collect();
    assert!(retries.len() <= 1, "{show:?}");
    assert!(
        retries.iter().all(|block| has_field(block, "data")),
        "{show:?}"
    );

    let (expected, parsed) = (whatwg::parse(&stream), whatwg::parse(seen));
    assert_eq!(parsed.events, expected.events);
    assert_eq!(parsed.last_event_id, expected.last_event_id);
    match expected.retry {
        Some(theirs) => assert_eq!(parsed.retry, Some(theirs), "{show:?}"),
        None if parsed.events.is_empty() => {}
        // A time of theirs that is none, since clients ignore it, is enough for us to send none.
        None if blocks.iter().any(|block| has_field(block, "retry")) && retries.is_empty() => {}
        None => assert_eq!(parsed.retry, Some(RETRY), "{show:?}"),
    }

    let added = seen.len() - without_mark(&stream).len() - retries.len() * OURS[1].len();
    let beats = added / OURS[0].len() - 1;
    assert_eq!(beats, heartbeats(pieces), "{show:?}");
}

async fn check(pieces: &[Piece]) {
    for kind in Kind::FRAMEWORKS {
        check_decorated(&decorated(pieces, kind).await, pieces);
    }
}

fn bytewise(stream: &[u8], pause: u64) -> Vec<Piece> {
    stream.iter().map(|byte| (vec![*byte], pause)).collect()
}

const AWKWARD: [&[u8]; 37] = [
    b"",
    b"\n",
    b"\r\n\r\n\r\r",
    b"data: a\n\ndata: b\n\n",
    b"data: a\r\n\r\ndata: b\r\n\r\n",
    b"data: a\r\rdata: b\r\r",
    b"data: a\n\r\ndata: b\r\r\ndata: c\r\n\n",
    b"data: a\r\n\rdata: b\n\r",
    b"data: a\r\ndata: b\r\n\r\n",
    b"\xef\xbb\xbfdata: a\n\n",
    b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
    b"\xef\xbb\xbf\r\n\xef\xbb\xbfdata: a\n\ndata: b\n\n",
    b"\xef\xbb\xbf",
    b"\xef\xbbdata: a\n\ndata: b\n\n",
    b"\xefdata: a\n\ndata: b\n\n",
    b":\n\n: c\n\n:\r\r: data: a\n\ndata: a\n\n",
    b"retry: 77\ndata: a\n\ndata: b\n\n",
    b"data: a\nretry: 77\n\ndata: b\n\n",
    b"retry: 77\n\ndata: a\n\n",
    b"data: a\n\nretry: 77\r\rdata: b\r\r",
    b"retry:77\r\ndata: a\r\n\r\n",
    b"retry\ndata: a\n\nretryx: 5\n\n",
    b"retr: 77\nretry : 77\nRetry: 77\ndata: a\n\n",
    b"data\n\ndata\ndata\n\ndata:\n\n",
    b"datax: 1\ndata : 2\nDATA: 3\n data: 4\n: data: 5\n\ndata: 6\n\n",
    b"d\nda\ndat\n\ndata\n\n",
    b"event: e\nid: 7\ndata: a\n\nid\ndata: b\n\nid: 8\n\n",
    b"id: 5\n\nevent: x\n\nid: 6\revent: y\r\rdata: a\r\r",
    b"data: a",
    b"data: a\n",
    b"data: a\r",
    b"data: a\n\ndata: b\nid: 9\n",
    b"\n\n\ndata: a\n\n\n\ndata: b\n\n\n",
    b"data: \xef\xbb\xbf\xe2\x80\xa8\x00\x85\n\n",
    b"data: \xff\xfe\n\n\xc3\n\ndata: \xc3",
    b"retry: 77",
    b"data: :\n\ndata::\n\n::\n\n:retry: 5\n\n",
];

#[tokio::test(start_paused = true)]
async fn stream_that_is_cut_anywhere_is_decorated_where_its_lines_start() {
    for stream in AWKWARD {
        for at in 0..=stream.len() {
            let (before, after) = stream.split_at(at);
            check(&[(before.to_vec(), 0), (after.to_vec(), PAUSE)]).await;
        }
        for pause in [0, PAUSE, LONG_PAUSE] {
            check(&bytewise(stream, pause)).await;
        }
        let mut silent = vec![(Vec::new(), PAUSE), (stream.to_vec(), PAUSE)];
        silent.push((Vec::new(), PAUSE));
        check(&silent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn long_lines_pass_without_waiting_for_their_end() {
    let stream = format!(
        "data: {}\r\n\r\n",
        "x".repeat(crate::sizes(100_000, 5_000_000))
    );
    let stream = stream.as_bytes();
    for cut in [1, 7, 1000, 65_536, stream.len() - 3, stream.len() - 1] {
        let pieces: Vec<_> = [&stream[..cut], &stream[cut..], b"data: y\n", b"\n"]
            .map(|bytes| (bytes.to_vec(), PAUSE))
            .into();
        for kind in Kind::FRAMEWORKS {
            let seen = decorated(&pieces, kind).await;
            let events = whatwg::parse(&seen).events;
            assert_eq!(events, whatwg::parse(&pieces.concat_bytes()).events);
            // What was cut in the middle of a line stays together.
            let added = seen.len() - pieces.concat_bytes().len() - OURS[1].len();
            assert_eq!(added / OURS[0].len() - 1, heartbeats(&pieces));
        }
    }
}

trait ConcatBytes {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl ConcatBytes for Vec<Piece> {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|(bytes, _)| bytes).copied().collect()
    }
}

/// Streams of what matters to a parser.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "\n", "\r", "\r\n", "\n\n", "data", "data:", "data: x", "d", "retry", "retry: 7", "retry:",
        "id: 1", "event: x", ":", " ", "x", "\u{feff}", "é", "\u{2028}", "\0",
    ]);
    let words = prop::collection::vec(words, 0..24);
    (any::<bool>(), words).prop_map(|(mark, words)| {
        let mark = if mark { BOM } else { b"" };
        [mark, words.concat().as_bytes()].concat()
    })
}

fn any_pieces() -> impl Strategy<Value = Vec<Piece>> {
    let cuts = prop::collection::vec(
        (0..8_usize, prop::sample::select(vec![0, PAUSE, LONG_PAUSE])),
        1..24,
    );
    (any_stream(), cuts).prop_map(|(stream, cuts)| {
        let mut rest = &stream[..];
        let mut pieces = Vec::new();
        for (length, pause) in cuts {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            pieces.push((piece.to_vec(), pause));
            rest = after;
        }
        pieces.push((rest.to_vec(), 0));
        pieces
    })
}

#[test]
fn any_stream_is_decorated_without_a_trace_in_its_events() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(crate::sizes(512, 50_000))
    };
    proptest!(config, |(pieces in any_pieces())| {
        runtime.block_on(check(&pieces));
    });
}

/// The stream of axum's own response, with its own keep-alive.
async fn of_axum(keep_alive: u64) -> String {
    let handler = move || async move {
        let events = stream::iter(0..4_u32).then(|number| async move {
            sleep(Duration::from_secs(u64::from(number) * 35)).await;
            Ok::<_, Infallible>(Event::default().id(number.to_string()).data("a\nb"))
        });
        let keep_alive = KeepAlive::new().interval(Duration::from_secs(keep_alive));
        Sse::new(events).keep_alive(keep_alive.text("still here"))
    };
    let app = Router::new().route("/", get(handler)).layer(layer());
    let response = app
        .oneshot(http::Request::new(axum::body::Body::empty()))
        .await
        .unwrap();
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn keep_alive_of_axum_and_the_heartbeat_do_not_disturb_each_other() {
    let id = |number: u32| ("message".to_owned(), "a\nb".to_owned(), number.to_string());
    for (keep_alive, beats) in [(10, false), (14, false), (20, true), (1_000, true)] {
        let seen = of_axum(keep_alive).await;
        let parsed = whatwg::parse(seen.as_bytes());
        assert_eq!(parsed.events, [0, 1, 2, 3].map(id));
        assert_eq!(parsed.retry, Some(RETRY));
        assert_eq!(seen.matches("retry").count(), 1);
        let ours = seen.lines().filter(|line| *line == ":").count();
        assert_eq!(ours > 1, beats, "{seen}");
    }
}
