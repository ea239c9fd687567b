//! What a stream is called in traces, metrics and reports.

use std::{fmt::Write, sync::Arc};

/// How much of what a client sends is shown, in characters.
const MAX_SHOWN: usize = 128;

/// The name of a route, its pattern where the framework knows it, or the path of a request.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    text: Arc<str>,
    is_path: bool,
}

impl Route {
    /// What the application has written.
    pub(crate) fn pattern(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            is_path: false,
        }
    }

    /// What a client has sent: it is escaped and cut.
    pub(crate) fn path(path: &str) -> Self {
        Self {
            text: shown(path).into(),
            is_path: true,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// For metrics, of which there must not be one for each path.
    pub(super) fn label(&self) -> Option<&Arc<str>> {
        (!self.is_path).then_some(&self.text)
    }
}

/// Escapes and cuts what a client has sent.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (at, char) in text.chars().enumerate() {
        if at == MAX_SHOWN {
            shown.push('…');
            break;
        }
        // Writing to a `String` does not fail.
        let _ = write!(shown, "{}", char.escape_debug());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_escaped_and_cut() {
        assert_eq!(Route::path("/a/b").text(), "/a/b");
        assert_eq!(Route::path("/a\n\u{1b}[0m").text(), "/a\\n\\u{1b}[0m");
        assert_eq!(Route::path("/\u{e9}").text(), "/\u{e9}");
        let long = Route::path(&"\u{e9}".repeat(1000));
        assert_eq!(long.text().chars().count(), MAX_SHOWN + 1);
        assert_eq!(Route::path("/a").label(), None);
        assert_eq!(
            Route::pattern("/{a}").label().map(|text| &**text),
            Some("/{a}")
        );
    }
}
