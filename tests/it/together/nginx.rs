//! nginx before a service: as it comes, told nothing but where the service is, and with HTTP/1.1
//! towards it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use servers::Nginx;
use tokio::sync::Notify;
use tower_sse::{Hub, Sse, SseLayer};

use super::{one_event, quiet};
use crate::{
    client::{Client, Protocol, Request, soon},
    servers::{Kind, Site},
};

const PATHS: [&str; 2] = ["/", "/1.1/"];

type Proxy = servers::Server<Nginx>;

/// Tells a story to nginx before each of the servers.
async fn behind_nginx(site: &Site, story: impl AsyncFn(&Client)) {
    for kind in Kind::FRAMEWORKS {
        eprintln!("on {kind:?}");
        let server = site.serve(kind).await;
        let pass = format!("proxy_pass http://127.0.0.1:{};", server.port());
        let proxy = Proxy::start(&[
            &format!("location / {{ {pass} }}"),
            &format!("location /1.1/ {{ {pass} proxy_http_version 1.1; }}"),
        ]);
        let Some(proxy) = proxy else {
            return server.stop().await;
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port()));
        story(&Client::connect(address.into(), Protocol::Http11).await).await;
        drop(proxy);
        server.stop().await;
    }
}

#[tokio::test]
async fn event_arrives_through_nginx_while_the_stream_is_silent() {
    let hub = Hub::new();
    let followed = hub.clone();
    let site = Site::new(move |seen| Sse::new(followed.subscribe("news", seen.last)));
    behind_nginx(&site.layer(quiet()), async |client| {
        for path in PATHS {
            one_event(&hub, client, Request::get(path)).await;
        }
    })
    .await;
}

/// Tells when it goes.
struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn stream_goes_when_its_client_behind_nginx_has_gone() {
    let (hub, gone) = (Hub::new(), Arc::new(Notify::new()));
    let (followed, telling) = (hub.clone(), Arc::clone(&gone));
    let site = Site::new(move |seen| {
        let told = Told(Arc::clone(&telling));
        let events = followed.subscribe("news", seen.last).events();
        Sse::new(events.inspect(move |_| {
            let _lives_as_long = &told;
        }))
    });
    let site = site.layer(SseLayer::new().heartbeat(Duration::from_millis(50)));
    behind_nginx(&site, async |client| {
        for path in PATHS {
            let response = one_event(&hub, client, Request::get(path)).await;
            assert_eq!(gone.notified().now_or_never(), None);
            drop(response);
            soon(gone.notified()).await;
        }
    })
    .await;
}
