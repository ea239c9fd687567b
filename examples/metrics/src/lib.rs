//! Live metrics of a service: what the axum and the actix-web binary share.
//!
//! A [`Sampler`] publishes one [`Update`] per interval to the topic [`TOPIC`], an [`Access`] decides
//! who may follow it, and [`ASSETS`] is the dashboard. Everything that knows a framework is in the
//! binaries.

mod access;
mod assets;
mod figures;
mod process;
mod requests;
mod sampler;
mod settings;
mod update;

pub use access::Access;
pub use assets::{ASSETS, Asset};
pub use figures::Figures;
pub use process::{cannot_listen, exit, log_to_stderr, shutdown_signal};
pub use requests::Requests;
pub use sampler::{SampleError, Sampler};
pub use settings::{Settings, SettingsError};
pub use update::{Metrics, TOPIC, Update};
