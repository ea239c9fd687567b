//! The most that a server delivers.

use std::{io, time::Duration};

use crate::{
    bench::{Bench, Running, progress},
    report::{Median, Table, number},
    server::Server,
    step::{Step, Times},
};

/// Deliveries a second of the first step.
const FIRST: f64 = 100e3;
const GROWTH: f64 = 1.4;
/// p99 in milliseconds.
const LOOSE: f64 = 250.0;
const STRICT: f64 = 10.0;

/// The largest steps that held.
#[derive(Clone, Copy, Debug, Default)]
struct Best {
    loose: Option<Step>,
    strict: Option<Step>,
    /// The one that did not.
    above: Option<Step>,
}

pub(super) fn measure(bench: &Bench) -> io::Result<String> {
    let times = Times {
        warm_up: Duration::from_millis(500),
        window: Duration::from_millis(1500).min(bench.times.window),
    };
    let clients = f64::from(u32::try_from(bench.clients).map_err(io::Error::other)?);
    let servers = bench.servers(&Server::SENDING);
    let mut firsts: Vec<_> = servers.iter().map(|server| (*server, FIRST)).collect();
    let results = bench.interleaved(&servers, |server| {
        let mut running = bench.start(server, bench.clients)?;
        let first = firsts.iter_mut().find(|(other, _)| *other == server);
        let (_, first) = first.ok_or(io::ErrorKind::NotFound)?;
        let best = climb(&mut running, clients, times, *first)?;
        // The next time it need not begin that far below.
        let next = best
            .strict
            .map_or(FIRST, |step| step.offered / GROWTH.powi(3));
        *first = next.max(FIRST);
        Ok(best)
    })?;
    let delivered = |best: &[Best], step: fn(&Best) -> Option<Step>| {
        Median::of(
            best.iter()
                .map(|best| step(best).map_or(0.0, |step| step.delivered)),
        )
    };
    let base = results
        .iter()
        .find(|(server, _)| *server == Server::AxumJson);
    let base = base.map(|(_, best)| {
        let most = |step| delivered(best, step).value;
        (most(|best| best.loose), most(|best| best.strict))
    });
    let (loose_base, strict_base) = base.unwrap_or((f64::NAN, f64::NAN));
    let mut table = Table::new(
        &format!("Most deliveries a second, {} clients", bench.clients),
        &[
            "server",
            "p99 < 250 ms",
            "× axum-json",
            "p99 < 10 ms",
            "× axum-json",
            "p99 there, ms",
            "server busy",
            "clients busy",
        ],
    );
    for (server, best) in &results {
        let (loose, strict) = (
            delivered(best, |best| best.loose),
            delivered(best, |best| best.strict),
        );
        let held: Vec<_> = best.iter().filter_map(|best| best.loose).collect();
        let at_most = |value: fn(&Step) -> f64| number(Median::of(held.iter().map(value)).value);
        let mut name = server.name() + Step::marks(&held);
        let above =
            |is: fn(&Step) -> bool| best.iter().any(|best| best.above.as_ref().is_some_and(is));
        if above(Step::load_is_saturated) {
            name += " ⁺";
        }
        if above(|step| step.errors > 0) {
            name += " ⁻";
        }
        table.row(&[
            name,
            loose.with_spread(),
            number(loose.value / loose_base),
            strict.with_spread(),
            number(strict.value / strict_base),
            at_most(|step| step.p99),
            at_most(|step| step.busy),
            at_most(|step| step.load),
        ]);
    }
    Ok(table.note(
        "The two columns on how busy they were, and the p99, are those of the first maximum. \
         ⁺ The clients could not have read faster: the server's maximum is higher. \
         ⁻ Events went missing in the step above the maximum. \
         ° Other processes had the server's core for more than a twentieth of the time.",
    ))
}

/// Raises the rate from `first` until a step fails twice.
fn climb(running: &mut Running, clients: f64, times: Times, first: f64) -> io::Result<Best> {
    let mut best = Best::default();
    let mut offered = first;
    loop {
        let mut step = running.measure(offered / clients, times)?;
        if best.loose.is_none() && first > FIRST && !step.holds(STRICT) {
            return climb(running, clients, times, FIRST);
        }
        // A machine of which others have a part stalls at times.
        let was_strict = best
            .strict
            .is_some_and(|strict| strict.offered >= 0.99 * offered / GROWTH);
        if !step.holds(LOOSE) || was_strict && !step.holds(STRICT) {
            let again = running.measure(offered / clients, times)?;
            if again.holds(STRICT) || !step.holds(LOOSE) {
                step = again;
            }
        }
        progress(&format!(
            "  {} offered, {} delivered, p99 {} ms, {} wrong, server {}, clients {}",
            number(step.offered),
            number(step.delivered),
            number(step.p99),
            step.errors,
            number(step.busy),
            number(step.load),
        ));
        if !step.holds(LOOSE) {
            best.above = Some(step);
            return Ok(best);
        }
        best.loose = Some(step);
        if step.holds(STRICT) {
            best.strict = Some(step);
        }
        offered *= GROWTH;
    }
}
