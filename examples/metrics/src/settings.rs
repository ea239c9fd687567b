//! Settings from the environment.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fmt::{self, Display},
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use tower_sse::Secret;

use crate::Access;

/// What the environment says about the service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `PORT` (3000) on 127.0.0.1; 0 lets the system choose.
    pub address: SocketAddr,
    /// `METRICS_INTERVAL_MS` (2000), the time between two samples. The processors' usage is measured
    /// anew only every 200 ms.
    pub interval: Duration,
    /// `METRICS_TOKEN` and `METRICS_OTHER_TOKEN`.
    pub access: Access,
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    ///
    /// When a variable is set to something unreadable.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::read(&|name| env::var_os(name))
    }

    fn read(lookup: Lookup<'_>) -> Result<Self, SettingsError> {
        let port = number(lookup, "PORT", 0..=u16::MAX)?.unwrap_or(3_000);
        let interval = number(lookup, "METRICS_INTERVAL_MS", 10..=3_600_000)?.unwrap_or(2_000);
        Ok(Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            interval: Duration::from_millis(interval),
            access: access(lookup)?,
        })
    }
}

fn access(lookup: Lookup<'_>) -> Result<Access, SettingsError> {
    let viewer = token(lookup, "METRICS_TOKEN")?;
    let other = token(lookup, "METRICS_OTHER_TOKEN")?;
    match (viewer, other) {
        (None, None) => Ok(Access::Development),
        (None, Some(_)) => Err(SettingsError::new(
            "METRICS_OTHER_TOKEN needs METRICS_TOKEN to be set too",
        )),
        (Some(viewer), Some(other)) if viewer == other => Err(SettingsError::new(
            "METRICS_OTHER_TOKEN must differ from METRICS_TOKEN",
        )),
        (Some(viewer), other) => Ok(Access::Tokens { viewer, other }),
    }
}

fn number<T>(
    lookup: Lookup<'_>,
    name: &str,
    range: RangeInclusive<T>,
) -> Result<Option<T>, SettingsError>
where
    T: FromStr + PartialOrd + Display,
{
    let Some(value) = lookup(name) else {
        return Ok(None);
    };
    let number = value.to_str().and_then(|text| text.parse().ok());
    match number.filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(SettingsError::new(format!(
            "{name} must be a whole number from {} to {}, not {value:?}",
            range.start(),
            range.end(),
        ))),
    }
}

// An empty token is refused and not taken for an unset one, which would open the stream.
fn token(lookup: Lookup<'_>, name: &str) -> Result<Option<Secret>, SettingsError> {
    let Some(value) = lookup(name) else {
        return Ok(None);
    };
    match value.to_str() {
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(Secret::new(text)))
        }
        _ => Err(SettingsError::new(format!(
            "{name} must be one or more visible ASCII characters"
        ))),
    }
}

/// A variable of the environment is unreadable.
#[derive(Debug)]
pub struct SettingsError(String);

impl SettingsError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for SettingsError {}
