//! Whether latency stays what it is while the rate grows.

use std::io;

use crate::{
    bench::Bench,
    report::{Median, Table, number},
    server::Server,
    step::{MARKS, Step},
};

/// Deliveries a second.
const FEW: f64 = 300e3;
const MANY: f64 = 1.6e6;

pub(super) fn measure(bench: &Bench) -> io::Result<String> {
    let servers = [
        Server::FloorBatch,
        Server::OursHyper,
        Server::OursAxum,
        Server::OursActix,
        Server::AxumJson,
        Server::AxumShared,
        Server::ActixLab,
    ];
    let clients = f64::from(u32::try_from(bench.clients).map_err(io::Error::other)?);
    let results = bench.interleaved(&bench.servers(&servers), |server| {
        let mut running = bench.start(server, bench.clients)?;
        let few = running.measure(FEW / clients, bench.times)?;
        let many = running.measure(MANY / clients, bench.times)?;
        Ok((few, many))
    })?;
    let mut table = Table::new(
        &format!(
            "Latency at 0.3 and 1.6 M deliveries a second, {} clients",
            bench.clients
        ),
        &[
            "server",
            "p50 ms at 0.3 M",
            "p99 ms",
            "p50 ms at 1.6 M",
            "p99 ms",
            "p99 × that at 0.3 M",
            "of 1.6 M delivered",
        ],
    );
    for (server, steps) in &results {
        let few = |value: fn(&Step) -> f64| Median::of(steps.iter().map(|(few, _)| value(few)));
        let many = |value: fn(&Step) -> f64| Median::of(steps.iter().map(|(_, many)| value(many)));
        let ratio = Median::of(steps.iter().map(|(few, many)| many.p99 / few.p99));
        let both = steps.iter().flat_map(|(few, many)| [few, many]);
        table.row(&[
            server.name() + Step::marks(both),
            few(|step| step.p50).with_spread(),
            few(|step| step.p99).with_spread(),
            many(|step| step.p50).with_spread(),
            many(|step| step.p99).with_spread(),
            ratio.with_spread(),
            number(many(|step| step.delivered / step.offered).value),
        ]);
    }
    Ok(table.note(MARKS))
}
