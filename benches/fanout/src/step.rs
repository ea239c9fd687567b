//! One measurement: a server at one rate.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{load::Load, process::Process, report::Median, update::thread_cpu};

/// What has not come for so long does not come.
const PATIENCE: Duration = Duration::from_secs(3);

/// What [`Step::marks`] mean.
pub(crate) const MARKS: &str = "⁻ Events went missing. ° Other processes had the server's core for \
    more than a twentieth of the time.";

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// What was measured. Deliveries are events times clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Deliveries a second that were due.
    pub(crate) offered: f64,
    /// Deliveries a second.
    pub(crate) delivered: f64,
    /// Microseconds of the server's CPU per delivery.
    pub(crate) cpu: f64,
    /// The part of it in user space.
    pub(crate) user: f64,
    /// Milliseconds from publishing to reading.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// How busy the server was, 1 for a core.
    pub(crate) busy: f64,
    /// How busy the clients were.
    pub(crate) load: f64,
    /// How much of the time the server waited for its core.
    pub(crate) waited: f64,
    /// Reads of clients per delivery.
    pub(crate) reads: f64,
    /// Events that were missing or wrong, in the whole step.
    pub(crate) errors: u64,
}

impl Step {
    /// What is to be said of a row of such steps.
    pub(crate) fn marks<'a>(steps: impl IntoIterator<Item = &'a Self>) -> &'static str {
        let steps: Vec<_> = steps.into_iter().collect();
        let waited = Median::of(steps.iter().map(|step| step.waited)).value > 0.05;
        match (steps.iter().any(|step| step.errors > 0), waited) {
            (true, true) => " ⁻ °",
            (true, false) => " ⁻",
            (false, true) => " °",
            (false, false) => "",
        }
    }

    /// Whether the clients could not have read any faster.
    pub(crate) fn load_is_saturated(&self) -> bool {
        self.load > 0.97
    }

    /// Whether the server kept up: nearly all came, and in time.
    pub(crate) fn holds(&self, p99: f64) -> bool {
        self.errors == 0 && self.delivered >= 0.95 * self.offered && self.p99 < p99
    }
}

/// Publishes so many events a second to `clients` that are connected, and checks that all came.
pub(crate) fn measure(
    server: &mut Process,
    load: &mut Load,
    clients: usize,
    rate: f64,
    times: Times,
) -> io::Result<Step> {
    let clients = f64::from(u32::try_from(clients).map_err(io::Error::other)?);
    load.tally.clear();
    server.rate(rate)?;
    load.run_for(times.warm_up)?;

    let errors = load.tally.errors;
    load.tally.clear();
    let (begun, cpu, own) = (Instant::now(), server.cpu()?, thread_cpu());
    load.run_for(times.window)?;
    let (elapsed, cpu_after, own_after) = (begun.elapsed(), server.cpu()?, thread_cpu());

    let tally = &load.tally;
    let latency = |quantile| float(tally.latency.value_at_quantile(quantile)) / 1e6;
    let events = float(tally.events).max(1.0);
    let seconds = elapsed.as_secs_f64();
    let total = float(cpu_after.total.saturating_sub(cpu.total));
    let user = cpu_after.user.saturating_sub(cpu.user);
    let system = cpu_after.system.saturating_sub(cpu.system);
    let step = Step {
        offered: rate * clients,
        delivered: float(tally.events) / seconds,
        cpu: total / events / 1e3,
        user: total / events / 1e3 * float(user) / float(user + system).max(1.0),
        p50: latency(0.5),
        p99: latency(0.99),
        p999: latency(0.999),
        busy: total / 1e9 / seconds,
        load: float(own_after - own) / 1e9 / seconds,
        waited: float(cpu_after.waited.saturating_sub(cpu.waited)) / 1e9 / seconds,
        reads: float(tally.reads) / events,
        errors: 0,
    };

    server.stop(load)?;
    load.drain(server.sent, PATIENCE)?;
    Ok(Step {
        errors: errors + load.tally.errors,
        ..step
    })
}

#[expect(clippy::cast_precision_loss, reason = "three digits are read")]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}
