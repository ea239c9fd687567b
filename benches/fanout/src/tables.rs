//! What is measured, table by table.

mod flat;
mod growth;
mod idle;
mod layer;
mod max;
mod replay;
mod slow;
mod steady;

use std::io;

use clap::ValueEnum;

use crate::bench::Bench;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Table {
    /// Most deliveries a second with a p99 below 250 ms, and below 10 ms.
    Max,
    /// CPU and latency at 101 events a second.
    Steady,
    /// Latency at 0.3 and 1.6 M deliveries a second.
    Flat,
    /// What the layer adds to axum's own `Sse`.
    Layer,
    /// Memory of a client that gets nothing.
    Idle,
    /// Clients, topics and history, by powers of ten.
    Growth,
    /// 100,000 retained events for one client, beside live ones.
    Replay,
    /// Clients that hardly read, beside live ones.
    Slow,
}

impl Table {
    pub(crate) fn measure(self, bench: &Bench) -> io::Result<Vec<String>> {
        Ok(match self {
            Self::Max => vec![max::measure(bench)?],
            Self::Steady => vec![steady::measure(bench)?],
            Self::Flat => vec![flat::measure(bench)?],
            Self::Layer => vec![layer::measure(bench)?],
            Self::Idle => vec![idle::measure(bench)?],
            Self::Growth => vec![
                growth::clients(bench)?,
                growth::topics(bench)?,
                growth::history(bench)?,
            ],
            Self::Replay => vec![replay::measure(bench)?],
            Self::Slow => vec![slow::measure(bench)?],
        })
    }
}
