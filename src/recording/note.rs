//! What stands in the log of a recorded response beside its events.

use std::fmt;

use crate::store::{NewRecord, RecordKind};

/// What is said to whoever reads the log, and never to a client: a word, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// Its producer has begun.
    Begun { token: String },
    /// Its producer is alive.
    Alive,
    /// The stream has set the reconnection time, in milliseconds.
    Retry { millis: u64 },
    /// Somebody listens, in another process than that of the producer.
    Listened,
    /// The application wants it stopped.
    Stop,
}

/// How a response has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is whole.
    Finished,
    /// The handler's stream, or its recording, has failed.
    Failed,
    /// It was stopped, or nobody listened any more.
    Cancelled,
    /// Its producer was not heard of any more.
    Lost,
}

impl Note {
    pub(super) fn record(&self) -> NewRecord {
        let text = match self {
            Self::Begun { token } => format!("begun {token}"),
            Self::Alive => "alive".to_owned(),
            Self::Retry { millis } => format!("retry {millis}"),
            Self::Listened => "listened".to_owned(),
            Self::Stop => "stop".to_owned(),
        };
        NewRecord::of_kind(RecordKind::Lease, text)
    }

    /// `None` for what a later version of this crate has written.
    pub(super) fn of(record: &NewRecord) -> Option<Self> {
        match record.kind() {
            RecordKind::Lease => Self::parse(record.data()),
            _ => None,
        }
    }

    pub(super) fn parse(data: &str) -> Option<Self> {
        let (word, rest) = data.split_once(' ').unwrap_or((data, ""));
        Some(match word {
            "begun" => Self::Begun {
                token: rest.to_owned(),
            },
            "alive" => Self::Alive,
            "retry" => Self::Retry {
                millis: rest.parse().ok()?,
            },
            "listened" => Self::Listened,
            "stop" => Self::Stop,
            _ => return None,
        })
    }

    /// Whether it is its producer that says so.
    pub(super) const fn is_producers(&self) -> bool {
        matches!(self, Self::Begun { .. } | Self::Alive | Self::Retry { .. })
    }
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Finished, Self::Failed, Self::Cancelled, Self::Lost];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    pub(super) fn record(self) -> NewRecord {
        NewRecord::of_kind(RecordKind::End, self.as_str())
    }

    /// Of an end; what a later version has written counts as a failure.
    pub(super) fn parse(data: &str) -> Self {
        let known = Self::ALL.into_iter().find(|one| one.as_str() == data);
        known.unwrap_or(Self::Failed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_and_ends_are_read_back() {
        let token = "t".to_owned();
        for note in [
            Note::Begun { token },
            Note::Alive,
            Note::Retry { millis: 7 },
            Note::Listened,
            Note::Stop,
        ] {
            assert_eq!(Note::of(&note.record()), Some(note));
        }
        assert_eq!(Note::parse("of-later 7"), None);
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::parse(outcome.record().data()), outcome);
        }
        assert_eq!(Outcome::parse("of-later"), Outcome::Failed);
    }
}
