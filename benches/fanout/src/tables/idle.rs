//! What a client takes that gets nothing.

use std::{io, time::Duration};

use crate::{
    bench::Bench,
    load::PATIENCE,
    report::{Median, Table, number},
    server::Server,
    step::float,
};

/// How many events there were before, so that the history has something.
const EVENTS: u64 = 1000;
/// Clients that are there before, so that what is shared does not count.
const FIRST: usize = 50;
const SETTLE: Duration = Duration::from_secs(1);

/// Bytes a client.
struct Idle {
    new: f64,
    /// After it has got an event.
    used: f64,
}

pub(super) fn measure(bench: &Bench) -> io::Result<String> {
    let servers = [
        Server::Floor,
        Server::EmptyHyper,
        Server::OursHyper,
        Server::EmptyAxum,
        Server::OursAxum,
        Server::AxumJson,
        Server::EmptyActix,
        Server::OursActix,
        Server::ActixLab,
    ];
    // Some files are those of the process itself.
    let clients = usize::try_from(bench.files).map_or(10_000, |files| files.saturating_sub(200));
    let clients = clients.min(10_000);
    let results = bench.interleaved(&bench.servers(&servers), |server| {
        let mut running = bench.start(server, 0)?;
        let (process, load) = (&mut running.server, &mut running.load);
        process.burst(EVENTS, load)?;
        load.connect(process.port, FIRST, "", process.sent)?;
        load.run_for(SETTLE)?;
        let before = process.memory()?;
        load.connect(process.port, clients - FIRST, "", process.sent)?;
        load.run_for(SETTLE)?;
        let new = process.memory()?;
        process.burst(1, load)?;
        if server.sends() {
            load.drain(process.sent, PATIENCE)?;
        }
        let used = process.memory()?;
        if load.tally.errors > 0 {
            return Err(io::Error::other("events went missing"));
        }
        let clients = f64::from(u32::try_from(clients - FIRST).map_err(io::Error::other)?);
        Ok(Idle {
            new: (float(new) - float(before)) / clients,
            used: (float(used) - float(before)) / clients,
        })
    })?;
    let new = |idle: &[Idle]| Median::of(idle.iter().map(|idle| idle.new));
    let mut table = Table::new(
        &format!("Memory of an idle client, {clients} clients, in bytes"),
        &[
            "server",
            "resident",
            "less the empty stack",
            "after an event",
        ],
    );
    for (server, idle) in &results {
        let empty = results
            .iter()
            .find(|(other, _)| Some(*other) == server.empty());
        let own = empty.map(|(_, empty)| new(idle).value - new(empty).value);
        let used = Median::of(idle.iter().map(|idle| idle.used));
        table.row(&[
            server.name(),
            new(idle).with_spread(),
            number(own.unwrap_or(f64::NAN)),
            if server.sends() {
                used.with_spread()
            } else {
                "–".to_owned()
            },
        ]);
    }
    Ok(table.note("Memory of the process; that of the kernel's sockets is not in it."))
}
