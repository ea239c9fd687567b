//! Redis, and those that watch over it.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::{Engine, Server};

const PROGRAM: &str = "redis-server";

/// Settings are arguments.
#[derive(Debug)]
pub struct Redis;

/// Settings are the lines of its file.
#[derive(Debug)]
pub struct Sentinel;

impl Engine for Redis {
    const NAME: &str = "redis";
    const PROGRAM: &str = PROGRAM;

    fn new() -> Self {
        Self
    }

    fn command(&self, data: &Path, port: u16, settings: &[String]) -> Command {
        let mut command = Command::new(PROGRAM);
        listening(&mut command, data, port);
        command.args(["--save", ""]).args(settings);
        command
    }

    fn is_up(server: &Server<Self>) -> bool {
        is_own(server.port(), server.pid())
    }

    fn url(port: u16) -> String {
        format!("redis://127.0.0.1:{port}")
    }
}

impl Engine for Sentinel {
    const NAME: &str = "sentinel";
    const PROGRAM: &str = PROGRAM;

    fn new() -> Self {
        Self
    }

    fn command(&self, data: &Path, port: u16, settings: &[String]) -> Command {
        let file = data.join("sentinel.conf");
        fs::write(&file, settings.join("\n")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg(file).arg("--sentinel");
        listening(&mut command, data, port);
        command
    }

    fn is_up(server: &Server<Self>) -> bool {
        is_own(server.port(), server.pid())
    }

    fn url(port: u16) -> String {
        Redis::url(port)
    }
}

fn listening(command: &mut Command, data: &Path, port: u16) {
    command
        .args(["--port", &port.to_string(), "--dir"])
        .arg(data)
        .args(["--bind", "127.0.0.1"]);
}

impl Server<Redis> {
    /// What `redis-cli` prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        text(ask(self.port(), arguments, Stdio::null()))
    }

    /// What `redis-cli` prints, given `input` as the last argument.
    pub fn cli_with(&self, arguments: &[&str], input: &str) -> String {
        let file = self.aside("input");
        fs::write(&file, input).unwrap();
        let input = fs::File::open(&file).unwrap();
        text(ask(
            self.port(),
            &[&["-x"], arguments].concat(),
            input.into(),
        ))
    }

    /// A number out of `INFO`.
    pub fn info(&self, section: &str, name: &str) -> u64 {
        let info = self.cli(&["INFO", section]);
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap().trim_start_matches(':').trim();
        value.parse().unwrap()
    }
}

impl Server<Sentinel> {
    /// What `redis-cli` prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        text(ask(self.port(), arguments, Stdio::null()))
    }
}

fn ask(port: u16, arguments: &[&str], input: Stdio) -> Output {
    Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(arguments)
        .stdin(input)
        .output()
        .unwrap()
}

/// Another one may have been faster to take the port.
fn is_own(port: u16, pid: u32) -> bool {
    let info = text(ask(port, &["INFO", "server"], Stdio::null()));
    info.contains("NOAUTH") || info.lines().any(|line| line == format!("process_id:{pid}"))
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
