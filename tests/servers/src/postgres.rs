//! Postgres.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::{Engine, Server, process::program};

/// Settings are as in its file.
#[derive(Debug)]
pub struct Postgres;

impl Engine for Postgres {
    const NAME: &str = "postgres";
    const PROGRAM: &str = "postgres";
    const END: &str = "QUIT";

    fn new() -> Self {
        Self
    }

    fn make(data: &Path) {
        if is_root() {
            let given = Command::new("chown").arg("nobody").arg(data).status();
            assert!(given.unwrap().success());
        }
        let made = run("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
    }

    fn command(&self, data: &Path, port: u16, settings: &[String]) -> Command {
        let mut command = run(Self::PROGRAM);
        command.arg("-D").arg(data);
        // What is killed is the server, and not the machine.
        command.args(["-p", &port.to_string(), "-k", "", "-c", "fsync=off"]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        command
    }

    fn is_up(server: &Server<Self>) -> bool {
        // Another one may have been faster to take the port.
        server.try_sql("show data_directory") == Ok(server.data().display().to_string())
    }

    fn url(port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }
}

impl Server<Postgres> {
    fn try_sql(&self, sql: &str) -> Result<String, String> {
        let output = Command::new(program("psql").unwrap())
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Runs statements, and returns the rows as `psql` prints them: with a `|` between columns.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one number that a query returns.
    #[track_caller]
    pub fn number(&self, sql: &str) -> u64 {
        self.sql(sql).parse().unwrap()
    }
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
