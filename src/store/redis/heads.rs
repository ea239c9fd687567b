//! Where logs end.

use redis::{RedisError, pipe};

use super::{Keys, RedisStore, failure::Failure, link::Request};
use crate::{
    store::{Position, StoreError, StoreErrorKind, error::damaged},
    topic_name::TopicName,
};

/// How many topics are asked for in one request.
const CHUNK: usize = 4096;

pub(super) async fn heads(
    store: &RedisStore,
    topics: &[TopicName],
) -> Result<Vec<Position>, StoreError> {
    let mut heads = Vec::with_capacity(topics.len());
    for topics in topics.chunks(CHUNK) {
        let seen: Vec<_> = topics.iter().map(|topic| store.seen.head(topic)).collect();
        let mut found = ask_or_open(store, topics).await?;
        let mut is_behind = false;
        for ((topic, seen), &head) in topics.iter().zip(seen).zip(&found) {
            if let Some(seen) = seen.filter(|seen| head.is_behind(*seen)) {
                store.renew(topic, seen).await?;
                is_behind = true;
            }
        }
        if is_behind {
            found = ask_or_open(store, topics).await?;
        }
        for (topic, &head) in topics.iter().zip(&found) {
            store.seen.note(topic, head);
        }
        heads.append(&mut found);
    }
    Ok(heads)
}

async fn ask_or_open(
    store: &RedisStore,
    topics: &[TopicName],
) -> Result<Vec<Position>, StoreError> {
    for _ in 0..2 {
        if let Some(heads) = ask(store, topics).await? {
            return Ok(heads);
        }
        store.restore_limits().await?;
    }
    Err(StoreErrorKind::Unavailable.into())
}

/// Returns `None` where the store has no settings yet, or no more.
async fn ask(
    store: &RedisStore,
    topics: &[TopicName],
) -> Result<Option<Vec<Position>>, StoreError> {
    type Fields = Vec<Option<String>>;
    let keys = &store.keys;
    let mut request = pipe();
    // Those of one topic that are no log are no reason to know nothing of the others.
    request.ignore_errors();
    request.cmd("HGET").arg(keys.store()).arg("epoch");
    // Before the logs: a count that is too old is unknown later, one that is too new would hide a log
    // that came and went in between.
    request.cmd("HMGET").arg(keys.births());
    for topic in topics {
        request.arg(Keys::bucket(topic));
    }
    for topic in topics {
        let log = request.cmd("HMGET").arg(keys.log(topic));
        log.arg("epoch").arg("head");
    }
    let reply: Result<Vec<Result<Fields, RedisError>>, Failure> =
        store.link.send(Request::Pipeline(&request)).await;
    let mut replies = reply.map_err(Failure::of_read)?.into_iter();
    let mut next = || {
        let too_few = || Err(damaged("the heads are too few"));
        let failed = |error| Failure::Sent(error).of_read();
        replies
            .next()
            .map_or_else(too_few, |reply| reply.map_err(failed))
    };
    let (epoch, births) = (next()?, next()?);
    let Some(Some(epoch)) = epoch.into_iter().next() else {
        return Ok(None);
    };
    let mut heads = Vec::with_capacity(topics.len());
    for births in births {
        let log = match next() {
            Ok(log) => position(log),
            Err(error) if error.kind() == StoreErrorKind::Damaged => None,
            Err(error) => return Err(error),
        };
        let beginning = || {
            position(vec![
                Some(epoch.clone()),
                Some(births.unwrap_or("0".into())),
            ])
        };
        // What is no log has the head of a topic without one. Reading it tells what it is.
        let head = log.or_else(beginning);
        heads.push(head.ok_or_else(|| damaged(format!("{} has no epoch", keys.store())))?);
    }
    Ok(Some(heads))
}

fn position(fields: Vec<Option<String>>) -> Option<Position> {
    let [Some(epoch), Some(offset)] = fields.as_slice() else {
        return None;
    };
    format!("{epoch}-{offset}").parse().ok()
}
