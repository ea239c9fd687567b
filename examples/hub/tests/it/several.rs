//! Publishers at full speed, and clients that drop at random and come back to another process.

use std::{
    collections::HashMap,
    env,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    time::Duration,
};

use reqwest::Client as Http;
use servers::Server;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    backend::Backend,
    client::{Client, http},
    hub::{Hub, PATIENCE},
    load::{Outcome, publish},
};

const TOPICS: usize = 20;
const PUBLISHERS: usize = 3;
const CLIENTS: usize = 200;
/// How many requests of a publisher are under way at a time; one of a topic, to keep their order.
const IN_FLIGHT: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_in_memory() {
    let hubs = [Hub::start(&["--retain", "100000"])];
    everybody_gets_everything_once(&hubs).await;
}

on_each_server!(three_processes_on_one_server);

async fn three_processes_on_one_server<E: Backend>(server: Server<E>) {
    let store = server.url();
    let hubs = [(); 3].map(|()| Hub::start(&["--store", &store, "--retain", "100000"]));
    everybody_gets_everything_once(&hubs).await;
}

/// How many deliveries there are to be.
fn deliveries() -> usize {
    match env::var_os("TOWER_SSE_LONG") {
        Some(_) => 1_000_000,
        None => 50_000,
    }
}

async fn everybody_gets_everything_once(hubs: &[Hub]) {
    let hubs: Vec<_> = hubs.iter().map(Hub::address).collect();
    // Every fourth client follows three topics on its connection.
    let topics_of = |client: usize| -> Vec<usize> {
        let more = if client.is_multiple_of(4) { 3 } else { 1 };
        (0..more).map(|at| (client + 7 * at) % TOPICS).collect()
    };
    let followed: usize = (0..CLIENTS).map(|client| topics_of(client).len()).sum();
    let each = deliveries().div_ceil(followed * PUBLISHERS);

    let begun = Instant::now();
    let (ready, mut all_ready) = mpsc::channel(CLIENTS);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let follower = Follower::new(&topics_of(client), each);
        clients.spawn(follower.run(hubs.clone(), ready.clone()));
    }
    for _ in 0..CLIENTS {
        let one = timeout(PATIENCE, all_ready.recv()).await;
        one.expect("every client connects in time");
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let http = http();
        for part in 0..IN_FLIGHT {
            let hub = hubs[publisher % hubs.len()];
            publishers.spawn(publish_part(http.clone(), hub, publisher, part, each));
        }
    }
    while let Some(published) = publishers.join_next().await {
        published.unwrap();
    }

    // All clients of a topic saw the same order.
    let mut orders = HashMap::new();
    let (mut delivered, mut connections) = (0, 0);
    let patience = match env::var_os("TOWER_SSE_LONG") {
        Some(_) => 20 * PATIENCE,
        None => 3 * PATIENCE,
    };
    let all = async {
        while let Some(client) = clients.join_next().await {
            let client = client.unwrap();
            delivered += client.delivered;
            connections += client.connections;
            for (topic, order) in client.orders {
                assert_eq!(*orders.entry(topic).or_insert(order), order, "{topic}");
            }
        }
    };
    timeout(patience, all)
        .await
        .expect("every client gets everything");
    assert_eq!(delivered, followed * PUBLISHERS * each);
    assert!(delivered >= deliveries());
    assert!(connections > 3 * CLIENTS, "{connections}");
    eprintln!(
        "{delivered} deliveries of {} events over {connections} connections in {:?}",
        TOPICS * PUBLISHERS * each,
        begun.elapsed(),
    );
}

async fn publish_part(http: Http, hub: SocketAddr, publisher: usize, part: usize, each: usize) {
    for number in 0..each {
        for topic in (part..TOPICS).step_by(IN_FLIGHT) {
            let url = format!("http://{hub}/topics/run/{topic}");
            let data = format!("{topic} {publisher} {number}");
            assert_eq!(publish(&http, &url, &data).await, Outcome::Stored);
        }
    }
}

/// A client that checks what it gets.
struct Follower {
    /// The next number of each publisher, by topic.
    expected: HashMap<usize, [usize; PUBLISHERS]>,
    orders: HashMap<usize, u64>,
    query: String,
    total: usize,
    delivered: usize,
    connections: usize,
}

impl Follower {
    fn new(topics: &[usize], each: usize) -> Self {
        Self {
            expected: topics
                .iter()
                .map(|&topic| (topic, [0; PUBLISHERS]))
                .collect(),
            orders: topics.iter().map(|&topic| (topic, 0)).collect(),
            query: match topics {
                [topic] => format!("/run/{topic}?from=all"),
                topics => topics
                    .iter()
                    .map(|topic| format!("&topic=run/{topic}"))
                    .fold("?from=all".to_owned(), |query, topic| query + &topic),
            },
            total: topics.len() * PUBLISHERS * each,
            delivered: 0,
            connections: 0,
        }
    }

    async fn run(mut self, hubs: Vec<SocketAddr>, ready: mpsc::Sender<()>) -> Self {
        let http = http();
        let mut last = String::new();
        let mut at = fastrand::usize(..hubs.len());
        while self.delivered < self.total {
            let url = format!("http://{}/topics{}", hubs[at], self.query);
            let request = http.get(url).header("last-event-id", &last);
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), 200);
            self.connections += 1;
            if self.connections == 1 {
                ready.send(()).await.unwrap();
            }
            let mut client = Client::of(response);
            // What was read and not looked at is lost with the connection.
            let mut life = fastrand::usize(..=self.total / 3);
            while life > 0 && self.delivered < self.total {
                life -= 1;
                let idle = Duration::from_millis(fastrand::u64(500..2_000));
                let Ok(event) = timeout(idle, client.read()).await else {
                    break;
                };
                let event = event.expect("the stream does not end");
                last = event.last_event_id().to_owned();
                match event.event_type() {
                    "n" => self.check(event.data()),
                    "sse.open" => {}
                    _ => panic!("{event:?}"),
                }
            }
            at = match hubs.len() {
                1 => 0,
                all => (at + fastrand::usize(1..all)) % all,
            };
        }
        self
    }

    fn check(&mut self, data: &str) {
        let mut numbers = data.split(' ').map(|number| number.parse().unwrap());
        let [topic, publisher, number] = [(); 3].map(|()| numbers.next().unwrap());
        let expected = self
            .expected
            .get_mut(&topic)
            .expect("a topic that it follows");
        let expected: &mut usize = &mut expected[publisher];
        assert_eq!(number, *expected, "topic {topic}, publisher {publisher}");
        *expected += 1;
        let order = self
            .orders
            .get_mut(&topic)
            .expect("a topic that it follows");
        let mut hasher = DefaultHasher::new();
        (*order, publisher).hash(&mut hasher);
        *order = hasher.finish();
        self.delivered += 1;
    }
}
