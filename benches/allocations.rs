//! The allocations of the other benchmarks. Counting takes time, so the times here say nothing.

#[allow(dead_code)]
mod decode;
#[allow(dead_code)]
mod encode;

use divan::{AllocProfiler, Divan};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    Divan::default().sample_count(10).config_with_args().main();
}
