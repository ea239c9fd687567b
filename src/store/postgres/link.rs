//! The connections to Postgres.

use std::{future::poll_fn, time::Duration};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Row, Socket, types::ToSql};

use super::{failure::Failure, schema::Schema};
use crate::millis::millis;

/// After this long without a sign of life a connection is no more.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How many connections read at the same time.
const READERS: usize = 4;

/// The parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How to reach Postgres, and the connections that readers share.
#[derive(Clone)]
pub(super) struct Link {
    config: Config,
    pub(super) schema: Schema,
    pub(super) answer: Duration,
    readers: Pool,
}

/// A connection for one purpose, which ends with this.
pub(super) struct Session {
    pub(super) client: Client,
    task: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    pub(super) fn new(
        mut config: Config,
        schema: Schema,
        answer: Duration,
    ) -> Result<Self, Failure> {
        config
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE / 2)
            .keepalives_retries(2)
            .tcp_user_timeout(2 * KEEPALIVE)
            .connect_timeout(answer);
        let manager = Manager::from_config(
            named(&config, "read"),
            NoTls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let settings = settings(answer);
        let readers = Pool::builder(manager)
            .max_size(READERS)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(answer))
            .wait_timeout(Some(answer))
            .post_create(Hook::async_fn(move |client, _| {
                let settings = settings.clone();
                Box::pin(async move {
                    let set = client.batch_execute(&settings).await;
                    set.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| Failure::NotSent(error.into()))?;
        Ok(Self {
            config,
            schema,
            answer,
            readers,
        })
    }

    /// What is set on every connection. Each statement is a seek in an index, whatever the statistics
    /// say.
    pub(super) fn settings(&self) -> String {
        settings(self.answer)
    }

    /// Runs one statement on a connection that readers share.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let client = self.readers.get().await?;
        let asked = timeout(self.answer, async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, parameters).await
        });
        match asked.await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                // Whoever comes next would wait for the same answer.
                drop(Object::take(client));
                Err(Failure::Late)
            }
        }
    }

    /// Opens a connection of its own.
    pub(super) async fn session(&self, purpose: &str) -> Result<Session, Failure> {
        let (client, connection) = self.open(purpose).await?;
        let task = tokio::spawn(async move {
            // Whoever uses it is told, too.
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
            }
        });
        let session = Session { client, task };
        let settings = self.settings();
        let set = timeout(self.answer, session.client.batch_execute(&settings));
        match set.await {
            Ok(set) => set.map_err(|error| Failure::NotSent(error.into()))?,
            Err(elapsed) => return Err(Failure::NotSent(elapsed.into())),
        }
        Ok(session)
    }

    /// Opens a connection that the caller has to drive.
    pub(super) async fn open(
        &self,
        purpose: &str,
    ) -> Result<(Client, Connection<Socket, tokio_postgres::tls::NoTlsStream>), Failure> {
        let config = named(&self.config, purpose);
        match timeout(self.answer, config.connect(NoTls)).await {
            Ok(opened) => opened.map_err(|error| Failure::NotSent(error.into())),
            Err(elapsed) => Err(Failure::NotSent(elapsed.into())),
        }
    }
}

/// Waits for the next notification on a connection, and drives it meanwhile.
///
/// # Errors
///
/// When the connection ends.
pub(super) async fn notification(
    connection: &mut Connection<Socket, tokio_postgres::tls::NoTlsStream>,
) -> Result<tokio_postgres::Notification, Failure> {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => return Ok(notification),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Failure::Sent(error)),
            None => return Err(Failure::NotSent("the connection has ended".into())),
        }
    }
}

/// The address with a name by which the connection is found in `pg_stat_activity`.
fn named(config: &Config, purpose: &str) -> Config {
    let mut config = config.clone();
    let name = config.get_application_name().unwrap_or("tower-sse");
    let name = format!("{name} {purpose}");
    config.application_name(name);
    config
}

fn settings(answer: Duration) -> String {
    let millis = millis(answer).clamp(1, 1_000_000_000);
    format!(
        "set statement_timeout = {millis}; set lock_timeout = {millis}; \
         set default_transaction_isolation = 'read committed'; \
         set enable_seqscan = off; set enable_bitmapscan = off; set jit = off; \
         set plan_cache_mode = force_generic_plan"
    )
}
