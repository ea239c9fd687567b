//! NATS, with JetStream.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{Engine, Server, server::free_port};

/// Settings are arguments.
#[derive(Debug)]
pub struct Nats {
    monitor: u16,
}

impl Engine for Nats {
    const NAME: &str = "nats";
    const PROGRAM: &str = "nats-server";

    fn new() -> Self {
        Self {
            monitor: free_port(),
        }
    }

    fn command(&self, data: &Path, port: u16, settings: &[String]) -> Command {
        let mut command = Command::new(Self::PROGRAM);
        command
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(["-m", &self.monitor.to_string(), "-js", "-sd"])
            .arg(data)
            .args(settings);
        command
    }

    fn is_up(server: &Server<Self>) -> bool {
        // Another one may have been faster to take a port.
        let is_own = |told: Value| {
            let place = told["jetstream"]["config"]["store_dir"].as_str();
            told["port"] == server.port()
                && place.is_some_and(|place| Path::new(place).starts_with(server.data()))
        };
        TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).is_ok()
            && server
                .monitored("healthz")
                .is_some_and(|told| told["status"] == "ok")
            && server.monitored("varz").is_some_and(is_own)
    }

    fn url(port: u16) -> String {
        format!("nats://127.0.0.1:{port}")
    }
}

impl Server<Nats> {
    /// What the server tells of itself.
    pub fn monitored(&self, what: &str) -> Option<Value> {
        let monitor = (Ipv4Addr::LOCALHOST, self.engine.monitor);
        let mut connection = TcpStream::connect(monitor).ok()?;
        write!(connection, "GET /{what} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// Where a stream is kept.
    pub fn stream(&self, name: &str) -> PathBuf {
        self.data().join("jetstream/$G/streams").join(name)
    }
}
