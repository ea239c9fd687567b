//! The task that gives offsets to what was published within transactions.
//!
//! Each store has one, and one at a time over all processes does the work: it holds an advisory lock,
//! which goes with its connection.

use std::{convert::Infallible, error::Error, time::Duration};

use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{Client, Statement};

use super::{
    Limits,
    failure::Failure,
    link::{Link, Parameters, notification},
};

/// How long it takes at most until somebody else takes over, and until what nobody has told of is
/// found.
const ROUND: Duration = Duration::from_secs(1);
/// What comes in less than this is a rush, in which nobody has to tell.
const RUSH: Duration = Duration::from_millis(50);
const RUSH_BATCHES: u32 = 8;
const SHORTEST: Duration = Duration::from_millis(5);
/// Between two looks for what is to be deleted.
const SWEEP: Duration = Duration::from_secs(10);
/// How much is moved, or deleted, in one transaction.
const BATCH: i32 = 512;
const BATCH_BYTES: i64 = 4 * 1024 * 1024;

/// Does its work until the store is dropped.
pub(super) async fn run(link: Link, limits: Limits) {
    loop {
        let Err(failure) = work(&link).await;
        let error = failure.of_read();
        tracing::debug!(error = &error as &dyn Error, "the sequencer begins again");
        sleep(ROUND).await;
        if let Err(failure) = restore(&link, limits).await {
            let error = failure.of_read();
            tracing::debug!(error = &error as &dyn Error, "the schema was not looked at");
        }
    }
}

/// Makes the schema where it has gone, as with the data of the server.
async fn restore(link: &Link, limits: Limits) -> Result<(), Failure> {
    let mut session = link.session("connect").await?;
    link.schema.restore(&mut session.client, limits).await
}

async fn work(link: &Link) -> Result<Infallible, Failure> {
    let (client, mut connection) = link.open("sequencer").await?;
    let told = Notify::new();
    let listening = async {
        loop {
            notification(&mut connection).await?;
            told.notify_one();
        }
    };
    select! {
        ended = listening => ended,
        ended = sequence(link, client, &told) => ended,
    }
}

async fn sequence(link: &Link, client: Client, told: &Notify) -> Result<Infallible, Failure> {
    let sequencer = prepare(link, client).await?;
    while !sequencer.is_first().await? {
        sleep(ROUND).await;
    }
    sequencer.listen().await?;
    // Whoever held the lock before may have been killed in a rush.
    sequencer.waits(true).await?;
    let mut waits = true;
    let mut batches_of_rush = 0;
    let mut moved_at = Instant::now();
    let mut swept = None;
    loop {
        let moved = sequencer.sequence().await?;
        if swept.is_none_or(|at: Instant| at.elapsed() >= SWEEP) {
            let is_more = sequencer.sweep().await?;
            swept = (!is_more).then(Instant::now);
        }
        let quiet = moved_at.elapsed();
        if moved > 0 {
            batches_of_rush = match quiet < RUSH {
                true => batches_of_rush + 1,
                false => 0,
            };
            moved_at = Instant::now();
        }
        let is_rush = batches_of_rush >= RUSH_BATCHES && quiet < RUSH;
        if waits == is_rush {
            waits = !is_rush;
            sequencer.waits(waits).await?;
        } else if moved == 0 && swept.is_some() {
            // Whoever tells is only faster: a transaction may commit long after it saw a rush.
            let pause = quiet.clamp(SHORTEST, ROUND);
            drop(timeout(pause, told.notified()).await);
        }
    }
}

struct Sequencer<'a> {
    link: &'a Link,
    client: Client,
    lock: Statement,
    sequence: Statement,
    sweep: Statement,
    notify: Statement,
    waits: Statement,
}

async fn prepare(link: &Link, client: Client) -> Result<Sequencer<'_>, Failure> {
    let schema = &link.schema;
    let prepared = async {
        client.batch_execute(&link.settings()).await?;
        // A server that a holder has vanished from is to notice, too.
        let keepalive = "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; \
            set tcp_keepalives_count = 3; set tcp_user_timeout = 10000";
        client.batch_execute(keepalive).await?;
        let lock = "select pg_try_advisory_lock(hashtext('tower_sse sequencer'), hashtext({c})), \
            to_regclass('{s}.store') is not null";
        let lock = client.prepare(&schema.fill(lock)).await?;
        let sequence = "select moved, of_topics from {s}.sequence($1, $2)";
        let sequence = client.prepare(&schema.fill(sequence)).await?;
        let sweep = client.prepare(&schema.fill("select {s}.sweep($1)")).await?;
        let notify = client.prepare(&schema.notify).await?;
        let waits = client
            .prepare(&schema.fill("update {s}.sequencer set waits = $1"))
            .await?;
        Ok::<_, Failure>([lock, sequence, sweep, notify, waits])
    };
    let prepared = timeout(link.answer, prepared).await;
    let [lock, sequence, sweep, notify, waits] = prepared.unwrap_or(Err(Failure::Late))?;
    Ok(Sequencer {
        link,
        client,
        lock,
        sequence,
        sweep,
        notify,
        waits,
    })
}

impl Sequencer<'_> {
    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match timeout(self.link.answer, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::Late),
        }
    }

    async fn is_first(&self) -> Result<bool, Failure> {
        let row = self.in_time(self.client.query_one(&self.lock, &[])).await?;
        match row.try_get(1)? {
            true => Ok(row.try_get(0)?),
            false => Err(Failure::NotSent("the schema has gone".into())),
        }
    }

    async fn listen(&self) -> Result<(), Failure> {
        let listen = format!("listen \"{}\"", self.link.schema.outbox_channel());
        self.in_time(self.client.batch_execute(&listen)).await
    }

    async fn waits(&self, waits: bool) -> Result<(), Failure> {
        let parameters: Parameters<'_> = &[&waits];
        let told = self.client.execute(&self.waits, parameters);
        self.in_time(told).await.map(drop)
    }

    /// Returns how many events were moved.
    async fn sequence(&self) -> Result<i64, Failure> {
        let sequenced = self
            .client
            .query_one(&self.sequence, &[&BATCH, &BATCH_BYTES]);
        let row = self.in_time(sequenced).await?;
        let moved = row.try_get(0)?;
        if let Some(topics) = row.try_get::<_, Option<Vec<String>>>(1)? {
            self.in_time(self.client.execute(&self.notify, &[&topics]))
                .await?;
        }
        Ok(moved)
    }

    /// Returns whether there is more to delete.
    async fn sweep(&self) -> Result<bool, Failure> {
        let row = self.in_time(self.client.query_one(&self.sweep, &[&BATCH]));
        Ok(row.await?.try_get(0)?)
    }
}
