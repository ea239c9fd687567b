//! Sampling the machine.

use std::{
    error::Error,
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, System};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval_at, sleep},
};
use tower_sse::{Hub, Topic};

use crate::{Metrics, Requests, TOPIC, Update};

/// The task that publishes a sample per interval; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the sampling ends when this is dropped"]
pub struct Sampler(JoinHandle<()>);

impl Sampler {
    /// Publishes the first sample, which takes a moment, and goes on every `interval`.
    ///
    /// Whoever subscribes after this returned finds a sample.
    ///
    /// # Errors
    ///
    /// When the first sample can be neither taken nor published.
    pub async fn start(
        hub: &Hub,
        requests: Requests,
        interval: Duration,
    ) -> Result<Self, SampleError> {
        let topic = hub.topic::<Update>(TOPIC).map_err(SampleError::new)?;
        let probe = Probe::new(requests).map_err(SampleError::new)?;
        // A processor's usage is a difference between two looks.
        sleep(MINIMUM_CPU_UPDATE_INTERVAL).await;
        let (probe, sample) = sample(probe).await?;
        let update = Update::Metrics(sample);
        topic.publish(&update).await.map_err(SampleError::new)?;
        Ok(Self(tokio::spawn(keep_publishing(topic, probe, interval))))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep_publishing(topic: Topic<Update>, mut probe: Probe, interval: Duration) {
    let mut ticks = interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let update;
        (probe, update) = match sample(probe).await {
            Ok((probe, sample)) => (probe, Update::Metrics(sample)),
            Err(error) => {
                return tracing::error!(error = &error as &dyn Error, "sampling ended");
            }
        };
        if let Err(error) = topic.publish(&update).await {
            tracing::warn!(error = &error as &dyn Error, "a sample was not published");
        }
    }
}

async fn sample(mut probe: Probe) -> Result<(Probe, Metrics), SampleError> {
    // Reading the figures means reading files on some systems.
    let sampled = spawn_blocking(move || {
        let sample = probe.sample();
        (probe, sample)
    });
    sampled.await.map_err(SampleError::new)
}

struct Probe {
    system: System,
    requests: Requests,
    counted: u64,
    since: Instant,
}

impl Probe {
    fn new(requests: Requests) -> Result<Self, sysinfo::Error> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        let counted = requests.total();
        Ok(Self {
            system,
            requests,
            counted,
            since: Instant::now(),
        })
    }

    fn sample(&mut self) -> Metrics {
        self.system.refresh_cpu_usage();
        self.system
            .refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let (total, now) = (self.requests.total(), Instant::now());
        let (requests, time) = (total - self.counted, now - self.since);
        (self.counted, self.since) = (total, now);
        Metrics {
            cpu_usage: rounded(self.system.global_cpu_usage().into()),
            memory_usage: rounded(per_cent(
                self.system.used_memory(),
                self.system.total_memory(),
            )),
            requests_per_second: rounded(per_second(requests, time)),
            timestamp: in_milliseconds(Timestamp::now()),
        }
    }
}

fn per_cent(part: u64, whole: u64) -> f64 {
    // Counts of bytes and requests are far below 2^53, where floats are exact.
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// Two digits after the point are enough for people.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn in_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// The sampler could not go on.
#[derive(Debug)]
pub struct SampleError(Box<dyn Error + Send + Sync>);

impl SampleError {
    fn new(source: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(source))
    }
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot take a sample")
    }
}

impl Error for SampleError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.0.as_ref())
    }
}
