//! What is taken away behind the back of a connection that never drops.

use std::time::Duration;

use tokio::time::timeout;
use tower_sse::DecodedEvent;

use crate::{
    client::{Client, get, publish},
    hub::Hub,
    redis::Redis,
};

/// The slow round comes every 10 s.
const IN_TIME: Duration = Duration::from_secs(15);
const TOPIC: &str = "removal";

/// A client of one hub, and another hub to publish through.
struct Site {
    redis: Redis,
    followed: Hub,
    other: Hub,
    client: Client,
}

impl Site {
    /// The client has got `1` and `2`.
    async fn start() -> Option<Self> {
        let redis = Redis::start()?;
        let [followed, other] = [(); 2].map(|()| Hub::start(&["--store", &redis.url()]));
        let mut client = Client::open(get(&followed, &format!("/topics/{TOPIC}"))).await;
        client.expect("sse.open").await;
        let mut site = Self {
            redis,
            followed,
            other,
            client,
        };
        site.publish(&["1", "2"]).await;
        site.expect(&["1", "2"]).await;
        Some(site)
    }

    async fn publish(&self, all: &[&str]) {
        for data in all {
            publish(&self.other, TOPIC, "n", data).await;
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

    /// The keys of the topic, its stream first.
    fn keys(&self) -> Vec<String> {
        let keys = self.redis.cli(&["keys", &format!("*{TOPIC}*")]);
        let mut keys: Vec<_> = keys.lines().map(str::to_owned).collect();
        keys.sort_by_key(|key| self.redis.cli(&["type", key]) != "stream");
        assert!(keys.len() > 1, "{keys:?}");
        keys
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trimmed_before_it_was_delivered() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    site.hold_back().await;
    site.redis.cli(&["xtrim", &site.keys()[0], "maxlen", "2"]);
    site.let_go();
    site.expect_gap(&["evicted", "lagged", "lost"]).await;
    site.expect_the_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_in_the_middle_before_it_was_delivered() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    site.hold_back().await;
    let stream = &site.keys()[0];
    let ids = site.redis.cli(&["xrange", stream, "-", "+"]);
    let ids: Vec<_> = ids.lines().filter(|line| line.ends_with("-0")).collect();
    assert_eq!(ids.len(), 6, "{ids:?}");
    site.redis.cli(&["xdel", stream, ids[3]]);
    site.let_go();
    site.expect(&["3"]).await;
    site.expect_gap(&["lost"]).await;
    site.expect(&["5", "6"]).await;
    site.expect_the_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_deleted_before_it_was_delivered() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    site.hold_back().await;
    site.redis.cli(&["del", &site.keys()[0]]);
    site.let_go();
    site.expect_gap(&["evicted", "lagged", "lost", "unknown"])
        .await;
    site.publish(&["7"]).await;
    site.expect(&["7"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_and_begun_again() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    for command in ["del", "flushall"] {
        let keys = site.keys();
        let mut line = vec![command];
        if command == "del" {
            line.extend(keys.iter().map(String::as_str));
        }
        site.followed.signal("STOP");
        site.redis.cli(&line);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_and_left_so() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    site.redis.cli(&["flushall"]);
    site.expect_gap(&["unknown"]).await;
    site.publish(&["3"]).await;
    site.expect(&["3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_back_to_what_it_was() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    let keys = site.keys();
    let saved: Vec<_> = (0..keys.len()).map(|at| format!("saved:{at}")).collect();
    for (key, saved) in keys.iter().zip(&saved) {
        site.redis.cli(&["copy", key, saved]);
    }
    site.publish(&["3", "4"]).await;
    site.expect(&["3", "4"]).await;
    for (key, saved) in keys.iter().zip(&saved) {
        assert_eq!(site.redis.cli(&["copy", saved, key, "replace"]), "1");
    }
    site.expect_gap(&["ahead", "unknown"]).await;
    site.publish(&["5", "6", "7"]).await;
    site.expect(&["5", "6", "7"]).await;
}
