//! What is measured, table by table.

mod max;
mod steady;

use std::io;

use clap::ValueEnum;

use crate::bench::Bench;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Table {
    /// Most deliveries a second with a p99 below 250 ms, and below 10 ms.
    Max,
    /// CPU and latency at 100 events a second.
    Steady,
}

impl Table {
    pub(crate) const ALL: &[Self] = &[Self::Max, Self::Steady];

    pub(crate) fn measure(self, bench: &Bench) -> io::Result<String> {
        match self {
            Self::Max => max::measure(bench),
            Self::Steady => steady::measure(bench),
        }
    }
}
