//! The value that events are made of.

use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Metrics {
    at: u64,
    host: &'static str,
    cpu: f64,
    memory: u64,
    requests: u64,
    errors: u32,
    state: &'static str,
    users: [&'static str; 2],
}

pub(crate) const METRICS: Metrics = Metrics {
    at: 1_767_225_600_123,
    host: "web-3.example.org",
    cpu: 37.5,
    memory: 4_831_838_208,
    requests: 1_234_567,
    errors: 17,
    state: "degraded",
    users: ["ada", "bob"],
};
