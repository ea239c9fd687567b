//! Figures of the streams for Prometheus.

use std::{error::Error, sync::Arc, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;

/// How often what was recorded is put together, should nobody ask for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// From a millisecond to a day.
const SECONDS: [f64; 12] = [
    0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 14_400.0, 86_400.0,
];
const EVENTS: [f64; 6] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];

/// All that `tower_sse` has recorded since the start, and what `GET /metrics` answers; a clone has the
/// same.
#[derive(Clone, Debug)]
pub struct Figures {
    handle: PrometheusHandle,
    _upkeep: Arc<Upkeep>,
}

#[derive(Debug)]
struct Upkeep(JoinHandle<()>);

impl Figures {
    /// What the answer is.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins to record, once in a process.
    ///
    /// # Errors
    ///
    /// When something else records already.
    pub fn record() -> Result<Self, Box<dyn Error>> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_events".to_owned()), &EVENTS)?
            .install_recorder()?;
        let kept = handle.clone();
        let upkeep = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                kept.run_upkeep();
            }
        });
        Ok(Self {
            handle,
            _upkeep: Arc::new(Upkeep(upkeep)),
        })
    }

    /// The figures as Prometheus reads them.
    pub fn text(&self) -> String {
        self.handle.render()
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}
