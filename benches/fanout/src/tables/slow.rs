//! Clients that hardly read, and what they cost the others.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    num::NonZeroUsize,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::{
    bench::Bench,
    report::{Median, Table},
    server::Server,
    step::{Step, float},
};

/// What slow clients ask for, which is more than all buffers hold.
const EVENTS: u64 = 100_000;
const HISTORY: NonZeroUsize = NonZeroUsize::new(200_000).expect("not zero");
const SLOW: [usize; 3] = [0, 1, 100];
const RATE: f64 = 100.0;
/// How long it takes until what slow clients asked for fills all buffers.
const SETTLING: Duration = Duration::from_secs(4);

struct Cost {
    step: Step,
    /// Kilobytes for each slow client.
    memory: f64,
}

pub(super) fn measure(bench: &Bench) -> io::Result<String> {
    let servers = bench.servers(&[Server::OursHyper, Server::OursAxum, Server::OursActix]);
    let mut table = Table::new(
        "Clients that read a byte a second, of all that is retained",
        &[
            "server",
            "slow clients",
            "CPU µs/delivery",
            "p50 ms of the others",
            "p99 ms",
            "KB each",
        ],
    );
    let all = bench.interleaved(&servers, |server| {
        let mut running = bench.start_with(server, 0, HISTORY)?;
        running.server.burst(EVENTS, &mut running.load)?;
        running.connect(bench.clients)?;
        let mut costs = Vec::new();
        for count in SLOW {
            let before = running.server.memory()?;
            let slow = open(running.server.port, count)?;
            running.load.run_for(SETTLING)?;
            let memory = running.server.memory()?.saturating_sub(before);
            let step = running.measure(RATE, bench.times)?;
            drop(slow);
            let clients = float(u64::try_from(count.max(1)).map_err(io::Error::other)?);
            costs.push(Cost {
                step,
                memory: float(memory) / 1e3 / clients,
            });
        }
        Ok(costs)
    })?;
    for (server, runs) in &all {
        for (place, count) in SLOW.iter().enumerate() {
            let costs = || runs.iter().map(|costs| &costs[place]);
            let median = |value: fn(&Cost) -> f64| Median::of(costs().map(value)).with_spread();
            let marks = Step::marks(costs().map(|cost| &cost.step));
            let each = match count {
                0 => "–".to_owned(),
                _ => median(|cost| cost.memory),
            };
            table.row(&[
                format!("{}{marks}", server.name()),
                count.to_string(),
                median(|cost| cost.step.cpu),
                median(|cost| cost.step.p50),
                median(|cost| cost.step.p99),
                each,
            ]);
        }
    }
    Ok(table.note(&format!(
        "Beside {} clients at {RATE} events a second. Memory is what the server's process has grown by \
         when slow clients have filled its buffers; the kernel's are not in it.",
        bench.clients
    )))
}

/// Connects clients that read a byte a second, until what this returns is dropped.
fn open(port: u16, count: usize) -> io::Result<Sender<()>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        set_socket_recv_buffer_size(&client, 4096)?;
        client.write_all(b"GET /?all HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        client.set_nonblocking(true)?;
        clients.push(client);
    }
    let (until, dropped) = channel();
    thread::spawn(move || {
        while dropped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
            for client in &mut clients {
                // One that has nothing at the moment is as slow as it is to be.
                let _ = client.read(&mut [0]);
            }
        }
    });
    Ok(until)
}
