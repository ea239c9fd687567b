//! All stores, put through the suite that is their contract, and what each promises beyond it.
#![allow(clippy::unwrap_used, missing_docs)]

mod memory;
mod naive;
#[cfg(feature = "redis")]
mod redis;
mod wrong;
