//! Numbers to tables.

/// The middle of several measurements, and how far they are apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Median {
    pub(crate) value: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Median {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
        Self {
            value: f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2)),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }

    /// The median, and the spread where there is one.
    pub(crate) fn with_spread(self) -> String {
        if self.least.to_bits() == self.most.to_bits() {
            return number(self.value);
        }
        let (least, most) = (number(self.least), number(self.most));
        format!("{} ({least}–{most})", number(self.value))
    }
}

/// Three digits, with a unit where they are many.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        1e9.. => format!("{} G", digits(value / 1e9)),
        1e6.. => format!("{} M", digits(value / 1e6)),
        1e4.. => format!("{} k", digits(value / 1e3)),
        _ => digits(value),
    }
}

fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A table in Markdown.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        let rule = "---|".repeat(columns.len());
        Self {
            text: format!("## {title}\n\n| {} |\n|{rule}\n", columns.join(" | ")),
        }
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        self.text += &format!("| {} |\n", cells.join(" | "));
    }

    pub(crate) fn note(mut self, note: &str) -> String {
        self.text += &format!("\n{note}\n");
        self.text
    }
}
