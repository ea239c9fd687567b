//! A ticket opens a stream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::stream;
use tower_sse::{Event, Grant, RequestView, Sse, SseLayer, Tickets, TopicName};

use crate::{
    client::{End, Request},
    servers::{Kind, Seen, Site, on},
};

#[tokio::test]
async fn ticket_opens_a_stream_and_nothing_else_does() {
    let tickets = Tickets::new([7; 32]).unwrap();
    let verifying = tickets.clone();
    let layer = SseLayer::new().authorize(move |request: RequestView| {
        let ticket = request.query_param("ticket").unwrap_or_default();
        let grant = verifying.verify_for(&ticket, &request);
        async move { Ok(grant?) }
    });
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let site = Site::new(move |seen: Seen| {
        counted.fetch_add(1, Ordering::SeqCst);
        let grant = seen.grant.unwrap();
        let news = grant.allows(&TopicName::from_static("news"));
        let text = format!("{:?} {news}", grant.subject_name());
        Sse::new(stream::iter([Event::new(text)]))
    });
    let grant = Grant::new().subject("al&ce=?/+").topics(["news"]);
    let ended = tickets.clone().lifetime(Duration::ZERO);
    let ended = ended.issue_for(&grant, "/a").unwrap();
    let elsewhere = tickets.issue_for(&grant, "/b").unwrap();
    let everywhere = tickets.issue(&grant).unwrap();
    let others = Tickets::new([8; 32]).unwrap();
    let others = others.issue_for(&grant, "/a").unwrap();
    let ticket = tickets.issue_for(&grant, "/a").unwrap();
    on(&Kind::ALL, &site.layer(layer), async |server| {
        runs.store(0, Ordering::SeqCst);
        let client = server.client().await;
        // As often as one likes.
        for ticket in [&ticket, &ticket, &everywhere] {
            let mut response = client.get(&format!("/a?ticket={ticket}")).await;
            assert_eq!(response.status, 200);
            let event = &response.events(1).await[0].1;
            assert_eq!(event, r#"Some("al&ce=?/+") true"#);
        }
        assert_eq!(runs.load(Ordering::SeqCst), 3);

        let huge = "A".repeat(10_000);
        let cut = &ticket[..ticket.len() - 1];
        for query in [
            "",
            "ticket",
            "ticket=",
            "ticket=%ff%00",
            "ticket=%",
            &ended,
            &elsewhere,
            &others,
            cut,
            &huge,
        ] {
            let query = match query.contains("ticket") {
                true => query.to_owned(),
                false => format!("ticket={query}"),
            };
            let request = Request::get(format!("/a?{query}")).header("accept", "text/event-stream");
            let mut response = client.send(request).await;
            assert_eq!(response.status, 401, "{query:.80}");
            assert_eq!(response.header("cache-control"), Some("no-store"));
            assert!(response.header("www-authenticate").is_some());
            assert_eq!(response.end().await, End::Complete);
        }
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    })
    .await;
}
