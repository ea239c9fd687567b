//! Processes by their numbers.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Sends a signal by its short name. Returns whether there was such a process.
pub fn signal(pid: u32, name: &str) -> bool {
    let mut kill = Command::new("kill");
    kill.args(["-s", name, &pid.to_string()]);
    kill.stderr(Stdio::null()).status().unwrap().success()
}

/// How long its threads, and its children that have ended, have run so far.
pub fn cpu_time(pid: u32) -> Duration {
    // It may have ended meanwhile.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(") ") else {
        return Duration::ZERO;
    };
    let ticks = fields.split(' ').skip(11).take(4);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    // Linux counts in hundredths of a second for everyone to see.
    Duration::from_millis(10 * ticks)
}

pub(crate) fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace();
    children.map(|child| child.parse().unwrap()).collect()
}

/// Where a program is. Debian keeps those of each version of Postgres apart, and some where only root
/// looks for them.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|version| version.unwrap().path().join("bin"))
        .collect();
    versions.sort();
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = versions.into_iter().rev().chain(env::split_paths(&path));
    let mut dirs = dirs.chain([PathBuf::from("/usr/sbin")]);
    dirs.find_map(|dir| Some(dir.join(name)).filter(|program| program.exists()))
}

/// Copies a file, or a directory with all that is in it, with owners and permissions.
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success(), "{from:?} to {to:?}");
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
