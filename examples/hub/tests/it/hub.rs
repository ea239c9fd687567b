//! The binary as a process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary with these arguments.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hub"));
    command.args(args);
    command
}

/// A running hub; it is killed when this is dropped.
pub(crate) struct Hub {
    child: Child,
    args: Vec<String>,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Hub {
    /// Starts the binary on a free port and waits until it listens.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = command(&["--port", "0"])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = mpsc::channel();
        let written = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on http://") {
                    let _ = found.send(address.parse::<SocketAddr>().unwrap());
                }
                *written.lock().unwrap() += &(line + "\n");
            }
        });
        let Ok(address) = address.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{args:?} does not listen: {}", log.lock().unwrap());
        };
        Self {
            child,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            address,
            log,
        }
    }

    /// Kills it at once and starts it anew, on another port.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Starts it anew after [`kill`](Self::kill).
    pub(crate) fn restart(&mut self) {
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        *self = Self::start(&args);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it wrote to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal by its short name.
    pub(crate) fn signal(&self, name: &str) {
        assert!(servers::signal(self.child.id(), name));
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        wait(&mut self.child, patience)
    }

    /// How long its threads have run so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        servers::cpu_time(self.child.id())
    }

    /// How much memory it has, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        1024 * kilobytes.parse::<u64>().unwrap()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log.lock().unwrap();
            let from = log.len().saturating_sub(4_000);
            let tail = log.get(from..).unwrap_or(&log);
            eprintln!("the end of the log of {}:\n{tail}", self.address);
        }
    }
}

/// Waits until the process ended by itself.
#[track_caller]
pub(crate) fn wait(child: &mut Child, patience: Duration) -> ExitStatus {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("still running after {patience:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
