//! Who may watch.

use reqwest::StatusCode;

use crate::{
    client::{Client, STREAM, answer, get},
    service::{Framework, Service},
};

// Written differently in a query than in a header.
const VIEWER: &str = "viewer/secret+1==";
const OTHER: &str = "other/secret+2==";
const SETTINGS: [(&str, &str); 2] = [("METRICS_TOKEN", VIEWER), ("METRICS_OTHER_TOKEN", OTHER)];

pub(crate) async fn token_decides(framework: Framework) {
    let service = Service::start(framework, &SETTINGS);
    let bearer = |token| ("authorization", format!("Bearer {token}"));
    let cookie = |token| ("cookie", format!("theme=dark; access_token={token}"));
    let nothing = || ("accept", "*/*".to_owned());
    let in_query = |token: &str| {
        let token = token
            .replace('/', "%2F")
            .replace('+', "%2B")
            .replace('=', "%3D");
        format!("?access_token={token}")
    };
    let no_query = String::new;

    let cases = [
        (200, bearer(VIEWER), no_query()),
        (200, cookie(VIEWER), no_query()),
        (200, nothing(), in_query(VIEWER)),
        (200, bearer("wrong"), in_query(VIEWER)),
        (200, cookie("wrong"), in_query(VIEWER)),
        (200, cookie(OTHER), in_query(VIEWER)),
        (403, bearer(OTHER), no_query()),
        (403, cookie(OTHER), no_query()),
        (403, nothing(), in_query(OTHER)),
        (401, nothing(), no_query()),
        (401, nothing(), in_query("")),
        (401, nothing(), in_query("wrong")),
        (401, bearer("wrong"), no_query()),
        (401, cookie("wrong"), no_query()),
        (
            401,
            ("authorization", format!("Basic {VIEWER}")),
            no_query(),
        ),
        (401, bearer(&VIEWER[..VIEWER.len() - 1]), no_query()),
    ];
    for (status, (name, value), query) in cases {
        let request = get(&service, &format!("{STREAM}{query}")).header(name, &value);
        let case = format!("{name}: {value}, {query:?}");
        let response = answer(request).await;
        assert_eq!(response.status().as_u16(), status, "{case}");
        let challenge = response.headers().get("www-authenticate").cloned();
        assert_eq!(
            challenge.is_some_and(|value| value == "Bearer"),
            status == 401,
            "{case}"
        );
        if status != 200 {
            assert!(!response.text().await.unwrap().contains("secret"), "{case}");
        }
    }

    let mut client = Client::open(get(&service, STREAM).bearer_auth(VIEWER)).await;
    assert_eq!(client.next().await.event, "metrics");
    assert!(!service.log().contains("secret"), "{}", service.log());
}

pub(crate) async fn page_is_open(framework: Framework) {
    let service = Service::start(framework, &SETTINGS);
    for path in ["/", "/?access_token=wrong", "/assets/app.js"] {
        let response = answer(get(&service, path)).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
}

pub(crate) async fn development_user_is_let_in_and_the_log_says_so(framework: Framework) {
    let service = Service::start(framework, &[]);
    assert_eq!(
        Client::connect(&service).await.next().await.event,
        "metrics"
    );
    let log = service.log();
    assert!(log.contains("METRICS_TOKEN is not set"), "{log}");
    assert!(log.contains("`development`"), "{log}");
}
