//! The store on Redis Streams, over a server of the test's own.

mod faults;
mod foreign;
mod shape;

use ::redis::{Value, aio::MultiplexedConnection, cmd};
use servers::{Engine, Network, Proxy};
use tower_sse::store::{
    RedisStore,
    contract::{self, Limits, Subject},
};

use crate::log::{
    ALL, PATIENCE, TOPIC, after, all, append, append_again, append_each, event, head, page, texts,
    told, try_append,
};
use crate::server::Connect;

type Server = servers::Server<servers::Redis>;

struct Redis {
    server: Server,
    proxy: Proxy,
}

impl Redis {
    async fn connection(&self) -> MultiplexedConnection {
        let client = ::redis::Client::open(self.server.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    async fn keys(&self, place: &str) -> Vec<String> {
        let mut connection = self.connection().await;
        let mut keys = Vec::new();
        for pattern in [format!("{place}:*"), format!("{place}#*")] {
            let found: Vec<String> = cmd("KEYS")
                .arg(pattern)
                .query_async(&mut connection)
                .await
                .unwrap();
            keys.extend(found);
        }
        keys
    }
}

impl Subject for Redis {
    type Store = RedisStore;
    type Copy = Vec<(String, Vec<u8>)>;
    const DURABLE: bool = true;
    const SHARED: bool = true;

    async fn open(&self, place: &str, limits: Limits) -> RedisStore {
        let options = RedisStore::options()
            .prefix(place)
            .max_events(limits.events)
            .max_bytes(limits.bytes);
        let options = match limits.age {
            Some(age) => options.max_age(age),
            None => options,
        };
        options
            .connect(&servers::Redis::url(self.proxy.port()))
            .await
            .unwrap()
    }

    async fn copy(&self, place: &str) -> Option<Self::Copy> {
        let mut connection = self.connection().await;
        let mut copy = Vec::new();
        for key in self.keys(place).await {
            let dump: Vec<u8> = cmd("DUMP")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .unwrap();
            copy.push((key, dump));
        }
        Some(copy)
    }

    async fn restore(&self, place: &str, copy: Self::Copy) {
        let mut connection = self.connection().await;
        for key in self.keys(place).await {
            let _: Value = cmd("DEL")
                .arg(key)
                .query_async(&mut connection)
                .await
                .unwrap();
        }
        for (key, dump) in copy {
            let mut restore = cmd("RESTORE");
            restore.arg(key).arg(0).arg(dump);
            let _: Value = restore.query_async(&mut connection).await.unwrap();
        }
    }

    async fn work(&self) -> Option<u64> {
        Some(self.server.info("stats", "total_net_output_bytes"))
    }

    fn large_log(&self) -> u64 {
        crate::sizes(50_000, 1_000_000)
    }

    async fn cut(&self) -> bool {
        self.proxy.is(Network::Cut);
        true
    }

    async fn heal(&self) {
        self.proxy.is(Network::Whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_contract() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let report = contract::run(&Redis { server, proxy }).await;
    report.assert_passed();
    assert_eq!(report.skipped().next(), None);
}
