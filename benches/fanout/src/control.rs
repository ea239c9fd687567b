//! What a server is told on its standard input, and how it publishes.

use std::{
    io::{self, BufRead, Write},
    process, thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{Receiver, channel},
    time::{MissedTickBehavior, interval},
};

use crate::update::Update;

/// How often a server looks for what is due.
pub(crate) const TICK: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Publish so many events a second from now on. For none, says how many there were in all.
    Rate(f64),
    /// Publish so many events at once, then say how many there were in all.
    Burst(u64),
    /// Publish so many events that no client follows, to so many topics in turn.
    Elsewhere(u64, usize),
}

impl Command {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        Some(match (words.next()?, words.next()?) {
            ("rate", rate) => Self::Rate(rate.parse().ok()?),
            ("burst", events) => Self::Burst(events.parse().ok()?),
            ("elsewhere", events) => {
                Self::Elsewhere(events.parse().ok()?, words.next()?.parse().ok()?)
            }
            _ => return None,
        })
    }
}

/// Reads commands in a thread of its own. The process ends with its input, and so with its parent.
pub(crate) fn commands() -> Receiver<Command> {
    let (sender, receiver) = channel(16);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            match line.ok().and_then(|line| Command::parse(&line)) {
                Some(command) if sender.blocking_send(command).is_ok() => {}
                _ => break,
            }
        }
        process::exit(0);
    });
    receiver
}

/// Tells the parent something, in a line.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        process::exit(1);
    }
}

/// An open loop: what is due depends on the time only.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: f64,
    since: Instant,
    sent_since: u64,
    sent: u64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            rate: 0.0,
            since: Instant::now(),
            sent_since: 0,
            sent: 0,
        }
    }

    /// Takes a command, and returns how many events are due at once by it.
    pub(crate) fn obey(&mut self, command: Command) -> u64 {
        match command {
            Command::Rate(rate) => {
                self.rate = rate;
                self.since = Instant::now();
                self.sent_since = 0;
                0
            }
            Command::Burst(events) => events,
            Command::Elsewhere(..) => 0,
        }
    }

    /// Whether anything will be due without another command.
    pub(crate) fn is_on(&self) -> bool {
        self.rate > 0.0
    }

    /// How many events are due now.
    pub(crate) fn due(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "less than what can be sent while this runs"
        )]
        let due = (self.since.elapsed().as_secs_f64() * self.rate) as u64;
        due.saturating_sub(self.sent_since)
    }

    /// Makes the next event.
    pub(crate) fn next(&mut self) -> Update {
        self.sent_since += 1;
        self.sent += 1;
        Update::now(self.sent)
    }

    /// Answers a command that asks for it, with the number of events, and the nanoseconds it took.
    pub(crate) fn answer(&self, command: Command, begun: Instant) {
        if !matches!(command, Command::Rate(rate) if rate > 0.0) {
            say(&format!(
                "sent {} {}",
                self.sent,
                begun.elapsed().as_nanos()
            ));
        }
    }
}

/// Where a server's events go.
pub(crate) trait Sink {
    fn publish(&mut self, update: &Update) -> impl Future<Output = ()> + Send;

    /// Publishes to topics beside the one that clients follow, where there are topics.
    fn publish_elsewhere(
        &mut self,
        _events: u64,
        _topics: usize,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Nobody gets them.
impl Sink for () {
    async fn publish(&mut self, _update: &Update) {}
}

/// Publishes what it is told to.
pub(crate) async fn publish(mut commands: Receiver<Command>, mut sink: impl Sink) {
    let mut pace = Pace::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = tokio::select! {
            biased;
            command = commands.recv() => {
                let Some(command) = command else { return };
                let begun = Instant::now();
                for _ in 0..pace.obey(command) {
                    sink.publish(&pace.next()).await;
                }
                if let Command::Elsewhere(events, topics) = command {
                    sink.publish_elsewhere(events, topics).await;
                }
                pace.answer(command, begun);
                0
            }
            _ = ticks.tick(), if pace.is_on() => pace.due(),
        };
        for _ in 0..due {
            sink.publish(&pace.next()).await;
        }
    }
}
