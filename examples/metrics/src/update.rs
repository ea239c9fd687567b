//! What the stream carries.

use jiff::Timestamp;
use serde::Serialize;

/// The topic that the samples are published to.
pub const TOPIC: &str = "metrics";

/// An event of the stream; the variant is the event's name.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Update {
    /// A sample of the machine and the service.
    Metrics(Metrics),
}

/// One sample.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Usage of all processors together since the sample before, in per cent.
    pub cpu_usage: f64,
    /// Memory in use, in per cent.
    pub memory_usage: f64,
    /// Requests that this service took since the sample before, per second.
    pub requests_per_second: f64,
    /// When the sample was taken, in RFC 3339 with milliseconds.
    pub timestamp: Timestamp,
}
