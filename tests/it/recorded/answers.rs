//! What a client is answered that comes back.

use tower_sse::{Resumable, store::MemoryStore};

use super::{Produced, come_back, data};
use crate::{
    client::End,
    servers::{Kind, on},
};

#[tokio::test]
async fn a_client_that_comes_back_gets_the_rest_of_the_same_response() {
    let produced = Produced::default();
    let site = produced.site(&Resumable::new(MemoryStore::new()));
    let runs = std::cell::Cell::new(0);
    on(&Kind::ALL, &site, async |server| {
        let mut first = server.get("/").await;
        let open = first.events(1).await.remove(0);
        assert_eq!((&*open.0, &*open.1), ("sse.open", "{}"));
        produced.send("0");
        produced.send("1");
        let events = first.events(3).await;
        assert_eq!(data(&events), ["0", "1"]);
        drop(first);
        // From its beginning, from the middle, and from the end so far.
        let mut clients = Vec::new();
        for (id, expected) in [
            (&open.2, &["0", "1"][..]),
            (&events[1].2, &["1"]),
            (&events[2].2, &[]),
        ] {
            let mut again = come_back(server, id).await;
            let came = again.events(expected.len()).await;
            assert_eq!(data(&came), expected);
            clients.push((again, expected.len()));
        }
        produced.send("2");
        for (again, before) in &mut clients {
            let came = again.events(*before + 1).await;
            assert_eq!(came.last().unwrap().1, "2");
        }
        produced.end(false);
        for (again, before) in &mut clients {
            assert_eq!(again.end().await, End::Complete);
            assert_eq!(again.parsed().events.len(), *before + 1);
        }
        // After the end, the rest is still there; and then there is nothing left.
        let mut late = come_back(server, &events[1].2).await;
        assert_eq!(late.end().await, End::Complete);
        let rest = late.parsed().events;
        assert_eq!(data(&rest), ["1", "2"]);
        let over = come_back(server, &rest[1].2).await;
        assert_eq!(
            (over.status, over.header("cache-control")),
            (204, Some("no-store"))
        );
        runs.set(runs.get() + 1);
        assert_eq!((produced.runs(), produced.alive()), (runs.get(), 0));
    })
    .await;
}
