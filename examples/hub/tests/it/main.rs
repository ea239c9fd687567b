//! The binary as one process or several, from outside: over HTTP, by signals, and with its server taken
//! away.

#![allow(clippy::unwrap_used)]

#[macro_use]
mod backend;
mod client;
mod faults;
mod fleet;
mod follow;
mod hub;
mod load;
mod many;
mod outbox;
mod process;
mod publish;
mod removal;
mod several;
