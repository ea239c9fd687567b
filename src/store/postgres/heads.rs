//! Where logs end.

use super::{PostgresStore, failure::Failure};
use crate::{
    store::{Epoch, Position, StoreError, error::damaged},
    topic_name::TopicName,
};

pub(super) async fn heads(
    store: &PostgresStore,
    topics: &[TopicName],
) -> Result<Vec<Position>, StoreError> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    // Before they are asked for: what is seen meanwhile is newer.
    let seen: Vec<_> = topics.iter().map(|topic| store.seen.head(topic)).collect();
    let mut heads = ask(store, topics).await?;
    let mut is_renewed = false;
    for ((topic, seen), head) in topics.iter().zip(seen).zip(&heads) {
        if let Some(seen) = seen.filter(|seen| head.is_behind(*seen)) {
            store.renew(topic, seen).await?;
            is_renewed = true;
        }
    }
    if is_renewed {
        heads = ask(store, topics).await?;
    }
    for (topic, head) in topics.iter().zip(&heads) {
        store.seen.note(topic, *head);
    }
    Ok(heads)
}

async fn ask(store: &PostgresStore, topics: &[TopicName]) -> Result<Vec<Position>, StoreError> {
    let names: Vec<&str> = topics.iter().map(TopicName::as_str).collect();
    let sql = &store.link.schema.heads;
    let rows = store.link.query(sql, &[&names]).await;
    let rows = rows.map_err(Failure::of_read)?;
    if rows.len() != topics.len() {
        return Err(damaged("the store has no settings, or several"));
    }
    let heads = rows.iter().map(|row| {
        let (epoch, offset) = (row.try_get(0)?, row.try_get(1)?);
        Ok((epoch, offset))
    });
    let heads: Result<Vec<(i64, i64)>, tokio_postgres::Error> = heads.collect();
    let heads = heads.map_err(|error| Failure::from(error).of_read())?;
    heads
        .into_iter()
        .map(|(epoch, offset)| position(epoch, offset))
        .collect()
}

/// Makes a position of the numbers of a row.
pub(super) fn position(epoch: i64, offset: i64) -> Result<Position, StoreError> {
    match u64::try_from(offset) {
        Ok(offset) => Ok(Position::new(Epoch::new(epoch.cast_unsigned()), offset)),
        Err(_) => Err(damaged(format!("{offset} is no offset"))),
    }
}

/// The numbers of a position, as a row has them.
pub(super) fn numbers(position: Position) -> (i64, i64) {
    let epoch = position.epoch().get().cast_signed();
    (epoch, number(position.offset()))
}

pub(super) fn number<T: TryInto<i64>>(number: T) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
