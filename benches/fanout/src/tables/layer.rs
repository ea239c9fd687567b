//! What the layer adds to a stream that is not this crate's.

use std::io;

use super::steady::RATE;
use crate::{
    bench::Bench,
    report::{Median, Table},
    server::Server,
    step::Times,
};

pub(super) fn measure(bench: &Bench) -> io::Result<String> {
    let pairs = [
        (Server::AxumJson, Server::AxumJsonLayer),
        (Server::AxumShared, Server::AxumSharedLayer),
    ];
    // The share of user space comes from the kernel's ticks, of which this takes many.
    let times = Times {
        window: 2 * bench.times.window,
        ..bench.times
    };
    let mut table = Table::new(
        &format!(
            "axum's Sse behind the layer, {RATE} events a second, {} clients",
            bench.clients
        ),
        &[
            "server",
            "user µs/delivery",
            "with the layer",
            "×",
            "total µs/delivery",
            "with the layer",
            "×",
        ],
    );
    for (without, with) in pairs {
        let results = bench.interleaved(&[without, with], |server| {
            bench.start(server, bench.clients)?.measure(RATE, times)
        })?;
        let [(_, without_it), (_, with_it)] = &results[..] else {
            return Err(io::Error::other("there are two servers"));
        };
        let pairs = || without_it.iter().zip(with_it);
        table.row(&[
            without.name(),
            Median::of(without_it.iter().map(|step| step.user)).with_spread(),
            Median::of(with_it.iter().map(|step| step.user)).with_spread(),
            Median::of(pairs().map(|(without, with)| with.user / without.user)).with_spread(),
            Median::of(without_it.iter().map(|step| step.cpu)).with_spread(),
            Median::of(with_it.iter().map(|step| step.cpu)).with_spread(),
            Median::of(pairs().map(|(without, with)| with.cpu / without.cpu)).with_spread(),
        ]);
    }
    Ok(table.note(
        "The ratios are those of neighbouring runs. Without the layer the heartbeat is axum's \
         `KeepAlive`, with it the layer's.",
    ))
}
