//! The servers that hubs keep their events on.

use servers::{Engine, Nats, Postgres, Redis, Server};

use crate::hub::Hub;

/// A kind of server, as its tests set it up and look at it.
pub(crate) trait Backend: Engine {
    const SETTINGS: &[&str];

    /// How many listen for what is appended.
    fn listeners(server: &Server<Self>) -> usize;

    fn connections(server: &Server<Self>) -> usize;

    /// How many requests it has had so far.
    fn requests(server: &Server<Self>) -> u64;
}

impl Backend for Nats {
    const SETTINGS: &[&str] = &[];

    fn listeners(server: &Server<Self>) -> usize {
        let told = server.monitored("jsz").unwrap();
        count(&told["consumers"])
    }

    fn connections(server: &Server<Self>) -> usize {
        let told = server.monitored("varz").unwrap();
        count(&told["connections"])
    }

    fn requests(server: &Server<Self>) -> u64 {
        let told = server.monitored("varz").unwrap();
        told["in_msgs"].as_u64().unwrap()
    }
}

impl Backend for Postgres {
    const SETTINGS: &[&str] = &[];

    fn listeners(server: &Server<Self>) -> usize {
        let number = server.number(
            "select count(*) from pg_stat_activity where application_name = 'tower-sse watch'",
        );
        usize::try_from(number).unwrap()
    }

    fn connections(server: &Server<Self>) -> usize {
        let number = server.number(
            "select count(*) from pg_stat_activity where application_name like 'tower-sse %'",
        );
        usize::try_from(number).unwrap()
    }

    fn requests(server: &Server<Self>) -> u64 {
        // A backend tells what it did within a second, or when it does something again.
        server.number(
            "select xact_commit + xact_rollback from pg_stat_database
            where datname = current_database()",
        )
    }
}

impl Backend for Redis {
    const SETTINGS: &[&str] = &[
        "--appendonly",
        "yes",
        // What is acknowledged is on disk, and a copy of the files is a copy of the data.
        "--appendfsync",
        "always",
        "--auto-aof-rewrite-percentage",
        "0",
    ];

    fn listeners(server: &Server<Self>) -> usize {
        let clients = server.cli(&["client", "list", "type", "pubsub"]);
        clients.lines().count()
    }

    fn connections(server: &Server<Self>) -> usize {
        let clients = server.cli(&["client", "list"]);
        // The one that asks is there, too.
        clients.lines().count() - 1
    }

    fn requests(server: &Server<Self>) -> u64 {
        // What is sent in one piece is read in one piece, or a few.
        server.info("stats", "total_reads_processed")
    }
}

fn count(value: &serde_json::Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// So many hubs on one store.
pub(crate) fn hubs<const COUNT: usize>(store: &str) -> [Hub; COUNT] {
    [(); COUNT].map(|()| Hub::start(&["--store", store]))
}

/// Makes each of these functions three tests, with a server of each kind.
macro_rules! on_each_server {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            on_each_server!(@ $test, on_nats, Nats);
            on_each_server!(@ $test, on_postgres, Postgres);
            on_each_server!(@ $test, on_redis, Redis);
        }
    )+};
    (@ $test:ident, $name:ident, $engine:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let settings = <servers::$engine as crate::backend::Backend>::SETTINGS;
            if let Some(server) = servers::Server::<servers::$engine>::start(settings) {
                super::$test(server).await;
            }
        }
    };
}
