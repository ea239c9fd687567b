//! What grows with clients, topics and history, and what does not.

use std::{io, num::NonZeroUsize};

use super::steady;
use crate::{
    bench::Bench,
    report::{Median, Table, number},
    server::Server,
    step::{MARKS, Step, float},
};

/// Events a second for 1,000 clients.
const RATE: f64 = steady::RATE;
/// How many events are published to see how long one takes.
const PUBLISHED: u64 = 100_000;

/// From 1 client to 10,000, at 100,000 deliveries a second at most.
pub(super) fn clients(bench: &Bench) -> io::Result<String> {
    let servers = bench.servers(&[Server::Floor, Server::OursAxum, Server::AxumJson]);
    let mut table = Table::new(
        "Growth: clients",
        &[
            "clients",
            "events/s",
            "server",
            "CPU µs/delivery",
            "user µs/delivery",
            "p50 ms",
            "p99 ms",
        ],
    );
    for (clients, rate) in [
        (1, 1000.0),
        (10, 1000.0),
        (100, 1000.0),
        (1000, RATE),
        (10_000, 10.0),
    ] {
        if u64::try_from(clients + 200).map_err(io::Error::other)? > bench.files {
            continue;
        }
        let results = bench.interleaved(&servers, |server| {
            bench.start(server, clients)?.measure(rate, bench.times)
        })?;
        for (server, steps) in &results {
            let median = |value: fn(&Step) -> f64| Median::of(steps.iter().map(value));
            table.row(&[
                clients.to_string(),
                number(rate),
                server.name() + Step::marks(steps),
                median(|step| step.cpu).with_spread(),
                median(|step| step.user).with_spread(),
                median(|step| step.p50).with_spread(),
                median(|step| step.p99).with_spread(),
            ]);
        }
    }
    Ok(table.note(MARKS))
}

/// From 1 topic to 100,000 beside the one that is followed.
pub(super) fn topics(bench: &Bench) -> io::Result<String> {
    let mut table = Table::new(
        "Growth: topics",
        &[
            "topics",
            "bytes each",
            "ns to publish",
            "CPU µs/delivery beside them",
            "p50 ms",
            "p99 ms",
        ],
    );
    for topics in [1, 10, 100, 1000, 10_000, 100_000_u64] {
        let results = bench.interleaved(&[Server::OursAxum], |server| {
            let mut running = bench.start(server, bench.clients)?;
            let (process, load) = (&mut running.server, &mut running.load);
            let before = process.memory()?;
            process.elsewhere(topics, topics, load)?;
            let bytes = (float(process.memory()?) - float(before)) / float(topics);
            process.elsewhere(PUBLISHED, topics, load)?;
            let publish = float(process.took) / float(PUBLISHED);
            let step = running.measure(RATE, bench.times)?;
            Ok((bytes, publish, step))
        })?;
        row(&mut table, topics, &results[0].1);
    }
    Ok(table.note(
        "Each topic has one event when its bytes are counted. Then 100,000 events are published to \
         them in turn, and last some to one more topic, which all clients follow.",
    ))
}

/// From 10 retained events to a million.
pub(super) fn history(bench: &Bench) -> io::Result<String> {
    let mut table = Table::new(
        "Growth: history",
        &[
            "events",
            "bytes each",
            "ns to publish",
            "CPU µs/delivery beside them",
            "p50 ms",
            "p99 ms",
        ],
    );
    for events in [10, 100, 1000, 10_000, 100_000, 1_000_000] {
        let history = NonZeroUsize::new(events).ok_or(io::ErrorKind::InvalidInput)?;
        let events = u64::try_from(events).map_err(io::Error::other)?;
        let results = bench.interleaved(&[Server::OursAxum], |server| {
            let mut running = bench.start_with(server, 0, history)?;
            let (process, load) = (&mut running.server, &mut running.load);
            let before = process.memory()?;
            process.burst(events, load)?;
            let bytes = (float(process.memory()?) - float(before)) / float(events);
            process.burst(PUBLISHED, load)?;
            let publish = float(process.took) / float(PUBLISHED);
            running.connect(bench.clients)?;
            let step = running.measure(RATE, bench.times)?;
            Ok((bytes, publish, step))
        })?;
        row(&mut table, events, &results[0].1);
    }
    Ok(table
        .note("100,000 events are published while the history is full, so that each evicts one."))
}

fn row(table: &mut Table, number_of: u64, results: &[(f64, f64, Step)]) {
    let median = |value: fn(&Step) -> f64| Median::of(results.iter().map(|(.., step)| value(step)));
    let marks = Step::marks(results.iter().map(|(.., step)| step));
    table.row(&[
        format!("{number_of}{marks}"),
        match number_of {
            // The kernel gives memory in pages.
            ..1000 => "–".to_owned(),
            _ => number(Median::of(results.iter().map(|(bytes, ..)| *bytes)).value),
        },
        Median::of(results.iter().map(|(_, publish, _)| *publish)).with_spread(),
        median(|step| step.cpu).with_spread(),
        median(|step| step.p50).with_spread(),
        median(|step| step.p99).with_spread(),
    ]);
}
