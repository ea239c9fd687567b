//! A NATS of the test's own.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tower_sse::store::{NatsOptions, NatsStore};

const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAM: &str = "nats-server";

/// A server on ports of its own, with its data in a directory of its own. Both go with it.
pub(crate) struct Server {
    dir: PathBuf,
    settings: Vec<String>,
    pub(crate) port: u16,
    monitor: u16,
    child: Child,
}

impl Server {
    /// Starts a server, or says that the test is skipped where there is none.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        let found = Command::new(PROGRAM)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if found.is_err() {
            assert!(std::env::var_os("CI").is_none(), "{PROGRAM} is missing");
            // `eprintln!` would be captured.
            let line = format!("skipped: {PROGRAM} is missing\n");
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-sse-nats-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        // Somebody else may take a port before the server does.
        for _ in 0..10 {
            let (port, monitor) = (free_port(), free_port());
            let mut server = Self {
                child: spawn(&dir, port, monitor, &settings),
                dir: dir.clone(),
                settings: settings.clone(),
                port,
                monitor,
            };
            if server.answers() {
                return Some(server);
            }
        }
        panic!("{PROGRAM} does not start in {}", dir.display());
    }

    fn answers(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let is_ready = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
                && self
                    .monitored("healthz")
                    .is_some_and(|h| h["status"] == "ok")
                && self
                    .monitored("varz")
                    .is_some_and(|v| v["port"] == self.port);
            if is_ready {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("{PROGRAM} does not answer");
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn connect(&self) -> NatsStore {
        self.connect_with(NatsStore::options()).await
    }

    pub(crate) async fn connect_with(&self, options: NatsOptions) -> NatsStore {
        options.connect(&self.url()).await.unwrap()
    }

    /// What the server tells of itself.
    pub(crate) fn monitored(&self, what: &str) -> Option<Value> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.monitor)).ok()?;
        write!(connection, "GET /{what} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.dir, self.port, self.monitor, &self.settings);
        assert!(self.answers(), "{PROGRAM} does not start again");
    }

    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Where a stream is kept.
    pub(crate) fn stream(&self, name: &str) -> PathBuf {
        self.data().join("jetstream/$G/streams").join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn aside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn spawn(dir: &Path, port: u16, monitor: u16, settings: &[String]) -> Child {
    let mut log = fs::File::options();
    let log = log.create(true).append(true);
    let log = log.open(dir.join("log")).unwrap();
    Command::new(PROGRAM)
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .args(["-m", &monitor.to_string(), "-js", "-sd"])
        .arg(dir.join("data"))
        .args(settings)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
