//! The clients, in one thread.

mod parser;

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, Event, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
    net::sockopt::set_socket_linger,
    time::Timespec,
};

use crate::update::monotonic;
use parser::Parser;
pub(crate) use parser::Tally;

/// How many connect before all have their heads.
const ROUND: usize = 64;
/// How much is read at once.
const BUFFER: usize = 256 * 1024;
/// Something is wrong where nothing comes for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(5);

/// Clients of one server.
pub(crate) struct Load {
    epoll: OwnedFd,
    clients: Vec<Client>,
    ready: Vec<Event>,
    buffer: Box<[u8]>,
    pub(crate) tally: Tally,
    /// What clients found that read the history.
    pub(crate) replayed: Tally,
}

struct Client {
    socket: TcpStream,
    response: Parser,
    is_live: bool,
    is_open: bool,
}

impl Load {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            ready: Vec::with_capacity(1024),
            buffer: vec![0; BUFFER].into(),
            tally: Tally::new(),
            replayed: Tally::new(),
        })
    }

    /// Connects so many more clients, which are to get what comes after `last`, and waits until each
    /// has the head of its response.
    pub(crate) fn connect(
        &mut self,
        port: u16,
        clients: usize,
        query: &str,
        last: u64,
    ) -> io::Result<()> {
        let all = self.clients.len() + clients;
        while self.clients.len() < all {
            let round = self.clients.len()..all.min(self.clients.len() + ROUND);
            for number in round.clone() {
                let client = Client::connect(port, query, last)?;
                let number = u64::try_from(number).map_err(io::Error::other)?;
                let data = EventData::new_u64(number);
                epoll::add(&self.epoll, &client.socket, data, EventFlags::IN)?;
                self.clients.push(client);
            }
            self.until("heads", |load| {
                load.clients[round.clone()]
                    .iter()
                    .all(|client| client.response.has_head())
            })?;
        }
        Ok(())
    }

    /// Reads until each client has the update with this number, or nothing more comes for so long.
    /// Counts what did not come.
    pub(crate) fn drain(&mut self, last: u64, patience: Duration) -> io::Result<()> {
        let behind = |load: &Self| {
            let behind = |client: &&Client| client.is_open && client.response.last() < last;
            load.clients.iter().any(|client| behind(&client))
        };
        let (mut events, mut since) = (self.tally.events, Instant::now());
        while behind(self) && since.elapsed() < patience {
            self.turn(GLANCE)?;
            if self.tally.events > events {
                (events, since) = (self.tally.events, Instant::now());
            }
        }
        for client in &self.clients {
            self.tally.errors += last.saturating_sub(client.response.last());
        }
        Ok(())
    }

    /// Connects a client that wants all that is kept, and reads until it has the update with this
    /// number. The others go on. Returns how long it took.
    pub(crate) fn replay(&mut self, port: u16, last: u64) -> io::Result<Duration> {
        let begun = Instant::now();
        let mut client = Client::connect(port, "?all", 0)?;
        client.is_live = false;
        let number = self.clients.len();
        let data = EventData::new_u64(u64::try_from(number).map_err(io::Error::other)?);
        epoll::add(&self.epoll, &client.socket, data, EventFlags::IN)?;
        self.clients.push(client);
        let replayed = self.until("end of the history", |load| {
            load.clients[number].response.last() >= last
        });
        let took = begun.elapsed();
        self.clients.pop();
        replayed.map(|()| took)
    }

    /// Reads for so long.
    pub(crate) fn run_for(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left.max(Duration::from_micros(1)))?;
        }
    }

    /// Reads until something holds.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> io::Result<()> {
        let since = Instant::now();
        while !holds(self) {
            if since.elapsed() > PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("no {what}")));
            }
            self.turn(GLANCE)?;
        }
        Ok(())
    }

    /// Waits for so long at most, and reads from each socket that has something.
    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&timeout)) {
            Err(Errno::INTR) => return Ok(()),
            result => result?,
        };
        for event in &self.ready {
            let number = usize::try_from(event.data.u64()).map_err(io::Error::other)?;
            let client = &mut self.clients[number];
            let tally = match client.is_live {
                true => &mut self.tally,
                false => &mut self.replayed,
            };
            match client.socket.read(&mut self.buffer) {
                Ok(0) => client.close(&self.epoll, tally)?,
                Ok(length) => {
                    tally.reads += 1;
                    tally.bytes += u64::try_from(length).map_err(io::Error::other)?;
                    let bytes = &self.buffer[..length];
                    client.response.read(bytes, monotonic(), tally);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => client.close(&self.epoll, tally)?,
            }
        }
        Ok(())
    }
}

impl Client {
    fn connect(port: u16, query: &str, last: u64) -> io::Result<Self> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        // Gone without a trace, so that thousands of clients do not use up the ports.
        set_socket_linger(&socket, Some(Duration::ZERO))?;
        socket.set_nodelay(true)?;
        let request = format!(
            "GET /{query} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n"
        );
        socket.write_all(request.as_bytes())?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            response: Parser::new(last),
            is_live: true,
            is_open: true,
        })
    }

    /// No server has a reason to end a stream here.
    fn close(&mut self, epoll: &OwnedFd, tally: &mut Tally) -> io::Result<()> {
        self.is_open = false;
        tally.errors += 1;
        Ok(epoll::delete(epoll, &self.socket)?)
    }
}
