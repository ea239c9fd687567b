//! A standalone hub over HTTP: what the binary is made of.
//!
//! [`app`] is the whole site over any store, [`Settings`] is the command line.

mod access;
mod app;
mod body;
mod follow;
mod process;
mod refusal;
mod settings;
mod tally;

pub use access::{Access, Token};
pub use app::app;
pub use process::{cannot_listen, exit, log_to_stderr, shutdown_signal};
pub use settings::{HELP, Settings, SettingsError, StoreChoice};
