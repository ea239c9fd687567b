//! The span of a stream, and what is logged in it.

use std::{
    io,
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt, stream};
use http::Request;
use tower_sse::{Grant, Hub, RequestView, Sse, SseLayer};
use tracing::{Level, subscriber::DefaultGuard};

use super::{SECOND, events, read};
use crate::servers::{Kind, Site};

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin(level: Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of a log that have this text.
fn lines<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

#[tokio::test(start_paused = true)]
async fn source_runs_in_the_span_and_the_end_is_one_event() {
    let site = Site::new(|_| {
        Sse::new(
            events(3)
                .take(3)
                .inspect(|_| tracing::info!("of the source")),
        )
    });
    let grant = |_: RequestView| async { Ok(Grant::new().subject("alice\u{1b}")) };
    for kind in Kind::FRAMEWORKS {
        for traced in [false, true] {
            let layer = SseLayer::new().authorize(grant);
            let layer = match traced {
                false => layer,
                true => layer.trace_subject(),
            };
            let site = site.clone().layer(layer).layer(SseLayer::new());
            let (log, _guard) = Log::begin(Level::DEBUG);
            let request = Request::get("/a%0Ab?token=secret").body(()).unwrap();
            site.call(kind, request).await.text().await;
            let log = log.take();
            assert_eq!(lines(&log, "of the source").len(), 3, "{log}");
            assert_eq!(lines(&log, "event stream is over").len(), 1, "{log}");
            for line in log.lines().filter(|line| line.contains("stream")) {
                assert_eq!(line.matches("sse{id=").count(), 1, "{line}");
                assert!(line.contains(r#"route="/a%0Ab""#), "{line}");
                assert_eq!(line.contains(r#"subject="alice\\u{1b}""#), traced, "{line}");
                assert!(!line.contains("secret"), "{line}");
            }
            let over = lines(&log, "event stream is over")[0];
            for field in [r#"reason="complete""#, "events=3", "bytes=", "seconds="] {
                assert!(over.contains(field), "{over}");
            }
            assert_eq!(log.contains("alice"), traced, "{log}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failure_says_of_which_stream_and_clients_that_leave_are_no_noise() {
    let failing = Site::new(|_| {
        let failure = stream::once(async { Err(io::Error::other("the cause")) });
        Sse::try_new(events(1).take(1).map(Ok).chain(failure))
    });
    let open = Site::new(|_| Sse::new(events(1)));
    for kind in Kind::FRAMEWORKS {
        let (log, _guard) = Log::begin(Level::INFO);
        let site = failing.clone().layer(SseLayer::new().name("numbers"));
        let mut response = site.get(kind).await;
        while let Some(Ok(_)) = response.next().await {}
        let log_of_failure = log.take();
        let [failed] = lines(&log_of_failure, "failed")[..] else {
            panic!("{log_of_failure}");
        };
        assert!(
            failed.contains(r#"route="numbers""#) && failed.contains("the cause"),
            "{failed}"
        );

        let mut response = open.clone().layer(SseLayer::new()).get(kind).await;
        read(&mut response).await;
        drop(response);
        assert_eq!(lines(&log.take(), "sse{").len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_became_of_the_last_event_id_is_in_the_span() {
    let hub = Hub::new();
    let topic = hub.topic("topic").unwrap();
    let id = topic.publish(&1).await.unwrap();
    let site = Site::new(move |seen| Sse::new(hub.subscribe("topic", seen.last)));
    let layer = SseLayer::new()
        .max_age(10 * SECOND)
        .on_close(|_| tracing::info!("of the hook"));
    let site = site.layer(layer);
    for kind in Kind::FRAMEWORKS {
        for (last, resume) in [
            ("", "new"),
            (&*id.to_string(), "resumed"),
            ("nonsense", "gap (unknown)"),
        ] {
            let (log, _guard) = Log::begin(Level::DEBUG);
            let request = Request::get("/").header("last-event-id", last);
            let mut response = site.call(kind, request.body(()).unwrap()).await;
            while let Some(Ok(_)) = response.next().await {}
            let log = log.take();
            for text in ["event stream is over", "of the hook"] {
                let [line] = lines(&log, text)[..] else {
                    panic!("{log}");
                };
                assert!(line.contains(&format!("resume={resume}}}")), "{line}");
            }
        }
    }
}
