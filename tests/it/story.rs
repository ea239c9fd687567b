//! One story of a client that comes and goes, told through the hub, tower, axum and actix-web.

use std::num::NonZeroUsize;

use futures_util::StreamExt;
use tower_sse::{
    Hub, LastEventId, Sse, SseLayer, Start, Subscription, TopicName, store::MemoryStore,
};

use crate::{
    client::{Request, soon},
    hostile::HostileStore,
    servers::{Kind, Server, Site},
};

/// How the client reads.
enum Way {
    Hub(Hub),
    Server(Server),
}

/// How the client says where it was.
#[derive(Clone, Copy, Debug)]
enum Says {
    Header,
    Query,
}

type Read = (String, String, String);

fn follow(hub: &Hub, last: LastEventId) -> Subscription {
    hub.subscribe(TopicName::from_static("numbers"), last)
        .start(Start::Newest(1))
}

impl Way {
    async fn all(hub: &Hub) -> Vec<(String, Self)> {
        let mut ways = vec![("hub".to_owned(), Self::Hub(hub.clone()))];
        for kind in [Kind::Tower, Kind::TowerHttp2, Kind::Axum, Kind::Actix] {
            let hub = hub.clone();
            let site = Site::new(move |seen| Sse::new(follow(&hub, seen.last)));
            let server = site.layer(SseLayer::new()).serve(kind).await;
            ways.push((format!("{kind:?}"), Self::Server(server)));
        }
        ways
    }

    /// Connects, reads so many events, and drops the connection.
    async fn read(&self, last: Option<&str>, says: Says, count: usize) -> Vec<Read> {
        let events: Vec<Read> = match self {
            Self::Hub(hub) => {
                let last = last.map_or(LastEventId::Absent, |id| LastEventId::Id(id.into()));
                let events = follow(hub, last).events().take(count).map(|event| {
                    let id = event.last_event_id().unwrap_or_default();
                    (
                        event.event_type().to_owned(),
                        event.data().to_owned(),
                        id.to_owned(),
                    )
                });
                soon(events.collect()).await
            }
            Self::Server(server) => {
                let request = match (last, says) {
                    (None, _) => Request::get("/"),
                    (Some(id), Says::Header) => Request::get("/").header("last-event-id", id),
                    (Some(id), Says::Query) => Request::get(format!("/?lastEventId={id}")),
                };
                let mut response = server.client().await.send(request).await;
                assert_eq!(response.status, 200);
                let events = response.events(count).await;
                events.into_iter().take(count).collect()
            }
        };
        assert_eq!(events.len(), count);
        events
    }
}

async fn publish(hub: &Hub, numbers: std::ops::Range<u64>) {
    let topic = hub.topic::<u64>("numbers").unwrap();
    for number in numbers {
        // A store may fail to store, and then it is for the publisher to try again.
        while topic.publish(&number).await.is_err() {}
    }
}

#[track_caller]
fn check(way: &str, read: &[Read], expected: std::ops::Range<u64>) {
    let data: Vec<_> = read
        .iter()
        .map(|(_, data, _)| data.parse::<u64>().unwrap())
        .collect();
    assert_eq!(data, expected.collect::<Vec<_>>(), "{way}");
    assert!(read.iter().all(|(name, ..)| name == "message"), "{way}");
}

async fn tell(hub: Hub) {
    publish(&hub, 0..3).await;
    let mut next = 3;
    for (way, reader) in Way::all(&hub).await {
        for says in [Says::Header, Says::Query] {
            // It is new and gets the newest, at once.
            let first = reader.read(None, says, 1).await;
            check(&way, &first, next - 1..next);
            // It is away while five are published, and comes back for two of them.
            publish(&hub, next..next + 5).await;
            let some = reader.read(Some(&first[0].2), says, 2).await;
            check(&way, &some, next..next + 2);
            // It drops again, comes back, and goes from history to live.
            let last = some[1].2.clone();
            let rest = reader.read(Some(&last), says, 6);
            let ((), rest) = tokio::join!(publish(&hub, next + 5..next + 8), rest);
            check(&way, &rest, next + 2..next + 8);
            next += 8;
            // It stays away for too long, is told so, and goes on behind the gap.
            publish(&hub, next..next + 30).await;
            next += 30;
            let late = reader.read(Some(&rest[5].2), says, 5).await;
            let gap = late
                .iter()
                .position(|(name, ..)| name == "sse.gap")
                .unwrap();
            // A server that has not noticed yet that the client is gone may have read a few for it.
            let (before, gap, after) = (&late[..gap], &late[gap], &late[gap + 1..]);
            let few = before.len() as u64;
            check(&way, before, next - 30..next - 30 + few);
            let (reason, behind) = match few {
                0 => ("evicted", next - 20),
                _ => ("lagged", next - 10),
            };
            let missed = behind - (next - 30 + few);
            let expected = format!(r#"{{"reason":"{reason}","missed":{missed}}}"#);
            assert_eq!(gap.1, expected, "{way}");
            check(&way, after, behind..behind + 4 - few);
            // It comes back with the id of the gap, and hears of it no more.
            let again = reader.read(Some(&gap.2), says, usize::try_from(next - behind).unwrap());
            check(&way, &again.await, behind..next);
        }
    }
}

fn memory() -> MemoryStore {
    MemoryStore::new().max_events(NonZeroUsize::new(20).unwrap())
}

#[tokio::test]
async fn a_client_that_comes_and_goes_misses_nothing_and_is_told_of_gaps() {
    tell(Hub::with_store(memory())).await;
}

#[tokio::test]
async fn the_same_holds_with_a_small_window() {
    tell(Hub::with_store(memory()).window(NonZeroUsize::MIN)).await;
}

#[tokio::test]
async fn the_same_holds_with_late_answers_in_small_pages() {
    // Appends fail only before anything is stored, so that every number is there once.
    let store = HostileStore::new(memory(), 7, 25).with_certain_outcomes();
    // A server notices late that a client is gone, and a window that it keeps has more than the log.
    tell(Hub::with_store(store).window(NonZeroUsize::MIN)).await;
}
