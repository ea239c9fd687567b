//! Measures what it costs to send every event to every client, here and elsewhere.
//!
//! `cargo run --release -p fanout -- --help` says what it can do, and `benches/README.md` how to read
//! what it prints.

mod bench;
mod control;
mod load;
mod process;
mod report;
mod server;
mod step;
mod tables;
mod update;

use std::{
    error::Error,
    io::{self, Write},
    num::NonZeroUsize,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};

use bench::Bench;
use server::Server;
use step::Times;
use tables::Table;

/// How many events the servers keep, for clients that are behind.
const HISTORY: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

#[derive(Parser)]
#[command(about, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// What is measured; all by default.
    #[arg(value_enum)]
    tables: Vec<Table>,
    /// Once and in short, to see whether it works.
    #[arg(long)]
    quick: bool,
    /// How often everything is measured, in turn.
    #[arg(long, default_value_t = 5)]
    repetitions: u32,
    /// How many clients there are, where a table does not say.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Seconds that a measurement at one rate takes. The share of user space needs 3 or more.
    #[arg(long, default_value_t = 4.0)]
    window: f64,
    /// The servers, instead of all that a table has.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Server>,
}

#[derive(Subcommand)]
enum Role {
    /// Sees whether servers deliver everything and in order, and measures nothing.
    Check {
        /// Which; all by default.
        #[arg(value_enum)]
        servers: Vec<Server>,
    },
    /// Runs a server that is told by its standard input what to publish.
    #[command(hide = true)]
    Server {
        #[arg(value_enum)]
        server: Server,
        #[arg(long, default_value_t = HISTORY)]
        history: NonZeroUsize,
        #[arg(long)]
        core: Option<usize>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell where that fails.
            drop(writeln!(io::stderr(), "fanout: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let files = process::raise_file_limit()?;
    let server_core = match arguments.role {
        Some(Role::Server {
            server,
            history,
            core,
        }) => {
            if let Some(core) = core {
                process::pin(core)?;
            }
            return Ok(server.run(history)?);
        }
        Some(Role::Check { servers }) => return Ok(bench::check(&servers)?),
        None => match process::cores()? {
            Some((server, load)) => {
                process::pin(load)?;
                Some(server)
            }
            None => None,
        },
    };
    let times = |warm_up, window| Times {
        warm_up: Duration::from_secs_f64(warm_up),
        window: Duration::from_secs_f64(window),
    };
    let bench = Bench {
        core: server_core,
        files,
        clients: arguments.clients,
        repetitions: if arguments.quick {
            1
        } else {
            arguments.repetitions
        },
        times: match arguments.quick {
            true => times(0.3, 1.0),
            false => times(0.7, arguments.window),
        },
        only: arguments.servers,
    };
    let mut out = io::stdout();
    writeln!(out, "{}", bench.machine()?)?;
    let tables = match &arguments.tables[..] {
        [] => Table::value_variants(),
        tables => tables,
    };
    for table in tables {
        for text in table.measure(&bench)? {
            writeln!(out, "{text}")?;
        }
    }
    Ok(())
}
