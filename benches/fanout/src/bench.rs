//! What all tables need.

use std::{
    fs,
    io::{self, Write},
    num::NonZeroUsize,
};

use clap::ValueEnum;

use crate::{
    HISTORY,
    load::{Load, PATIENCE},
    process::Process,
    server::Server,
    step::{Step, Times, measure},
};

/// How everything is measured.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Where servers run; the clients are on another one.
    pub(crate) core: Option<usize>,
    /// How many files a process can have open.
    pub(crate) files: u64,
    pub(crate) clients: usize,
    pub(crate) repetitions: u32,
    pub(crate) times: Times,
    /// The servers that were asked for, if any.
    pub(crate) only: Vec<Server>,
}

/// A server with its clients.
pub(crate) struct Running {
    pub(crate) server: Process,
    pub(crate) load: Load,
    clients: usize,
}

impl Bench {
    /// Those of `servers` that were asked for.
    pub(crate) fn servers(&self, servers: &[Server]) -> Vec<Server> {
        let asked = |server: &Server| self.only.is_empty() || self.only.contains(server);
        servers.iter().copied().filter(asked).collect()
    }

    pub(crate) fn start(&self, server: Server, clients: usize) -> io::Result<Running> {
        self.start_with(server, clients, HISTORY)
    }

    pub(crate) fn start_with(
        &self,
        server: Server,
        clients: usize,
        history: NonZeroUsize,
    ) -> io::Result<Running> {
        let server = Process::start(server, history, self.core)?;
        let mut running = Running {
            server,
            load: Load::new()?,
            clients: 0,
        };
        running.connect(clients)?;
        Ok(running)
    }

    /// Does something to each server in turn, as often as everything is repeated.
    pub(crate) fn interleaved<T>(
        &self,
        servers: &[Server],
        mut each: impl FnMut(Server) -> io::Result<T>,
    ) -> io::Result<Vec<(Server, Vec<T>)>> {
        let mut all: Vec<_> = servers.iter().map(|server| (*server, Vec::new())).collect();
        for repetition in 1..=self.repetitions {
            for (server, results) in &mut all {
                progress(&format!(
                    "{}, {repetition} of {}",
                    server.name(),
                    self.repetitions
                ));
                let result = each(*server);
                results.push(result.map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", server.name()))
                })?);
            }
        }
        Ok(all)
    }

    /// What this runs on.
    pub(crate) fn machine(&self) -> io::Result<String> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name\t: "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let pinned = match self.core {
            Some(core) => format!("servers on core {core}, clients on another"),
            None => {
                "one core only, shared by servers and clients: nothing here is to be trusted".into()
            }
        };
        Ok(format!(
            "{}; Linux {}; {pinned}; repetitions: {}, window: {:?}\n",
            model.unwrap_or("processor unknown"),
            kernel.trim(),
            self.repetitions,
            self.times.window,
        ))
    }
}

impl Running {
    /// Connects more clients, which are to get what comes from now on.
    pub(crate) fn connect(&mut self, clients: usize) -> io::Result<()> {
        self.clients += clients;
        let (port, sent) = (self.server.port, self.server.sent);
        self.load.connect(port, clients, "", sent)
    }

    pub(crate) fn measure(&mut self, rate: f64, times: Times) -> io::Result<Step> {
        measure(&mut self.server, &mut self.load, self.clients, rate, times)
    }
}

/// Says on standard error what is going on.
pub(crate) fn progress(what: &str) {
    // It is not needed.
    drop(writeln!(io::stderr(), "fanout: {what}"));
}

/// Sees whether 20 clients of each server get 50 events, in order and whole.
pub(crate) fn check(servers: &[Server]) -> io::Result<()> {
    let servers = match servers {
        [] => Server::value_variants(),
        servers => servers,
    };
    for server in servers {
        let mut process = Process::start(*server, HISTORY, None)?;
        let mut load = Load::new()?;
        load.connect(process.port, 20, "", 0)?;
        process.burst(25, &mut load)?;
        process.burst(25, &mut load)?;
        let expected = if server.sends() { 50 } else { 0 };
        load.drain(expected, PATIENCE)?;
        if load.tally.errors > 0 || load.tally.events != 20 * expected {
            let (events, errors) = (load.tally.events, load.tally.errors);
            let name = server.name();
            let error = format!("{name}: {events} events arrived, and {errors} were wrong");
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        progress(&format!("{}: all arrived in order", server.name()));
    }
    Ok(())
}
