//! What is taken away behind the back of a connection that never drops.

mod by_hand;

use std::time::Duration;

use servers::Server;
use tokio::time::{sleep, timeout};
use tower_sse::DecodedEvent;

use crate::{
    backend::hubs,
    client::{Client, get, http},
    hub::{Hub, PATIENCE},
    load::{Outcome, publish},
};
use by_hand::ByHand;

/// The slow round comes every 10 s.
const IN_TIME: Duration = Duration::from_secs(15);
const TOPIC: &str = "removal";

/// A client of one hub, and another hub to publish through.
struct Site<E: ByHand> {
    server: Server<E>,
    followed: Hub,
    other: Hub,
    client: Client,
}

impl<E: ByHand> Site<E> {
    /// The client has got `1` and `2`.
    async fn start(server: Server<E>) -> Self {
        let [followed, other] = hubs(&server.url());
        let mut client = Client::open(get(&followed, &format!("/topics/{TOPIC}"))).await;
        client.expect("sse.open").await;
        let mut site = Self {
            server,
            followed,
            other,
            client,
        };
        site.publish(&["1", "2"]).await;
        site.expect(&["1", "2"]).await;
        site
    }

    async fn publish(&self, all: &[&str]) {
        let (http, url) = (http(), self.other.url(&format!("/topics/{TOPIC}")));
        for data in all {
            let stored = async {
                // What was taken away may take a moment to be made again.
                while publish(&http, &url, data).await == Outcome::Refused {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            timeout(PATIENCE, stored)
                .await
                .expect("it is stored in time");
        }
    }

    async fn expect(&mut self, all: &[&str]) {
        for data in all {
            assert_eq!(self.client.expect("n").await.data(), *data);
        }
    }

    /// The next event, which has to be a gap that comes in time.
    async fn expect_gap(&mut self, reasons: &[&str]) -> DecodedEvent {
        let gap = timeout(IN_TIME, self.client.expect("sse.gap")).await;
        let gap = gap.expect("a gap in time");
        let told = |reason: &&str| gap.data().contains(&format!(r#""reason":"{reason}""#));
        assert!(reasons.iter().any(told), "{gap:?}");
        gap
    }

    /// Publishes `3` to `6`, of which the client gets nothing until it is let go.
    async fn hold_back(&self) {
        self.followed.signal("STOP");
        self.publish(&["3", "4", "5", "6"]).await;
    }

    fn let_go(&self) {
        self.followed.signal("CONT");
    }

    /// What follows a gap that comes before `4` at the latest: the end of what was there, and what
    /// comes then.
    async fn expect_the_rest(&mut self) {
        self.publish(&["7"]).await;
        let mut next = self.client.expect("n").await.data().parse::<u32>().unwrap();
        assert!(next > 3, "{next}");
        while next < 7 {
            next += 1;
            self.expect(&[&next.to_string()]).await;
        }
    }
}

on_each_server!(
    trimmed_before_it_was_delivered,
    deleted_in_the_middle_before_it_was_delivered,
    all_deleted_before_it_was_delivered,
    emptied_and_begun_again,
    emptied_and_left_so,
    put_back_to_what_it_was,
);

async fn trimmed_before_it_was_delivered<E: ByHand>(server: Server<E>) {
    let mut site = Site::start(server).await;
    site.hold_back().await;
    E::trim(&site.server, 2).await;
    site.let_go();
    site.expect_gap(&["evicted", "lagged", "lost"]).await;
    site.expect_the_rest().await;
}

async fn deleted_in_the_middle_before_it_was_delivered<E: ByHand>(server: Server<E>) {
    let mut site = Site::start(server).await;
    site.hold_back().await;
    E::delete(&site.server, 4).await;
    site.let_go();
    site.expect(&["3"]).await;
    site.expect_gap(&["lost"]).await;
    site.expect(&["5", "6"]).await;
    site.expect_the_rest().await;
}

async fn all_deleted_before_it_was_delivered<E: ByHand>(server: Server<E>) {
    let mut site = Site::start(server).await;
    site.hold_back().await;
    E::delete_all(&site.server).await;
    site.let_go();
    site.expect_gap(&["evicted", "lagged", "lost", "unknown"])
        .await;
    site.publish(&["7"]).await;
    site.expect(&["7"]).await;
}

async fn emptied_and_begun_again<E: ByHand>(server: Server<E>) {
    let mut site = Site::start(server).await;
    for everything in [false, true] {
        site.followed.signal("STOP");
        match everything {
            true => E::forget_everything(&site.server).await,
            false => E::forget(&site.server).await,
        }
        // As many as there were, and more.
        site.publish(&["1", "2", "3"]).await;
        site.let_go();
        site.expect_gap(&["unknown"]).await;
        site.publish(&["4"]).await;
        let mut next = site.client.expect("n").await;
        while next.data() != "4" {
            next = site.client.expect("n").await;
        }
    }
}

async fn emptied_and_left_so<E: ByHand>(server: Server<E>) {
    let mut site = Site::start(server).await;
    E::forget_everything(&site.server).await;
    site.expect_gap(&["unknown"]).await;
    site.publish(&["3"]).await;
    site.expect(&["3"]).await;
}

async fn put_back_to_what_it_was<E: ByHand>(server: Server<E>) {
    let mut site = Site::start(server).await;
    let saved = E::save(&site.server);
    site.publish(&["3", "4"]).await;
    site.expect(&["3", "4"]).await;
    E::put_back(&mut site.server, saved);
    site.expect_gap(&["ahead", "unknown"]).await;
    site.publish(&["5", "6", "7"]).await;
    site.expect(&["5", "6", "7"]).await;
}
