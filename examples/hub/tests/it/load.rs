//! Publishers and followers that go on while something breaks, and what has to be true afterwards.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Client as Http;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    client::{Client, http},
    hub::{Hub, PATIENCE},
};

/// How a `POST` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored,
    Refused,
    Unknown,
}

/// Publishes once, and checks that the line says what the status means.
pub(crate) async fn publish(http: &Http, url: &str, data: &str) -> Outcome {
    let body = json!({ "event": "n", "data": data }).to_string();
    let answer = async {
        let response = http.post(url).body(body).send().await?;
        Ok::<_, reqwest::Error>((response.status().as_u16(), response.text().await?))
    };
    let answer = timeout(PATIENCE, answer).await.expect("an answer in time");
    match answer {
        Ok((201, _)) => Outcome::Stored,
        Ok((503, line)) if line.contains("nothing was stored") => Outcome::Refused,
        Ok((504, line)) if line.contains("may be stored") => Outcome::Unknown,
        Ok((status, line)) => panic!("{status}: {line}"),
        Err(error) if error.is_connect() => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

/// What a follower saw.
#[derive(Debug)]
enum Seen {
    /// With its id.
    Event(usize, String),
    Gap(String),
}

#[derive(Debug)]
struct Followed {
    topic: usize,
    seen: Vec<Seen>,
    connections: usize,
}

/// What all tasks share.
struct Shared {
    hubs: Mutex<Vec<SocketAddr>>,
    stored: AtomicUsize,
    refused: AtomicUsize,
    stopped: AtomicBool,
}

impl Shared {
    fn url(&self, hub: usize, topic: usize) -> String {
        let hubs = self.hubs.lock().unwrap();
        format!("http://{}/topics/load/{topic}", hubs[hub % hubs.len()])
    }
}

/// One publisher a topic, and clients that follow, each staying with its hub.
pub(crate) struct Load {
    shared: Arc<Shared>,
    publishers: JoinSet<(usize, Vec<Outcome>)>,
    followers: JoinSet<Followed>,
}

const TOPICS: usize = 4;
const FOLLOWERS: usize = 6;
const LAST: &str = "last";

impl Load {
    /// Starts, and returns when every client follows.
    pub(crate) async fn start(hubs: &[Hub]) -> Self {
        let shared = Arc::new(Shared {
            hubs: Mutex::new(hubs.iter().map(Hub::address).collect()),
            stored: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let (ready, mut all_ready) = mpsc::channel(TOPICS * FOLLOWERS);
        let mut followers = JoinSet::new();
        for topic in 0..TOPICS {
            for hub in 0..FOLLOWERS {
                let shared = Arc::clone(&shared);
                followers.spawn(follow(shared, hub, topic, ready.clone()));
            }
        }
        for _ in 0..TOPICS * FOLLOWERS {
            let one = timeout(PATIENCE, all_ready.recv()).await;
            one.expect("every client follows in time");
        }
        let mut publishers = JoinSet::new();
        for topic in 0..TOPICS {
            publishers.spawn(keep_publishing(Arc::clone(&shared), topic));
        }
        let load = Self {
            shared,
            publishers,
            followers,
        };
        load.more().await;
        load
    }

    /// Waits until a good many more events are acknowledged.
    pub(crate) async fn more(&self) {
        more(&self.shared.stored, 1_000).await;
    }

    /// Waits until somebody is told that nothing was stored.
    pub(crate) async fn refused(&self) {
        more(&self.shared.refused, 1).await;
    }

    /// Says where the hubs are now.
    pub(crate) fn moved(&self, hubs: &[Hub]) {
        *self.shared.hubs.lock().unwrap() = hubs.iter().map(Hub::address).collect();
    }

    /// Ends the load and checks what every client saw.
    pub(crate) async fn finish(mut self) -> Summary {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let mut outcomes = vec![Vec::new(); TOPICS];
        while let Some(published) = self.publishers.join_next().await {
            let (topic, published) = published.unwrap();
            outcomes[topic] = published;
        }
        let mut enders = JoinSet::new();
        for topic in 0..TOPICS {
            let shared = Arc::clone(&self.shared);
            enders.spawn(async move {
                let http = http();
                loop {
                    publish(&http, &shared.url(topic, topic), LAST).await;
                    // Again, in case that a gap took it.
                    sleep(Duration::from_millis(500)).await;
                }
            });
        }
        let mut summary = Summary::new(&outcomes);
        for _ in 0..TOPICS * FOLLOWERS {
            let followed = timeout(PATIENCE, self.followers.join_next()).await;
            let followed = followed.expect("every client gets the last event in time");
            let followed = followed.unwrap().unwrap();
            summary.add(&outcomes[followed.topic], &followed);
        }
        eprintln!("{summary:?}");
        summary
    }
}

async fn more(counter: &AtomicUsize, many: usize) {
    let enough = counter.load(Ordering::Relaxed) + many;
    let wait = async {
        while counter.load(Ordering::Relaxed) < enough {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("publishers are answered");
}

async fn keep_publishing(shared: Arc<Shared>, topic: usize) -> (usize, Vec<Outcome>) {
    let http = http();
    let mut outcomes = Vec::new();
    while !shared.stopped.load(Ordering::Relaxed) {
        let number = outcomes.len().to_string();
        let outcome = publish(&http, &shared.url(topic, topic), &number).await;
        outcomes.push(outcome);
        match outcome {
            Outcome::Stored => drop(shared.stored.fetch_add(1, Ordering::Relaxed)),
            Outcome::Refused => drop(shared.refused.fetch_add(1, Ordering::Relaxed)),
            Outcome::Unknown => {}
        }
        if outcome != Outcome::Stored {
            // Who is refused is in no hurry to be refused again.
            sleep(Duration::from_millis(50)).await;
        }
    }
    (topic, outcomes)
}

async fn follow(
    shared: Arc<Shared>,
    hub: usize,
    topic: usize,
    ready: mpsc::Sender<()>,
) -> Followed {
    let http = http();
    let mut last = String::new();
    let mut followed = Followed {
        topic,
        seen: Vec::new(),
        connections: 0,
    };
    loop {
        let request = http
            .get(shared.url(hub, topic))
            .header("last-event-id", &last);
        let Ok(response) = request.send().await else {
            // As an `EventSource` does.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        assert_eq!(response.status().as_u16(), 200);
        followed.connections += 1;
        let mut client = Client::of(response);
        while let Some(event) = client.read().await {
            last = event.last_event_id().to_owned();
            match (event.event_type(), event.data()) {
                ("sse.open", _) => {
                    let _ = ready.try_send(());
                }
                ("sse.gap", data) => {
                    let gap: Value = serde_json::from_str(data).unwrap();
                    let reason = gap["reason"].as_str().unwrap();
                    followed.seen.push(Seen::Gap(reason.to_owned()));
                }
                ("sse.bye", _) => {}
                ("n", LAST) => return followed,
                ("n", number) => {
                    let number = number.parse().unwrap();
                    followed.seen.push(Seen::Event(number, last.clone()));
                }
                _ => panic!("{event:?}"),
            }
        }
    }
}

/// What happened to all clients and publishers together.
#[derive(Debug)]
pub(crate) struct Summary {
    stored: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
    /// Of those whose outcome was not known, how many deliveries there were.
    pub(crate) unknown_delivered: usize,
    pub(crate) reconnects: usize,
    pub(crate) gaps: BTreeMap<String, usize>,
}

impl Summary {
    fn new(outcomes: &[Vec<Outcome>]) -> Self {
        let count = |outcome| {
            let all = outcomes.iter().flatten();
            all.filter(|&&one| one == outcome).count()
        };
        Self {
            stored: count(Outcome::Stored),
            refused: count(Outcome::Refused),
            unknown: count(Outcome::Unknown),
            unknown_delivered: 0,
            reconnects: 0,
            gaps: BTreeMap::new(),
        }
    }

    /// Every acknowledged event is seen once and in order, or after a gap; what was refused never.
    fn add(&mut self, outcomes: &[Outcome], followed: &Followed) {
        self.reconnects += followed.connections - 1;
        let mut numbers = HashMap::new();
        let (mut next, mut behind_gap) = (0, false);
        let missing = |from: usize, to: usize| {
            let between = (from..to).filter(|&number| outcomes[number] == Outcome::Stored);
            between.collect::<Vec<_>>()
        };
        for seen in &followed.seen {
            let number = match seen {
                Seen::Gap(reason) => {
                    behind_gap = true;
                    *self.gaps.entry(reason.clone()).or_default() += 1;
                    continue;
                }
                Seen::Event(number, id) => {
                    let twice = numbers.insert(number, id);
                    assert!(twice.is_none(), "{number} came as {twice:?} and as {id}");
                    *number
                }
            };
            match outcomes[number] {
                Outcome::Refused => panic!("{number} was refused and delivered"),
                // It may have been carried out late.
                Outcome::Unknown => self.unknown_delivered += 1,
                Outcome::Stored => {
                    assert!(number >= next, "{number} came when {next} was due");
                    let missing = missing(next, number);
                    assert!(missing.is_empty() || behind_gap, "{missing:?} are missing");
                    next = number + 1;
                    behind_gap = false;
                }
            }
        }
        let missing = missing(next, outcomes.len());
        assert!(missing.is_empty() || behind_gap, "{missing:?} are missing");
    }

    /// Nobody was told of a gap, so everybody got everything.
    #[track_caller]
    pub(crate) fn nothing_is_missing(&self) {
        assert!(self.stored > 0 && self.gaps.is_empty(), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn nobody_was_disconnected(&self) {
        assert_eq!(self.reconnects, 0, "{self:?}");
    }
}
