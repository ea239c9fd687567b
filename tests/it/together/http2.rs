//! HTTP/2 without TLS under actix-web, which the other tests speak with hyper.

use actix_web::App;
use tower_sse::Hub;

use super::{actix_server, one_event, publish, quiet, services};
use crate::client::{End, Protocol, Request};

#[tokio::test]
async fn streams_of_one_connection_in_actix_are_apart() {
    let hub = Hub::new();
    let of_app = hub.clone();
    let app = move || {
        let app = App::new().configure(|config| services(config, &of_app));
        app.wrap(quiet())
    };
    let server = actix_server!(listen_auto_h2c, app);
    let client = server.client_of(Protocol::Http2).await;
    let mut goes_on = one_event(&hub, &client, Request::get("/endless")).await;
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ] {
        assert_eq!(goes_on.header(name), None);
    }
    let mut ends = one_event(&hub, &client, Request::get("/ending")).await;
    let mut fails = one_event(&hub, &client, Request::get("/panicking")).await;
    publish(&hub, "last").await;
    assert_eq!(ends.end().await, End::Complete);
    assert_eq!(fails.end().await, End::Broken);
    assert_eq!(fails.parsed().events.len(), 2);
    assert_eq!(goes_on.events(5).await[4].1, r#""last""#);
    drop((goes_on, client));
    server.stop().await;
}
