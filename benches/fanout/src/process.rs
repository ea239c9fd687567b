//! A server in a process of its own, and what it takes.

use std::{
    fs,
    io::{self, BufRead, BufReader, ErrorKind, Write},
    num::NonZeroUsize,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    str::FromStr,
    sync::mpsc::{Receiver, channel},
    thread,
};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::{load::Load, server::Server};

/// A server that runs.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
    pub(crate) port: u16,
    /// How many events it has published.
    pub(crate) sent: u64,
    /// How long the last command took, in nanoseconds.
    pub(crate) took: u64,
}

/// CPU time that a process has used, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) total: u64,
    /// Time in which it could have run, and another process did.
    pub(crate) waited: u64,
    /// As the kernel has seen them at its ticks, hence for their proportion only.
    pub(crate) user: u64,
    pub(crate) system: u64,
}

impl Process {
    pub(crate) fn start(
        server: Server,
        history: NonZeroUsize,
        core: Option<usize>,
    ) -> io::Result<Self> {
        // Not by its name, under which a newer build may have come meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("fanout")
            .args(["server", &server.name(), "--history", &history.to_string()]);
        if let Some(core) = core {
            command.args(["--core", &core.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or(ErrorKind::BrokenPipe)?;
        let output = BufReader::new(child.stdout.take().ok_or(ErrorKind::BrokenPipe)?);
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut process = Self {
            child,
            input,
            output: receiver,
            port: 0,
            sent: 0,
            took: 0,
        };
        let line = process.output.recv().map_err(io::Error::other)?;
        process.port = answer(&line, "port", 1)?;
        Ok(process)
    }

    pub(crate) fn rate(&mut self, rate: f64) -> io::Result<()> {
        writeln!(self.input, "rate {rate}")
    }

    /// Stops publishing. The clients go on reading.
    pub(crate) fn stop(&mut self, load: &mut Load) -> io::Result<()> {
        self.rate(0.0)?;
        self.published(load)
    }

    pub(crate) fn burst(&mut self, events: u64, load: &mut Load) -> io::Result<()> {
        writeln!(self.input, "burst {events}")?;
        self.published(load)
    }

    /// Publishes events that nobody follows.
    pub(crate) fn elsewhere(
        &mut self,
        events: u64,
        topics: u64,
        load: &mut Load,
    ) -> io::Result<()> {
        writeln!(self.input, "elsewhere {events} {topics}")?;
        self.published(load)
    }

    fn published(&mut self, load: &mut Load) -> io::Result<()> {
        let mut line = None;
        load.until("answer of the server", |_| {
            line = self.output.try_recv().ok();
            line.is_some()
        })?;
        let line = line.unwrap_or_default();
        self.sent = answer(&line, "sent", 1)?;
        self.took = answer(&line, "sent", 2)?;
        Ok(())
    }

    pub(crate) fn cpu(&self) -> io::Result<Cpu> {
        let process = format!("/proc/{}", self.child.id());
        let (mut total, mut waited) = (0, 0);
        for task in fs::read_dir(format!("{process}/task"))? {
            // A thread may have ended meanwhile.
            let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            total += field(&schedstat, 0)?;
            waited += field(&schedstat, 1)?;
        }
        let stat = fs::read_to_string(format!("{process}/stat"))?;
        // The name comes before, and may have anything in it.
        let stat = stat.rsplit_once(')').map_or("", |(_, stat)| stat);
        let nanoseconds = 1_000_000_000 / clock_ticks_per_second();
        Ok(Cpu {
            total,
            waited,
            user: field(stat, 11)? * nanoseconds,
            system: field(stat, 12)? * nanoseconds,
        })
    }

    /// Bytes of memory that are resident.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let page = u64::try_from(page_size()).map_err(io::Error::other)?;
        Ok(field(&statm, 1)? * page)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads a word of a line that begins with `what`.
fn answer<T: FromStr>(line: &str, what: &str, number: usize) -> io::Result<T> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let is_it = words.first() == Some(&what);
    let word = words.get(number).filter(|_| is_it);
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no {what}: {line:?}")))
}

fn field(text: &str, number: usize) -> io::Result<u64> {
    let field = text.split_ascii_whitespace().nth(number);
    let value = field.and_then(|field| field.parse().ok());
    value.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no number: {text:?}")))
}

/// Where the server runs, and where its clients do, if there are two cores.
pub(crate) fn cores() -> io::Result<Option<(usize, usize)>> {
    let set = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    Ok(cores.next().zip(cores.next()))
}

/// Makes this thread, and those that it starts, run on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Allows as many open files as there can be, and returns how many.
pub(crate) fn raise_file_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
