//! The schema of a store: its name, and how it comes to be what it is.

use tokio_postgres::Client;

use super::{Limits, failure::Failure};

const SOURCE: &str = include_str!("schema.sql");
/// The one that is made by the source.
const VERSION: i32 = 1;

/// A schema of Postgres, and the statements in it.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) append: String,
    pub(super) read: String,
    pub(super) heads: String,
    pub(super) notify: String,
}

impl Schema {
    /// The longest name, so that there is room for what the names of channels end with.
    pub(super) const MAX_LEN: usize = 48;

    /// Takes a name of `a-z`, `0-9` and `_`.
    pub(super) fn new(name: String) -> Option<Self> {
        let is_valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let starts_well = !name.starts_with("pg_") && !name.starts_with(|c: char| c.is_numeric());
        let is_short = (1..=Self::MAX_LEN).contains(&name.len());
        (is_short && starts_well && name.bytes().all(is_valid)).then(|| Self {
            append: filled(include_str!("append.sql"), &name),
            read: filled(include_str!("read.sql"), &name),
            heads: filled(include_str!("heads.sql"), &name),
            notify: filled(
                "select pg_notify({c}, t.topic) from unnest($1::text[]) t (topic)",
                &name,
            ),
            name,
        })
    }

    /// The statement with the names of the schema and its channel in it.
    pub(super) fn fill(&self, sql: &str) -> String {
        filled(sql, &self.name)
    }

    pub(super) fn outbox_channel(&self) -> String {
        format!("{} outbox", self.name)
    }

    /// Makes the schema unless it is there, and sets the limits of the store.
    pub(super) async fn migrate(&self, client: &mut Client, limits: Limits) -> Result<(), Failure> {
        if !self.is_current(client).await? {
            let transaction = client.transaction().await?;
            // All who come at once wait here for the first.
            transaction
                .batch_execute(&self.fill(
                    "set local statement_timeout = 0; set local lock_timeout = 0; \
                     select pg_advisory_xact_lock(hashtext('tower_sse migration'), hashtext({c}))",
                ))
                .await?;
            if !self.is_current(&transaction).await? {
                let create = self.fill("create schema if not exists {s}");
                // Who may not create schemas may have been given an empty one.
                let is_there = transaction
                    .query_opt("select from pg_namespace where nspname = $1", &[&self.name])
                    .await?;
                if is_there.is_none() {
                    transaction.batch_execute(&create).await?;
                }
                transaction.batch_execute(&self.fill(SOURCE)).await?;
                let settings = "insert into {s}.store \
                    (version, epoch, max_events, max_bytes) select $1, {s}.mint(), $2, $3";
                transaction
                    .execute(
                        &self.fill(settings),
                        &[&VERSION, &limits.events, &limits.bytes],
                    )
                    .await?;
            }
            transaction.commit().await?;
        }
        let limit = "update {s}.store set max_events = $1, max_bytes = $2, max_age = $3 \
            where (max_events, max_bytes, max_age) is distinct from ($1, $2, $3)";
        let parameters: super::link::Parameters<'_> = &[&limits.events, &limits.bytes, &limits.age];
        client.execute(&self.fill(limit), parameters).await?;
        Ok(())
    }

    /// Makes the schema where it is not there any more.
    pub(super) async fn restore(&self, client: &mut Client, limits: Limits) -> Result<(), Failure> {
        match self.is_current(client).await? {
            true => Ok(()),
            false => self.migrate(client, limits).await,
        }
    }

    /// Whether the schema is there and is this one.
    async fn is_current(
        &self,
        client: &impl tokio_postgres::GenericClient,
    ) -> Result<bool, Failure> {
        // Asked of the catalog: names are resolved from a cache, which may not know yet.
        let table = "select from pg_class c join pg_namespace n on n.oid = c.relnamespace \
            where n.nspname = $1 and c.relname = 'store'";
        if client.query_opt(table, &[&self.name]).await?.is_none() {
            return Ok(false);
        }
        let version = client
            .query_one(&self.fill("select version from {s}.store"), &[])
            .await?;
        match version.try_get::<_, i32>(0)? {
            VERSION => Ok(true),
            newer => {
                let name = &self.name;
                let why = format!(
                    "the schema {name} is of version {newer}, and this crate knows {VERSION}"
                );
                Err(Failure::NotSent(why.into()))
            }
        }
    }
}

fn filled(sql: &str, schema: &str) -> String {
    // The name has nothing in it that would have to be escaped.
    sql.replace("{s}", &format!("\"{schema}\""))
        .replace("{c}", &format!("'{schema}'"))
}
