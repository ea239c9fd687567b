//! The binary as one process or several, from outside: over HTTP, by signals, and with its Redis taken
//! away.

#![allow(clippy::unwrap_used)]

mod client;
mod faults;
mod follow;
mod hub;
mod load;
mod many;
mod process;
mod proxy;
mod publish;
mod redis;
mod removal;
mod several;
