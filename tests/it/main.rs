//! All tests that go through the public API, in one binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod adapters;
mod altered;
mod bad_input;
mod client;
mod completion;
mod failure;
mod fan_out;
mod faulty;
mod foreign;
mod head;
mod hostile;
mod hub;
mod layer;
mod life;
mod load;
mod memory;
mod not_before;
mod reading;
mod recorded;
mod replay;
mod resume;
mod seeing;
mod servers;
mod several;
mod slow;
mod story;
mod tidy;
mod together;
#[cfg(feature = "tickets")]
mod tokens;
mod whatwg;
mod wire;

/// How much a test tries: the second where all sizes are asked for.
fn sizes<T>(usual: T, long: T) -> T {
    match std::env::var_os("TOWER_SSE_LONG") {
        Some(_) => long,
        None => usual,
    }
}
