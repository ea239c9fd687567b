//! What servers of all kinds have in common.

use std::{
    env, fs,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use crate::process::{children, copy, cpu_time, program, signal};

const PATIENCE: Duration = Duration::from_secs(60);
const LOG: &str = "log";

/// A kind of server, and what one of them needs beyond a port and a directory.
pub trait Engine: Send + Sync + Sized + 'static {
    const NAME: &str;
    const PROGRAM: &str;
    /// The signal that ends it with all its processes.
    const END: &str = "KILL";

    fn new() -> Self;

    /// Makes the data that it starts with.
    fn make(_data: &Path) {}

    /// What starts it, with its log on its outputs.
    fn command(&self, data: &Path, port: u16, settings: &[String]) -> Command;

    /// Whether it is this one that answers, and takes requests.
    fn is_up(server: &Server<Self>) -> bool;

    /// Its address, where it is reached at this port.
    fn url(port: u16) -> String;
}

/// A running server. It ends with this, and its data goes.
#[derive(Debug)]
pub struct Server<E: Engine> {
    pub(crate) engine: E,
    dir: PathBuf,
    settings: Vec<String>,
    port: u16,
    child: Child,
}

impl<E: Engine> Server<E> {
    /// Starts one, or says that the test is skipped where there is none; where `CI` is set that fails.
    pub fn start(settings: &[&str]) -> Option<Self> {
        if program(E::PROGRAM).is_none() {
            let line = format!("skipped: {} is missing\n", E::PROGRAM);
            assert!(env::var_os("CI").is_none(), "{line}");
            // `eprintln!` would be captured.
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-sse-{}-{}-{number}", E::NAME, std::process::id());
        let dir = env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        let data = dir.join("data");
        make::<E>(&data);
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        // Somebody else may take a port before the server does.
        for _ in 0..10 {
            let (engine, port) = (E::new(), free_port());
            let command = engine.command(&data, port, &settings);
            let mut server = Self {
                child: spawn(command, &dir),
                engine,
                dir: dir.clone(),
                settings: settings.clone(),
                port,
            };
            if server.comes_up() {
                return Some(server);
            }
            server.dir = PathBuf::new();
        }
        panic!("{} does not start in {}", E::PROGRAM, dir.display());
    }

    fn comes_up(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if E::is_up(self) {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("{} does not answer", E::PROGRAM);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        E::url(self.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A place beside its data.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it end in order.
    pub fn stop(&mut self) {
        assert!(signal(self.pid(), "TERM"));
        self.child.wait().unwrap();
    }

    /// Starts it again, over the data that is there.
    pub fn start_again(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let command = self.engine.command(&self.data(), self.port, &self.settings);
            self.child = spawn(command, &self.dir);
            // What a killed one has left behind may take a moment to end.
            if self.comes_up() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("{} does not start again", E::PROGRAM);
    }

    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        assert!(signal(self.pid(), name));
        for child in children(self.pid()) {
            // One that has ended meanwhile needs no signal.
            signal(child, name);
        }
    }

    /// Copies what it has written up to one moment, which is what is left where it is killed.
    pub fn copy(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let copied = self.aside(&format!("copy-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        self.pause();
        copy(&self.data(), &copied);
        self.go_on();
        copied
    }

    /// Puts a copy in place of the data while it does not run, or what it begins with.
    pub fn replace(&self, copied: Option<&Path>) {
        fs::remove_dir_all(self.data()).unwrap();
        match copied {
            Some(copied) => copy(copied, &self.data()),
            None => make::<E>(&self.data()),
        }
    }

    /// How long its processes have run so far.
    pub fn cpu_time(&self) -> Duration {
        let children = children(self.pid()).into_iter();
        children.chain([self.pid()]).map(cpu_time).sum()
    }
}

impl<E: Engine> Drop for Server<E> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.go_on();
            signal(self.pid(), E::END);
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                sleep(Duration::from_millis(10));
            }
        }
        if thread::panicking() {
            let log = fs::read(self.aside(LOG)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log[log.len().saturating_sub(4_000)..]);
            eprintln!("the end of the log of {}:\n{log}", self.url());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Copies a directory with all that is in it.
pub fn copy_all(from: &Path, to: &Path) {
    copy(from, to);
}

fn spawn(mut command: Command, dir: &Path) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join(LOG));
    let log = log.unwrap();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command.spawn().unwrap()
}

fn make<E: Engine>(data: &Path) {
    fs::create_dir(data).unwrap();
    E::make(data);
}

/// Outside of the range that outgoing connections take theirs from, so that it is still free when it
/// is needed again.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
