//! Metrics, as a recorder gets them.

use std::{collections::BTreeMap, num::NonZeroUsize};

use futures_util::{StreamExt, future::join_all, stream};
use http::Request;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower_sse::{
    Denial, Grant, Hub, Limit, RequestView, Revocations, Sse, SseLayer, Start, StatusCode,
    store::MemoryStore,
};

use super::{SECOND, events, read};
use crate::{
    replay::{hub, late, replay},
    servers::{Answer, Kind, Local, Site},
};

/// The figures by name and labels.
struct Figures(BTreeMap<String, f64>);

impl Figures {
    fn of(recorder: &PrometheusRecorder) -> Self {
        let text = recorder.handle().render();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter_map(|line| line.rsplit_once(' '));
        Self(
            lines
                .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> f64 {
        let name = format!("tower_sse_{name}");
        self.0.get(&name).copied().unwrap_or(0.0)
    }

    /// The sum over all labels.
    fn sum(&self, name: &str) -> f64 {
        let start = format!("tower_sse_{name}{{");
        let all = self.0.iter().filter(|(name, _)| name.starts_with(&start));
        all.map(|(_, value)| value).sum()
    }
}

fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new().build_recorder()
}

#[track_caller]
fn check(recorder: &PrometheusRecorder, expected: &[(&str, f64)]) {
    let figures = Figures::of(recorder);
    for (name, value) in expected {
        assert_eq!(figures.get(name), *value, "{name} of {:#?}", figures.0);
    }
}

#[tokio::test(start_paused = true)]
async fn figures_of_a_stream_come_while_it_is_open() {
    for kind in Kind::FRAMEWORKS {
        let recorder = recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let site = Site::new(|_| Sse::new(events(3))).layer(SseLayer::new().name("r"));
        let mut response = site.get(kind).await;
        let bytes = read(&mut response).await as f64;
        check(
            &recorder,
            &[
                (r#"streams_open{route="r"}"#, 1.0),
                (r#"streams_total{route="r"}"#, 1.0),
                (r#"events_total{route="r"}"#, 0.0),
            ],
        );
        // Those of a stream that stays are told with its heartbeats.
        let beat = tokio::time::timeout(16 * SECOND, response.bytes()).await;
        assert_eq!(beat.unwrap(), ":\n");
        let rest = tokio::time::timeout(15 * SECOND + SECOND / 2, async {
            response.bytes().await;
            response.bytes().await
        });
        assert!(rest.await.is_err());
        check(
            &recorder,
            &[
                (r#"events_total{route="r"}"#, 3.0),
                (r#"heartbeats_total{route="r"}"#, 1.0),
            ],
        );
        drop(response);
        check(
            &recorder,
            &[
                (r#"streams_open{route="r"}"#, 0.0),
                (r#"events_total{route="r"}"#, 3.0),
                (r#"heartbeats_total{route="r"}"#, 2.0),
                (r#"bytes_total{route="r"}"#, bytes + 4.0),
                (r#"ends_total{route="r",reason="disconnected"}"#, 1.0),
                (r#"stream_duration_seconds_count{route="r"}"#, 1.0),
            ],
        );
    }
}

#[tokio::test]
async fn figures_of_clients_that_come_back() {
    let hub = Hub::with_store(MemoryStore::new().max_events(NonZeroUsize::new(4).unwrap()));
    let topic = hub.topic::<u32>("topic").unwrap();
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(topic.publish(&number).await.unwrap().to_string());
    }
    let site =
        Site::new(move |seen| Sse::new(hub.subscribe("topic", seen.last).start(Start::Newest(1))));
    let site = site.layer(SseLayer::new().name("r"));
    for kind in Kind::FRAMEWORKS {
        let recorder = recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        for last in ["", &ids[7], &ids[0]] {
            let request = Request::get("/").header("last-event-id", last);
            let mut response = site.call(kind, request.body(()).unwrap()).await;
            for _ in 0..3 {
                read(&mut response).await;
            }
        }
        check(
            &recorder,
            &[
                (r#"resumes_total{route="r",outcome="new"}"#, 1.0),
                (r#"resumes_total{route="r",outcome="resumed"}"#, 1.0),
                (r#"resumes_total{route="r",outcome="gap"}"#, 1.0),
                (r#"gaps_total{route="r",reason="evicted"}"#, 1.0),
                (r#"events_total{route="r"}"#, 7.0),
                // Of those that came back.
                (r#"replay_events_count{route="r"}"#, 2.0),
                (r#"replay_events_sum{route="r"}"#, 6.0),
                (r#"replay_duration_seconds_count{route="r"}"#, 2.0),
            ],
        );
    }
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    for kind in Kind::FRAMEWORKS {
        let recorder = recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let stop = CancellationToken::new();
        let layer = SseLayer::new()
            .name("r")
            .strict_accept()
            .limit(Limit::total(1))
            .drain(stop.clone())
            .authorize(|request: RequestView| async move {
                match request.path() {
                    "/denied" => Err(Denial::refuse(StatusCode::FORBIDDEN, "no")),
                    "/undecided" => Err(Denial::undecided("no answer")),
                    "/expired" => Ok(Grant::new().expires_at(std::time::UNIX_EPOCH)),
                    _ => Ok(Grant::new()),
                }
            });
        let site = Site::new(|_| Sse::new(events(1))).layer(layer);
        let get = async |path: &str, accept: &str| {
            let request = Request::get(path).header("accept", accept);
            site.call(kind, request.body(()).unwrap()).await
        };
        for path in ["/denied", "/undecided", "/expired"] {
            get(path, "*/*").await;
        }
        get("/", "text/html").await;
        let open = get("/", "*/*").await;
        get("/", "*/*").await;
        stop.cancel();
        get("/", "text/event-stream").await;
        drop(open);
        let reasons = [
            "denied",
            "undecided",
            "expired",
            "not-acceptable",
            "limit",
            "draining",
        ];
        for reason in reasons {
            let name = format!(r#"refusals_total{{route="r",reason="{reason}"}}"#);
            check(&recorder, &[(&name, 1.0)]);
        }
        check(&recorder, &[(r#"streams_total{route="r"}"#, 1.0)]);
    }
}

/// A path is of a client's choosing, so there would be figures for each that comes to mind.
#[tokio::test]
async fn paths_are_no_labels() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let site = Site::new(|_| Sse::new(events(1).take(1))).layer(SseLayer::new());
    for kind in Kind::FRAMEWORKS {
        for path in ["/a", "/b"] {
            let request = Request::get(path).body(()).unwrap();
            site.call(kind, request).await.text().await;
        }
    }
    check(&recorder, &[(r#"streams_total{route=""}"#, 6.0)]);
}

/// Three who want the same at once, one of whom may read at a time.
#[tokio::test(start_paused = true)]
async fn waits_for_a_turn_to_read_are_timed() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let store = late(SECOND, 3).await;
    let hub = hub(&store, 1, 1 << 28);
    let read = (0..3).map(|_| replay(&hub).events().take(3).count());
    assert_eq!(join_all(read).await, [3; 3]);
    let figures = Figures::of(&recorder);
    let waits = figures.get("replay_wait_seconds_count");
    let time = figures.get("replay_wait_seconds_sum");
    assert!(waits >= 2.0 && time >= 3.0, "{waits} waits of {time} s");
}

fn any_answer() -> Box<dyn Answer> {
    let count = fastrand::usize(0..4);
    match fastrand::u8(0..4) {
        0 => Box::new(Sse::new(events(count).take(count))),
        1 => {
            let panic = stream::once(async { panic!("on purpose") });
            Box::new(Sse::new(events(count).take(count).chain(panic)))
        }
        2 => {
            let stream = events(count).take(count).map(|event| Ok(event.encode()));
            Box::new(crate::servers::Streamed {
                headers: vec![("content-type", "text/event-stream")],
                stream,
            })
        }
        _ => Box::new(Sse::new(events(count))),
    }
}

fn any_layer(stop: &CancellationToken, revocations: &Revocations, limit: &Limit) -> SseLayer {
    let mut layer = SseLayer::new()
        .name(["a", "b"][fastrand::usize(0..2)])
        .drain(stop.clone());
    if fastrand::bool() {
        layer = layer.limit(limit.clone());
    }
    if fastrand::bool() {
        layer = layer.max_age(SECOND * fastrand::u32(1..100));
    }
    if fastrand::bool() {
        let hook = |_: RequestView| async {
            match fastrand::u8(0..4) {
                0 => Err(Denial::refuse(StatusCode::FORBIDDEN, "no")),
                _ => Ok(Grant::new().subject("alice")),
            }
        };
        layer = layer.authorize(hook).revocations(revocations);
    }
    if fastrand::bool() {
        layer = layer.on_close(|_| {
            if fastrand::bool() {
                panic!("on purpose");
            }
        });
    }
    layer
}

#[tokio::test(start_paused = true)]
async fn gauges_come_back_to_zero_whatever_happens() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    fastrand::seed(seed);
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (revocations, limit) = (Revocations::new(), Limit::total(5));
    for _ in 0..crate::sizes(20, 400) {
        let stop = CancellationToken::new();
        let mut open: Vec<Local> = Vec::new();
        for _ in 0..fastrand::usize(1..20) {
            let mut site = Site::new(|_| any_answer());
            for _ in 0..fastrand::u8(1..3) {
                site = site.layer(any_layer(&stop, &revocations, &limit));
            }
            let kind = fastrand::choice(Kind::FRAMEWORKS).unwrap();
            let request = Request::get("/").body(()).unwrap();
            let mut response = site.call(kind, request).await;
            match fastrand::u8(0..8) {
                0 => {}
                1 => {
                    revocations.revoke_subject("alice");
                    open.push(response);
                }
                2 => stop.cancel(),
                3 => sleep(SECOND * fastrand::u32(1..60)).await,
                _ => {
                    read(&mut response).await;
                    open.push(response);
                }
            }
            if fastrand::bool() && !open.is_empty() {
                drop(open.swap_remove(fastrand::usize(..open.len())));
            }
        }
        let figures = Figures::of(&recorder);
        let (began, ended) = (figures.sum("streams_total"), figures.sum("ends_total"));
        assert_eq!(figures.sum("streams_open"), began - ended);
        drop(open);
        let figures = Figures::of(&recorder);
        assert_eq!(figures.sum("streams_total"), figures.sum("ends_total"));
        let gauges = figures.0.iter();
        let gauges = gauges.filter(|(name, _)| name.contains("streams_open"));
        assert!(gauges.clone().count() <= 2);
        assert!(
            gauges.clone().all(|(_, open)| *open == 0.0),
            "{:?}",
            figures.0
        );
    }
    assert!(Figures::of(&recorder).sum("streams_total") > 50.0);
}
