//! The connections to Redis.

use std::{fmt, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisError, RedisResult, TlsMode,
    aio::{ConnectionManager, ConnectionManagerConfig, PubSub},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
    sentinel::{Sentinel, SentinelNodeConnectionInfo},
};
use tokio::time::timeout;

use super::failure::{Cause, Failure, is_of_connection};
use crate::sync::{Mutex, lock};

/// After this long without a sign of life a connection is no more.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The one connection for commands, which all share, and those for messages.
///
/// The manager of the client crate reconnects by itself where a connection broke. It is made anew
/// where that is not enough: an answer is late, a server refuses, a sentinel has to be asked.
pub(super) struct Link {
    source: Source,
    answer: Duration,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    generation: u64,
    manager: Option<Shared<BoxFuture<'static, RedisResult<ConnectionManager>>>>,
}

#[derive(Clone)]
enum Source {
    Server(Client),
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        service: String,
        node: SentinelNodeConnectionInfo,
    },
}

/// What can be sent: one command, or several at once.
pub(super) enum Request<'a> {
    Cmd(&'a Cmd),
    Pipeline(&'a Pipeline),
}

impl Link {
    /// Checks the addresses. With `sentinels`, the host of `url` is the name of the service.
    pub(super) fn new(url: &str, sentinels: &[String], answer: Duration) -> RedisResult<Self> {
        let info = settled(url)?;
        let source = match sentinels {
            [] => Source::Server(Client::open(info)?),
            sentinels => Source::Sentinels {
                service: service(&info),
                node: node(&info),
                sentinels: sentinels
                    .iter()
                    .map(|url| settled(url))
                    .collect::<RedisResult<_>>()?,
            },
        };
        Ok(Self {
            source,
            answer,
            current: Mutex::default(),
        })
    }

    /// Sends a request and waits for the answer, once.
    pub(super) async fn send<T: FromRedisValue>(&self, request: Request<'_>) -> Result<T, Failure> {
        let (generation, connecting) = self.manager();
        let mut manager = match timeout(self.answer, connecting).await {
            Ok(Ok(manager)) => manager,
            Ok(Err(error)) => {
                self.forget(generation);
                return Err(Failure::NotSent(Cause(error).into()));
            }
            Err(elapsed) => {
                self.forget(generation);
                return Err(Failure::NotSent(elapsed.into()));
            }
        };
        let sent = async {
            match request {
                Request::Cmd(cmd) => cmd.query_async(&mut manager).await,
                Request::Pipeline(pipeline) => pipeline.query_async(&mut manager).await,
            }
        };
        let answer = timeout(self.answer, sent).await;
        answer
            .unwrap_or_else(|_| Err(Failure::timeout()))
            .map_err(|error| {
                if is_of_connection(&error, matches!(self.source, Source::Sentinels { .. })) {
                    self.forget(generation);
                }
                Failure::Sent(error)
            })
    }

    /// Listens to a channel on a connection of its own.
    pub(super) async fn listen(&self, channel: &str) -> RedisResult<PubSub> {
        let listening = async {
            let mut messages = self.source.client().await?.get_async_pubsub().await?;
            messages.subscribe(channel).await?;
            Ok(messages)
        };
        let listening = timeout(self.answer, listening).await;
        listening.unwrap_or_else(|_| Err(Failure::timeout()))
    }

    /// Returns the manager, which all wait for who need it while it connects.
    fn manager(
        &self,
    ) -> (
        u64,
        impl Future<Output = RedisResult<ConnectionManager>> + use<>,
    ) {
        let mut current = lock(&self.current);
        let connecting = current.manager.get_or_insert_with(|| {
            let (source, answer) = (self.source.clone(), self.answer);
            async move {
                let settings = ConnectionManagerConfig::new()
                    .set_min_delay(Duration::from_millis(50))
                    .set_max_delay(Duration::from_secs(1))
                    .set_number_of_retries(2)
                    .set_connection_timeout(Some(answer))
                    // The whole of a request is bounded, not each of its parts.
                    .set_response_timeout(None)
                    .set_pipeline_buffer_size(1024);
                ConnectionManager::new_with_config(source.client().await?, settings).await
            }
            .boxed()
            .shared()
        });
        let connecting = connecting.clone();
        (current.generation, connecting)
    }

    fn forget(&self, generation: u64) {
        let mut current = lock(&self.current);
        if current.generation == generation {
            current.generation += 1;
            current.manager = None;
        }
    }
}

impl Source {
    async fn client(&self) -> RedisResult<Client> {
        match self {
            Self::Server(client) => Ok(client.clone()),
            Self::Sentinels {
                sentinels,
                service,
                node,
            } => {
                Sentinel::build(sentinels.clone())?
                    .async_master_for(service, Some(node))
                    .await
            }
        }
    }
}

/// The address with the settings of sockets that notice a peer that is gone.
fn settled(url: &str) -> RedisResult<ConnectionInfo> {
    // The client crate's error might quote the address, which may have a password in it.
    let info = url.into_connection_info().map_err(|error| {
        RedisError::from((error.kind(), "not an address as redis://host:port/database"))
    })?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 2);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(2 * KEEPALIVE);
    Ok(info.set_tcp_settings(tcp))
}

fn service(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        other => other.to_string(),
    }
}

fn node(info: &ConnectionInfo) -> SentinelNodeConnectionInfo {
    let node = SentinelNodeConnectionInfo::default()
        .set_redis_connection_info(info.redis_settings().clone())
        .set_tcp_settings(info.tcp_settings().clone());
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => node.set_tls_mode(TlsMode::Insecure),
        ConnectionAddr::TcpTls { .. } => node.set_tls_mode(TlsMode::Secure),
        _ => node,
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses may have passwords in them.
        f.write_str("Link")
    }
}
