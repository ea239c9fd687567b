//! Stores over servers of a test's own.

#[cfg(feature = "nats")]
use tower_sse::store::{NatsOptions, NatsStore};
#[cfg(feature = "postgres")]
use tower_sse::store::{PostgresOptions, PostgresStore};
#[cfg(feature = "redis")]
use tower_sse::store::{RedisOptions, RedisStore};

/// A server that a store connects to.
pub(crate) trait Connect {
    type Options;
    type Store;

    fn options() -> Self::Options;

    async fn connect_with(&self, options: Self::Options) -> Self::Store;

    async fn connect(&self) -> Self::Store {
        self.connect_with(Self::options()).await
    }
}

#[cfg(feature = "nats")]
impl Connect for servers::Server<servers::Nats> {
    type Options = NatsOptions;
    type Store = NatsStore;

    fn options() -> NatsOptions {
        NatsStore::options()
    }

    async fn connect_with(&self, options: NatsOptions) -> NatsStore {
        options.connect(&self.url()).await.unwrap()
    }
}

#[cfg(feature = "postgres")]
impl Connect for servers::Server<servers::Postgres> {
    type Options = PostgresOptions;
    type Store = PostgresStore;

    fn options() -> PostgresOptions {
        PostgresStore::options()
    }

    async fn connect_with(&self, options: PostgresOptions) -> PostgresStore {
        options.connect(&self.url()).await.unwrap()
    }
}

#[cfg(feature = "redis")]
impl Connect for servers::Server<servers::Redis> {
    type Options = RedisOptions;
    type Store = RedisStore;

    fn options() -> RedisOptions {
        RedisStore::options()
    }

    async fn connect_with(&self, options: RedisOptions) -> RedisStore {
        options.connect(&self.url()).await.unwrap()
    }
}
