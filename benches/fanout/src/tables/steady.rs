//! What a delivery costs where each event is a write of its own.

use std::io;

use crate::{
    bench::Bench,
    report::{Median, Table, number},
    server::Server,
    step::{MARKS, Step},
};

/// Events a second. The kernel counts the time in user space at its own ticks, 250 or 100 a second,
/// which must not see the same moment of each round.
pub(super) const RATE: f64 = 101.0;

pub(super) fn measure(bench: &Bench) -> io::Result<String> {
    let results = bench.interleaved(&bench.servers(&Server::SENDING), |server| {
        bench
            .start(server, bench.clients)?
            .measure(RATE, bench.times)
    })?;
    let median = |steps: &[Step], value: fn(&Step) -> f64| Median::of(steps.iter().map(value));
    let of = |wanted, value| {
        let found = results.iter().find(|(server, _)| *server == wanted);
        found.map_or(f64::NAN, |(_, steps)| median(steps, value).value)
    };
    let (floor, user) = (
        of(Server::Floor, |step| step.cpu),
        of(Server::AxumJson, |step| step.user),
    );
    let mut table = Table::new(
        &format!("{RATE} events a second, {} clients", bench.clients),
        &[
            "server",
            "CPU µs/delivery",
            "× floor",
            "of it user space",
            "axum-json's ×",
            "p50 ms",
            "p99 ms",
            "p999 ms",
            "reads/delivery",
        ],
    );
    for (server, steps) in &results {
        let (cpu, user_here) = (
            median(steps, |step| step.cpu),
            median(steps, |step| step.user),
        );
        table.row(&[
            server.name() + Step::marks(steps),
            cpu.with_spread(),
            number(cpu.value / floor),
            user_here.with_spread(),
            number(user / user_here.value),
            median(steps, |step| step.p50).with_spread(),
            median(steps, |step| step.p99).with_spread(),
            median(steps, |step| step.p999).with_spread(),
            number(median(steps, |step| step.reads).value),
        ]);
    }
    Ok(table.note(MARKS))
}
