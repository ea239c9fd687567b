//! What is published with transactions of Postgres, while the hub that puts it in order is killed.

use servers::{Postgres, Server};
use tokio::task::spawn_blocking;

use crate::{
    backend::{Backend, hubs},
    client::{Client, get},
    hub::Hub,
};

const TRANSACTIONS: u64 = 40;
const EACH: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_hub_goes_on_where_one_is_killed() {
    let Some(server) = Server::<Postgres>::start(Postgres::SETTINGS) else {
        return;
    };
    // It is there first, and so is the one that puts events in order.
    let mut first = Hub::start(&["--store", &server.url()]);
    let others = hubs::<2>(&server.url());
    let mut clients = Vec::new();
    for hub in &others {
        let mut client = Client::open(get(hub, "/topics/orders")).await;
        client.expect("sse.open").await;
        clients.push(client);
    }
    let publishing = spawn_blocking(move || {
        for transaction in 0..TRANSACTIONS {
            let (from, to) = (transaction * EACH, (transaction + 1) * EACH - 1);
            server.sql(&format!(
                "begin; select tower_sse.publish('orders', n::text, 'paid')
                from generate_series({from}, {to}) n; commit"
            ));
            if transaction == TRANSACTIONS / 4 {
                first.kill();
            }
        }
        server
    });
    for client in &mut clients {
        for number in 0..TRANSACTIONS * EACH {
            let event = client.expect("paid").await;
            assert_eq!(event.data(), number.to_string());
        }
    }
    let server = publishing.await.unwrap();
    assert_eq!(server.number("select count(*) from tower_sse.outbox"), 0);
    assert_eq!(
        server.number("select head from tower_sse.topics"),
        TRANSACTIONS * EACH
    );
}
