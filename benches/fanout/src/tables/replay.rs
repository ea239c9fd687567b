//! Reading the history, and who else waits meanwhile.

use std::{
    io,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use crate::{
    bench::Bench,
    report::{Median, Table, number},
    server::Server,
    step::float,
};

/// How many retained events are replayed.
const EVENTS: u64 = 100_000;
/// More than there will be.
const HISTORY: NonZeroUsize = NonZeroUsize::new(200_000).expect("not zero");
/// Clients that get live events meanwhile, and how many a second.
const LIVE: usize = 100;
const RATE: f64 = 100.0;

struct Replay {
    /// Bytes a second.
    speed: f64,
    events: f64,
    /// Milliseconds.
    p99_before: f64,
    p99_during: f64,
}

pub(super) fn measure(bench: &Bench) -> io::Result<String> {
    let servers = [Server::OursHyper, Server::OursAxum, Server::OursActix];
    let results = bench.interleaved(&bench.servers(&servers), |server| {
        let mut running = bench.start_with(server, 0, HISTORY)?;
        running.server.burst(EVENTS, &mut running.load)?;
        running.connect(LIVE)?;
        let before = running.measure(RATE, bench.times)?;

        let (process, load) = (&mut running.server, &mut running.load);
        load.tally.clear();
        process.rate(RATE)?;
        let (begun, mut took) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < bench.times.window {
            took += load.replay(process.port, EVENTS)?;
        }
        let p99_during = float(load.tally.latency.value_at_quantile(0.99)) / 1e6;
        process.stop(load)?;
        load.drain(process.sent, bench.times.window)?;
        if before.errors + load.tally.errors + load.replayed.errors > 0 {
            return Err(io::Error::other("events went missing"));
        }
        Ok(Replay {
            speed: float(load.replayed.bytes) / took.as_secs_f64(),
            events: float(load.replayed.events) / took.as_secs_f64(),
            p99_before: before.p99,
            p99_during,
        })
    })?;
    let mut table = Table::new(
        "Replay of 100,000 retained events to one client",
        &[
            "server",
            "bytes/s",
            "events/s",
            "p99 ms of live clients before",
            "during replays",
        ],
    );
    for (server, replays) in &results {
        let median = |value: fn(&Replay) -> f64| Median::of(replays.iter().map(value));
        table.row(&[
            server.name(),
            median(|replay| replay.speed).with_spread(),
            number(median(|replay| replay.events).value),
            median(|replay| replay.p99_before).with_spread(),
            median(|replay| replay.p99_during).with_spread(),
        ]);
    }
    Ok(table.note(&format!(
        "From connecting until the last of them is read, one replay after the other, which includes \
         reading them on the clients' core; beside {LIVE} live clients at {RATE} events a second."
    )))
}
