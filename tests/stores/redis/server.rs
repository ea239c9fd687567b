//! A Redis of the test's own.

use std::{
    fs,
    io::{self, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use tower_sse::store::{RedisOptions, RedisStore};

const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAM: &str = "redis-server";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Sentinel,
}

/// A server on a port of its own, with its data in a directory of its own. Both go with it.
pub(crate) struct Server {
    role: Role,
    dir: PathBuf,
    settings: Vec<String>,
    pub(crate) port: u16,
    child: Child,
}

impl Server {
    /// Starts a server, or says that the test is skipped where there is none.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        Self::start_as(Role::Server, settings)
    }

    /// Starts a sentinel with the lines of its file.
    pub(crate) fn start_sentinel(lines: &[&str]) -> Option<Self> {
        Self::start_as(Role::Sentinel, lines)
    }

    fn start_as(role: Role, settings: &[&str]) -> Option<Self> {
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
        let dir = std::env::temp_dir().join(format!("tower-sse-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        // Somebody else may take the port before the server does.
        for _ in 0..10 {
            let port = free_port();
            let mut server = Self {
                role,
                child: spawn(role, &dir, port, &settings),
                dir: dir.clone(),
                settings: settings.clone(),
                port,
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
            let answer = self.try_cli(&["PING"]);
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            if text.contains("NOAUTH") {
                return true;
            }
            // Another one may have been faster to take the port.
            let own = format!("process_id:{}", self.child.id());
            if text.contains("PONG") && self.cli(&["INFO", "server"]).contains(&own) {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("{PROGRAM} does not answer");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn connect(&self) -> RedisStore {
        self.connect_with(RedisStore::options()).await
    }

    pub(crate) async fn connect_with(&self, options: RedisOptions) -> RedisStore {
        options.connect(&self.url()).await.unwrap()
    }

    fn try_cli(&self, arguments: &[&str]) -> Output {
        let port = self.port.to_string();
        Command::new("redis-cli")
            .args(["-p", &port])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output = self.try_cli(arguments);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What `redis-cli` prints, given `input` as the last argument.
    pub(crate) fn cli_with(&self, arguments: &[&str], input: &str) -> String {
        let file = self.dir.join("input");
        fs::write(&file, input).unwrap();
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "-x"])
            .args(arguments)
            .stdin(fs::File::open(&file).unwrap())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A number out of `INFO`.
    pub(crate) fn info(&self, section: &str, name: &str) -> u64 {
        let info = self.cli(&["INFO", section]);
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap().trim_start_matches(':').trim();
        value.parse().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.role, &self.dir, self.port, &self.settings);
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

    pub(crate) fn file(&self, name: &str) -> PathBuf {
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

fn spawn(role: Role, dir: &Path, port: u16, settings: &[String]) -> Child {
    let mut command = Command::new(PROGRAM);
    if role == Role::Sentinel {
        let file = dir.join("sentinel.conf");
        fs::write(&file, settings.join("\n")).unwrap();
        command.arg(file).arg("--sentinel");
    }
    command
        .args(["--port", &port.to_string(), "--dir"])
        .arg(dir)
        .args(["--bind", "127.0.0.1", "--logfile", "log"]);
    if role == Role::Server {
        command.args(["--save", ""]).args(settings);
    }
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // A node of a cluster also takes the port that is 10,000 above.
    match port > 50_000 {
        true => port - 20_000,
        false => port,
    }
}
