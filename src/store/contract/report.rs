//! What became of the cases.

use std::{fmt, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::time::timeout;

use super::check::Verdict;

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What became of each case of the suite.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    cases: Vec<(&'static str, Outcome)>,
}

#[derive(Clone, Debug)]
enum Outcome {
    Passed,
    /// The subject cannot be put through the case.
    Skipped(&'static str),
    Failed(String),
}

impl Report {
    pub(super) async fn case(&mut self, name: &'static str, case: impl Future<Output = Verdict>) {
        let outcome = match timeout(PATIENCE, AssertUnwindSafe(case).catch_unwind()).await {
            Ok(Ok(Ok(None))) => Outcome::Passed,
            Ok(Ok(Ok(Some(skipped)))) => Outcome::Skipped(skipped.0),
            Ok(Ok(Err(broken))) => Outcome::Failed(broken.0),
            Ok(Err(_)) => Outcome::Failed("the store has panicked".to_owned()),
            Err(_) => Outcome::Failed("the store hangs".to_owned()),
        };
        self.cases.push((name, outcome));
    }

    /// The names of the cases in which the store breaks a rule.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.cases
            .iter()
            .filter_map(|(name, outcome)| match outcome {
                Outcome::Failed(_) => Some(*name),
                Outcome::Passed | Outcome::Skipped(_) => None,
            })
    }

    /// The names of the cases that do not apply to the store.
    pub fn skipped(&self) -> impl Iterator<Item = &'static str> {
        self.cases
            .iter()
            .filter_map(|(name, outcome)| match outcome {
                Outcome::Skipped(_) => Some(*name),
                Outcome::Passed | Outcome::Failed(_) => None,
            })
    }

    /// # Panics
    ///
    /// When the store breaks a rule; the message has all cases, and how many of them failed.
    #[track_caller]
    pub fn assert_passed(&self) {
        let (failed, skipped) = (self.failed().count(), self.skipped().count());
        let passed = self.cases.len() - failed - skipped;
        assert!(
            failed == 0,
            "\n{self}{passed} passed, {skipped} skipped, {failed} failed"
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.cases {
            match outcome {
                Outcome::Passed => writeln!(f, "{name}: passed")?,
                Outcome::Skipped(reason) => writeln!(f, "{name}: skipped, {reason}")?,
                Outcome::Failed(reason) => writeln!(f, "{name}: FAILED, {reason}")?,
            }
        }
        Ok(())
    }
}
