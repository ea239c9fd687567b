//! What the kernel alone costs: no HTTP library, no runtime, no task for a client.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, EventData, EventFlags},
    fd::OwnedFd,
    time::Timespec,
};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use super::listen;
use crate::{
    control::{self, Command, Pace, TICK},
    update::Update,
};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
/// How long it takes to notice a command while nothing is published.
const IDLE: Duration = Duration::from_millis(10);
const LISTENER: u64 = u64::MAX;

/// What goes out in one `send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sends {
    EachEvent,
    WhatIsDue,
}

pub(super) fn run(sends: Sends) -> io::Result<()> {
    let floor = Floor {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        listener: listen()?,
        clients: Vec::new(),
        sends,
        chunk: Vec::new(),
    };
    let data = EventData::new_u64(LISTENER);
    epoll::add(&floor.epoll, &floor.listener, data, EventFlags::IN)?;
    floor.serve(control::commands())
}

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    sends: Sends,
    chunk: Vec<u8>,
}

struct Client {
    socket: TcpStream,
    /// What the socket did not take.
    rest: Vec<u8>,
    wanted: EventFlags,
}

impl Floor {
    fn serve(mut self, mut commands: Receiver<Command>) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut pace = Pace::new();
        loop {
            let timeout = if pace.is_on() { TICK } else { IDLE };
            let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                result => {
                    result?;
                }
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    number => self.on_ready(usize::try_from(number).map_err(io::Error::other)?)?,
                }
            }
            match commands.try_recv() {
                Ok(command) => {
                    let (begun, due) = (Instant::now(), pace.obey(command));
                    self.publish(&mut pace, due)?;
                    pace.answer(command, begun);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            let due = pace.due();
            self.publish(&mut pace, due)?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let number = u64::try_from(self.clients.len()).map_err(io::Error::other)?;
            let wanted = EventFlags::IN;
            epoll::add(&self.epoll, &socket, EventData::new_u64(number), wanted)?;
            self.clients.push(Some(Client {
                socket,
                rest: Vec::new(),
                wanted,
            }));
        }
    }

    /// Answers a request, which comes in one piece here, or sends the rest.
    fn on_ready(&mut self, number: usize) -> io::Result<()> {
        let Some(client) = &mut self.clients[number] else {
            return Ok(());
        };
        let is_open = match client.socket.read(&mut [0; 1024]) {
            Ok(0) => false,
            Ok(_) => client.send(HEAD),
            Err(error) if error.kind() == ErrorKind::WouldBlock => client.send(b""),
            Err(_) => false,
        };
        self.after_send(number, is_open)
    }

    fn publish(&mut self, pace: &mut Pace, due: u64) -> io::Result<()> {
        match self.sends {
            Sends::EachEvent => {
                for _ in 0..due {
                    self.send(&event(&pace.next()))?;
                }
            }
            Sends::WhatIsDue if due > 0 => {
                let events: Vec<_> = (0..due).flat_map(|_| event(&pace.next())).collect();
                self.send(&events)?;
            }
            Sends::WhatIsDue => {}
        }
        Ok(())
    }

    fn send(&mut self, events: &[u8]) -> io::Result<()> {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        write!(chunk, "{:x}\r\n", events.len())?;
        chunk.extend_from_slice(events);
        chunk.extend_from_slice(b"\r\n");
        for number in 0..self.clients.len() {
            if let Some(client) = &mut self.clients[number] {
                let is_open = client.send(&chunk);
                self.after_send(number, is_open)?;
            }
        }
        self.chunk = chunk;
        Ok(())
    }

    /// Asks for what the client needs next.
    fn after_send(&mut self, number: usize, is_open: bool) -> io::Result<()> {
        let slot = &mut self.clients[number];
        let Some(client) = slot.as_mut().filter(|_| is_open) else {
            *slot = None;
            return Ok(());
        };
        let wanted = match client.rest.is_empty() {
            true => EventFlags::IN,
            false => EventFlags::IN | EventFlags::OUT,
        };
        if wanted != client.wanted {
            client.wanted = wanted;
            let number = u64::try_from(number).map_err(io::Error::other)?;
            let data = EventData::new_u64(number);
            epoll::modify(&self.epoll, &client.socket, data, wanted)?;
        }
        Ok(())
    }
}

impl Client {
    /// Sends what is left, and then `bytes`, or keeps them. Returns whether the client is there.
    fn send(&mut self, bytes: &[u8]) -> bool {
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
        }
        let from_rest = !self.rest.is_empty();
        let due = if from_rest { &self.rest[..] } else { bytes };
        if due.is_empty() {
            return true;
        }
        let sent = match (&self.socket).write(due) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        if from_rest {
            self.rest.drain(..sent);
        } else if sent < bytes.len() {
            self.rest.extend_from_slice(&bytes[sent..]);
        }
        true
    }
}

fn event(update: &Update) -> Vec<u8> {
    let mut event = Vec::with_capacity(192);
    write!(event, "id: {}\ndata: ", update.seq).expect("a buffer takes everything");
    serde_json::to_writer(&mut event, update).expect("an update is JSON");
    event.extend_from_slice(b"\n\n");
    event
}
