//! Real servers for tests: each of a test's own, on free ports, with its data in a directory that goes
//! with it.

#![allow(clippy::unwrap_used, missing_docs)]

mod nats;
mod nginx;
mod postgres;
mod process;
mod proxy;
mod redis;
mod server;

pub use nats::Nats;
pub use nginx::Nginx;
pub use postgres::Postgres;
pub use process::{Process, cpu_time, signal};
pub use proxy::{Network, Proxy};
pub use redis::{Redis, Sentinel};
pub use server::{Engine, Server, copy_all};
