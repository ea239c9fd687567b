//! Settings from the command line.

use std::{
    error::Error,
    ffi::OsString,
    fmt::{self, Display},
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use tower_sse::SseLayer;

use crate::{Access, Token};

/// What `--help` prints.
pub const HELP: &str = "\
A hub for Server-Sent Events: publish with a POST, follow with a GET.

Usage: hub [--port N] [--store STORE] [--retain N] [--heartbeat SECONDS] [--token TOKEN]

  --port N             the port on 127.0.0.1 [4000]; 0 lets the system choose
  --store STORE        where events are kept [memory]:
                         memory        in this process, gone with it
                         file:PATH     in this file, for one hub at a time
                         nats://HOST, postgres://HOST/DATABASE, redis://HOST
                                       on this server, shared by all hubs that use it
  --retain N           how many events a topic keeps [as the store does]
  --heartbeat SECONDS  after how much silence a stream gets a comment line [15]; 0 for never
  --token TOKEN        what every request has to show, as `Authorization: Bearer TOKEN` or in the
                       query as `token=TOKEN`
  --help               this text

  POST /topics/NAME    {\"event\":\"name\",\"data\":\"text\"} or {\"event\":\"name\",\"json\":{..}}; without an
                       event it is a `message`. Answers 201 and {\"id\":\"..\"} once it is stored
  GET /topics/NAME     follows a topic
  GET /topics?topic=NAME&topic=NAME
                       follows several, at most 64
                       both with from=live, from=all or from=last:N for a new client, and with
                       Last-Event-ID or lastEventId=ID for one that comes back
  GET /stats           connections, gaps sent by reason, and the position of each topic (of the
                       10,000 that were used last)
";

/// What the command line says about the hub.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--port` on 127.0.0.1.
    pub address: SocketAddr,
    /// `--store`.
    pub store: StoreChoice,
    /// `--retain`.
    pub retain: Option<NonZeroUsize>,
    /// `--heartbeat`, `None` for never.
    pub heartbeat: Option<Duration>,
    /// `--token`.
    pub access: Access,
}

/// Where events are kept.
#[derive(Clone)]
pub enum StoreChoice {
    /// In the process.
    Memory,
    /// In this file.
    File(PathBuf),
    /// On the NATS at this address.
    Nats(String),
    /// On the Postgres at this address.
    Postgres(String),
    /// On the Redis at this address.
    Redis(String),
}

impl Settings {
    /// Reads the arguments behind the name of the program; `None` if they ask for help.
    ///
    /// # Errors
    ///
    /// When an argument is unknown or unreadable.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, SettingsError> {
        let mut settings = Self {
            address: (Ipv4Addr::LOCALHOST, 4_000).into(),
            store: StoreChoice::Memory,
            retain: None,
            heartbeat: Some(Duration::from_secs(15)),
            access: Access::Open,
        };
        let mut args = args.into_iter().map(text);
        while let Some(arg) = args.next() {
            let arg = arg?;
            if arg == "--help" || arg == "-h" {
                return Ok(None);
            }
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(Ok(value.to_owned()))),
                None => (&*arg, None),
            };
            if !["--port", "--store", "--retain", "--heartbeat", "--token"].contains(&name) {
                return Err(SettingsError::new(format!(
                    "unknown argument {name:?}, try --help"
                )));
            }
            let value = value.or_else(|| args.next()).transpose()?;
            let value =
                value.ok_or_else(|| SettingsError::new(format!("{name} lacks its value")))?;
            settings.set(name, &value)?;
        }
        Ok(Some(settings))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingsError> {
        match name {
            "--port" => self.address.set_port(number(name, value, 0..=u16::MAX)?),
            "--store" => self.store = store(value)?,
            "--retain" => {
                let most = NonZeroUsize::new(1_000_000_000).unwrap_or(NonZeroUsize::MIN);
                self.retain = Some(number(name, value, NonZeroUsize::MIN..=most)?);
            }
            "--heartbeat" => {
                let seconds = number(name, value, 0..=86_400)?;
                self.heartbeat = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            _ => self.access = Access::Token(token(name, value)?),
        }
        Ok(())
    }

    /// The policy of all routes.
    pub fn policy(&self) -> SseLayer {
        self.access.guard(SseLayer::new().heartbeat(self.heartbeat))
    }
}

fn text(arg: OsString) -> Result<String, SettingsError> {
    arg.into_string()
        .map_err(|_| SettingsError::new("an argument is not UTF-8"))
}

fn store(value: &str) -> Result<StoreChoice, SettingsError> {
    let path = value.strip_prefix("file:").filter(|path| !path.is_empty());
    match path {
        Some(path) => Ok(StoreChoice::File(path.into())),
        None if value == "memory" => Ok(StoreChoice::Memory),
        None if value.starts_with("nats://") => Ok(StoreChoice::Nats(value.to_owned())),
        None if value.starts_with("postgres://") => Ok(StoreChoice::Postgres(value.to_owned())),
        None if value.starts_with("redis://") => Ok(StoreChoice::Redis(value.to_owned())),
        // Not repeated: it may hold a password.
        None => Err(SettingsError::new(
            "--store must be `memory`, `file:PATH`, or the address of a server: `nats://HOST`, \
             `postgres://HOST/DATABASE`, `redis://HOST`",
        )),
    }
}

fn number<T>(name: &str, value: &str, range: RangeInclusive<T>) -> Result<T, SettingsError>
where
    T: FromStr + PartialOrd + Display,
{
    match value.parse().ok().filter(|number| range.contains(number)) {
        Some(number) => Ok(number),
        None => Err(SettingsError::new(format!(
            "{name} must be a whole number from {} to {}, not {value:?}",
            range.start(),
            range.end(),
        ))),
    }
}

// An empty token is refused and not taken for an unset one, which would open the hub.
fn token(name: &str, value: &str) -> Result<Token, SettingsError> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SettingsError::new(format!(
            "{name} must be one or more visible ASCII characters"
        )));
    }
    Ok(Token::new(value))
}

impl fmt::Debug for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // It may hold a password.
            Self::Nats(_) => f.write_str("Nats(..)"),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
            Self::Redis(_) => f.write_str("Redis(..)"),
        }
    }
}

/// An argument is unknown or unreadable.
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
