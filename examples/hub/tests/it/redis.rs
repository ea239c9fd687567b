//! A Redis server of a test's own.

use std::{
    env, fs,
    io::{self, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::hub::{PATIENCE, signal};

/// A running server that keeps its data on disk; it is killed when this is dropped.
pub(crate) struct Redis {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Redis {
    /// Starts a server on a free port. Where there is none it says so, but fails where `CI` is set.
    pub(crate) fn start() -> Option<Self> {
        if Command::new("redis-server")
            .arg("--version")
            .output()
            .is_err()
        {
            let missing = "no store was shared by processes: redis-server is missing";
            assert!(env::var_os("CI").is_none(), "{missing}");
            // `eprintln!` would be captured.
            let line = format!("skipped: {missing}\n");
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = spawn(directory.path(), port);
        let redis = Self {
            child,
            directory,
            port,
        };
        redis.wait();
        Some(redis)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// Runs a command and returns what `redis-cli` prints.
    #[track_caller]
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command:?}: {text}");
        text.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it anew after [`kill`](Self::kill), over the data that is there.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.port);
        self.wait();
    }

    /// Copies the data as it is on disk.
    pub(crate) fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.directory.path(), copy.path());
        copy
    }

    /// Puts other data in place of what is there, while it does not run; nothing, without a copy.
    pub(crate) fn replace(&mut self, copy: Option<TempDir>) {
        self.directory = copy.unwrap_or_else(|| tempfile::tempdir().unwrap());
    }

    #[track_caller]
    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ping = Command::new("redis-cli")
                .args(["-p", &self.port.to_string(), "ping"])
                .output();
            if ping.unwrap().stdout == b"PONG\n" {
                return;
            }
            assert!(Instant::now() < deadline, "Redis answers in time");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Outside of the range that outgoing connections take theirs from, so that it is still free when it
/// is needed again.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn spawn(directory: &Path, port: u16) -> Child {
    let port = port.to_string();
    let settings = [
        ("--bind", "127.0.0.1"),
        ("--port", &*port),
        ("--save", ""),
        ("--appendonly", "yes"),
        // What is acknowledged is on disk, and a copy of the files is a copy of the data.
        ("--appendfsync", "always"),
        ("--auto-aof-rewrite-percentage", "0"),
        ("--loglevel", "warning"),
    ];
    let mut command = Command::new("redis-server");
    for (name, value) in settings {
        command.args([name, value]);
    }
    command
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
