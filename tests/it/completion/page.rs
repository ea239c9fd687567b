//! The page of the examples in a browser, and a client of others.

use browser::{Page, browse};
use serde_json::json;
use servers::{Network, Proxy};

use super::{AT_ONCE, Example, KINDS, Model, PROMPT, SLOWLY};

const ANSWER: &str = "document.querySelector('#answer').textContent";
const STATE: &str = "document.querySelector('#state').dataset.state";
const WAYS: [&str; 2] = ["source", "fetch"];
/// Most of an answer: one connection is cut, and the rest comes on the next one.
const SHORT: Network = Network::Short(40_000);

/// Fills in the form, and sends it.
async fn ask(page: &Page, way: &str) {
    page.value(&format!("document.querySelector('select').value = '{way}'"))
        .await;
    page.submit("input", PROMPT).await;
}

#[tokio::test]
async fn page_types_the_whole_answer_however_often_it_is_cut() {
    for kind in KINDS {
        let example = Example::start(kind, AT_ONCE);
        let (port, answers) = (example.server.port(), example.answers.clone());
        browse(async move |page| {
            page.open(&format!("http://127.0.0.1:{port}/")).await;
            // Between two words, whatever has come already.
            let cutting = "(() => {
                let words = 0;
                window.cuts = 0;
                new MutationObserver(() => {
                    words += 1;
                    if (words % 100 === 0) {
                        window.cuts += 1;
                        document.querySelector('#cut').click();
                    }
                }).observe(document.querySelector('#answer'), { childList: true });
            })()";
            page.value(cutting).await;
            for (way, number) in WAYS.into_iter().zip(1..) {
                page.value("window.cuts = 0").await;
                ask(&page, way).await;
                page.until(&format!("{STATE} === 'done'")).await;
                assert_eq!(page.value(ANSWER).await, Model::text(PROMPT), "{way}");
                assert!(page.value("cuts").await.as_u64().unwrap() >= 2, "{way}");
                assert_eq!(answers.load(std::sync::atomic::Ordering::Relaxed), number);
            }
            page.save_screenshots(&format!("done-{kind:?}")).await;
            assert_eq!(page.complaints().await, Vec::<String>::new());
        })
        .await;
        example.server.stop().await;
    }
}

#[tokio::test]
async fn page_misses_nothing_where_the_network_fails() {
    for kind in KINDS {
        let example = Example::start(kind, AT_ONCE);
        let network = Proxy::to(example.server.port()).await;
        let (port, answers) = (network.port(), example.answers.clone());
        network.is(SHORT);
        browse(async move |page| {
            page.open(&format!("http://127.0.0.1:{port}/")).await;
            let seeing = "(() => {
                const state = document.querySelector('#state');
                new MutationObserver(() => { window.cuts += state.dataset.state === 'cut'; })
                    .observe(state, { attributes: true });
            })()";
            page.value(seeing).await;
            for (way, number) in WAYS.into_iter().zip(1..) {
                page.value("window.cuts = 0").await;
                ask(&page, way).await;
                page.until(&format!("{STATE} === 'done'")).await;
                assert_eq!(page.value(ANSWER).await, Model::text(PROMPT), "{way}");
                assert!(page.value("cuts").await.as_u64().unwrap() >= 1, "{way}");
                assert_eq!(answers.load(std::sync::atomic::Ordering::Relaxed), number);
            }
        })
        .await;
        drop(network);
        example.server.stop().await;
    }
}

#[tokio::test]
async fn page_says_that_an_answer_was_stopped() {
    for kind in KINDS {
        let example = Example::start(kind, SLOWLY);
        let port = example.server.port();
        browse(async move |page| {
            page.open(&format!("http://127.0.0.1:{port}/")).await;
            for way in WAYS {
                ask(&page, way).await;
                page.until(&format!("{ANSWER} !== ''")).await;
                page.save_screenshots(&format!("writing-{kind:?}")).await;
                page.click("#stop").await;
                page.until(&format!("{STATE} === 'cancelled'")).await;
                let said = page.value("document.querySelector('#state').value").await;
                assert_eq!(said, "stopped");
                let text = page.value(ANSWER).await.as_str().unwrap().to_owned();
                assert!(Model::text(PROMPT).starts_with(&text), "{text}");
                page.save_screenshots(&format!("stopped-{kind:?}")).await;
            }
            assert_eq!(page.complaints().await, Vec::<String>::new());
        })
        .await;
        example.server.stop().await;
    }
}

/// Asks with `@microsoft/fetch-event-source`. A `204` has no body, which it would take for a failure.
const FOREIGN_CLIENT: &str = "(async () => {
    const { fetchEventSource } = await import('/vendor/fetch');
    window.follow = (key, last) => {
        const seen = { words: '', asked: [], errors: 0, closed: 0, names: new Set() };
        const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key, ...last };
        const stop = new Error('over');
        fetchEventSource('/completion', {
            method: 'POST',
            headers,
            body: JSON.stringify({ prompt: 'trains' }),
            openWhenHidden: true,
            fetch: (input, init) => {
                seen.asked.push([init.headers['last-event-id'], seen.last]);
                return fetch(input, init);
            },
            onopen: async (response) => {
                if (response.status === 204) throw stop;
            },
            onmessage: ({ event, data, id }) => {
                seen.last = id;
                seen.names.add(event);
                if (event === '' && data !== '[DONE]') {
                    seen.words += JSON.parse(data).choices[0].delta.content ?? '';
                }
            },
            onclose: () => { seen.closed += 1; },
            onerror: (error) => {
                if (error === stop) throw error;
                seen.errors += 1;
            },
        }).then(() => { seen.end = 'resolved'; }, (error) => { seen.end = error.message; });
        return seen;
    };
})()";

#[tokio::test]
async fn fetch_event_source_comes_back_over_post() {
    for kind in KINDS {
        let example = Example::start(kind, AT_ONCE);
        let network = Proxy::to(example.server.port()).await;
        let (port, answers) = (network.port(), example.answers.clone());
        browse(async move |page| {
            page.open(&format!("http://127.0.0.1:{port}/")).await;
            page.value(FOREIGN_CLIENT).await;
            network.is(SHORT);
            page.value("void (window.first = follow('1', {}))").await;
            page.until("first.end").await;
            assert_eq!(
                page.value("[first.end, first.closed]").await,
                json!(["resolved", 1])
            );
            assert_eq!(page.value("first.words").await, Model::text(PROMPT));
            assert_eq!(
                page.value("[...first.names]").await,
                json!(["sse.open", ""])
            );
            // At least one connection was lost, and each time it came back with what it had seen last.
            assert!(page.value("first.errors").await.as_u64().unwrap() >= 1);
            let asked = page.value("first.asked").await;
            let asked = asked.as_array().unwrap();
            assert!(asked.iter().all(|asked| asked[0] == asked[1]), "{asked:?}");

            // After the end there is nothing more, nor another answer.
            page.value("void (window.late = follow('2', { 'last-event-id': first.last }))")
                .await;
            page.until("late.end").await;
            let late = page
                .value("[late.end, late.words, late.asked.length]")
                .await;
            assert_eq!(late, json!(["over", "", 1]));
            assert_eq!(answers.load(std::sync::atomic::Ordering::Relaxed), 1);
        })
        .await;
        example.server.stop().await;
    }
}
