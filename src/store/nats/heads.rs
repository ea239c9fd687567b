//! The heads of many topics.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Core, Tail, failure::Failure, message, sightings::Head};
use crate::{store::Position, topic_name::TopicName};

/// How many requests are under way at a time.
const AT_ONCE: usize = 128;

/// One request where nothing was stored since the last round, so that topics at rest cost nothing;
/// otherwise one more for each topic, many at a time.
pub(super) async fn heads(core: &Core, topics: &[TopicName]) -> Result<Vec<Position>, Failure> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let shape = core.link.shape().await?;
    let now = message::now();
    let head = async |topic: TopicName| {
        if let Some(head) = core.sightings.recall(&topic, shape, now) {
            return Ok(head);
        }
        let tail = core.tail(&topic).await?;
        let head = match &tail {
            Tail::Absent { head, .. } => Head {
                position: *head,
                ends_at: None,
            },
            Tail::Log(message) => Head {
                position: message.head(),
                ends_at: message.ends_at(),
            },
        };
        // Asked for after the stream was looked at, it may be newer, but not older.
        core.sightings.remember(&topic, shape, head);
        Ok(head.position)
    };
    let asked = stream::iter(topics.to_vec()).map(head);
    asked.buffered(AT_ONCE).try_collect().await
}
