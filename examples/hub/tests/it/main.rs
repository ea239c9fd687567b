//! The binary as one process or several, from outside: over HTTP, by signals, and with its Redis taken
//! away.

#![allow(clippy::unwrap_used)]

mod client;
mod follow;
mod hub;
mod load;
mod process;
mod publish;
mod several;
