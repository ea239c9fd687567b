//! A Postgres of the test's own.

use std::{
    fs,
    io::{self, Write},
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use tokio_postgres::{Client, NoTls, Row};
use tower_sse::store::{PostgresOptions, PostgresStore};

const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAM: &str = "postgres";

/// A server on a port of its own, with its data in a directory of its own. Both go with it.
pub(crate) struct Server {
    dir: PathBuf,
    settings: Vec<String>,
    pub(crate) port: u16,
    child: Child,
}

impl Server {
    /// Starts a server, or says that the test is skipped where there is none.
    pub(crate) async fn start(settings: &[&str]) -> Option<Self> {
        if program(PROGRAM).is_none() {
            assert!(std::env::var_os("CI").is_none(), "{PROGRAM} is missing");
            // `eprintln!` would be captured.
            let line = format!("skipped: {PROGRAM} is missing\n");
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-sse-postgres-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        if is_root() {
            let given = Command::new("chown").arg("nobody").arg(&dir).status();
            assert!(given.unwrap().success());
        }
        let made = run("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(&dir)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        // Somebody else may take the port before the server does.
        for _ in 0..10 {
            let port = free_port();
            let mut server = Self {
                child: spawn(&dir, port, &settings),
                dir: dir.clone(),
                settings: settings.clone(),
                port,
            };
            if server.answers().await {
                return Some(server);
            }
        }
        panic!("{PROGRAM} does not start in {}", dir.display());
    }

    async fn answers(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(client) = self.try_client().await {
                let dir = client.query_one("show data_directory", &[]).await;
                // Another one may have been faster to take the port.
                if dir.is_ok_and(|row| row.get::<_, &str>(0) == self.dir.to_string_lossy()) {
                    return true;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{PROGRAM} does not answer");
    }

    async fn try_client(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub(crate) async fn client(&self) -> Client {
        self.try_client().await.unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<Row> {
        self.client().await.query(sql, &[]).await.unwrap()
    }

    /// The one number that a query returns.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.rows(sql).await[0].get(0)
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    pub(crate) async fn connect(&self) -> PostgresStore {
        self.connect_with(PostgresStore::options()).await
    }

    pub(crate) async fn connect_with(&self, options: PostgresOptions) -> PostgresStore {
        options.connect(&self.url()).await.unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.child = spawn(&self.dir, self.port, &self.settings);
            // What the killed one has left behind may take a moment to end.
            if self.answers().await {
                return;
            }
        }
        panic!("{PROGRAM} does not start again");
    }

    /// Stops, or lets go on, all processes of the server.
    pub(crate) fn signal_all(&self, name: &str) {
        let own = self.child.id().to_string();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        for pid in children.split_whitespace().chain([own.as_str()]) {
            // One that has ended meanwhile needs no signal.
            let mut kill = Command::new("kill");
            kill.args(["-s", name, pid]).stderr(Stdio::null());
            assert!(kill.status().is_ok());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal_all("CONT");
        // Ends all processes of the server at once.
        let pid = self.child.id().to_string();
        drop(Command::new("kill").args(["-s", "QUIT", &pid]).status());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) && matches!(self.child.try_wait(), Ok(None))
        {
            sleep(Duration::from_millis(10));
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

fn spawn(dir: &Path, port: u16, settings: &[String]) -> Child {
    let mut command = run(PROGRAM);
    command.arg("-D").arg(dir);
    command.args(["-p", &port.to_string(), "-k", "", "-c", "fsync=off"]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// A program of Postgres, which refuses to run as root.
fn run(name: &str) -> Command {
    let path = program(name).unwrap();
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]);
    command.arg(path).current_dir("/");
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Where a program of Postgres is: Debian keeps those of each version apart.
fn program(name: &str) -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|version| version.unwrap().path().join("bin"))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = versions
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path));
    dirs.find_map(|dir| Some(dir.join(name)).filter(|program| program.exists()))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
