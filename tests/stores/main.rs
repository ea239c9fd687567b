//! All stores, put through the suite that is their contract, and what each promises beyond it.
#![allow(clippy::unwrap_used, missing_docs)]

#[cfg(feature = "file")]
mod file;
#[cfg(any(
    feature = "file",
    feature = "nats",
    feature = "postgres",
    feature = "redis"
))]
mod log;
mod memory;
mod naive;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
mod publishers;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
mod server;
mod wrong;

/// How much a test tries: the second where all sizes are asked for.
#[cfg(any(
    feature = "file",
    feature = "nats",
    feature = "postgres",
    feature = "redis"
))]
fn sizes<T>(usual: T, long: T) -> T {
    match std::env::var_os("TOWER_SSE_LONG") {
        Some(_) => long,
        None => usual,
    }
}
