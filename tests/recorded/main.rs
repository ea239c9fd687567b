//! Recorded responses over processes that share a store, and over all stores.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../it/client.rs"]
#[allow(dead_code)]
mod client;
mod cut;
mod ends;
mod gone;
mod keys;
mod leaving;
mod peer;
mod place;
#[path = "../it/servers.rs"]
#[allow(dead_code)]
mod site;
mod text;
#[path = "../it/whatwg.rs"]
mod whatwg;
