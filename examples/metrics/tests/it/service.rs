//! The binaries as processes.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const VARIABLES: [&str; 4] = [
    "PORT",
    "METRICS_INTERVAL_MS",
    "METRICS_TOKEN",
    "METRICS_OTHER_TOKEN",
];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Framework {
    Axum,
    Actix,
}

impl Framework {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Axum => "axum",
            Self::Actix => "actix",
        }
    }

    /// The binary with these settings and none of the environment's.
    pub(crate) fn command(self, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(match self {
            Self::Axum => env!("CARGO_BIN_EXE_metrics-axum"),
            Self::Actix => env!("CARGO_BIN_EXE_metrics-actix"),
        });
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.envs(settings.iter().copied());
        command
    }
}

/// A running service; it is killed when this is dropped.
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Service {
    /// Starts the binary on a free port, unless the settings name one, and waits until it listens.
    pub(crate) fn start(framework: Framework, settings: &[(&str, &str)]) -> Self {
        let mut command = framework.command(&[("PORT", "0")]);
        command.envs(settings.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = mpsc::channel();
        let written = log.clone();
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
            panic!("{framework:?} does not listen: {}", log.lock().unwrap());
        };
        Self {
            child,
            address,
            log,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
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
        let command = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{command}");
    }

    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        wait(&mut self.child, patience)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
