//! The heads of many topics.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Core, Tail, failure::Failure, link::Shape, message};
use crate::{store::Position, topic_name::TopicName};

/// How many requests are under way at a time.
const AT_ONCE: usize = 128;

/// What a head is while the stream is like this, not to ask again.
#[derive(Clone, Copy)]
pub(super) struct AtRest {
    shape: Shape,
    head: Position,
    /// When the topic is gone, in milliseconds.
    ends_at: Option<u64>,
}

impl AtRest {
    fn holds(&self, shape: Shape, now: u64) -> bool {
        self.shape == shape && self.ends_at.is_none_or(|end| now < end)
    }
}

/// One request where nothing was stored since the last round, so that topics at rest cost nothing;
/// otherwise one more for each topic, many at a time.
pub(super) async fn heads(core: &Core, topics: &[TopicName]) -> Result<Vec<Position>, Failure> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let shape = core.link.shape().await?;
    let now = message::now();
    let head = async |topic: TopicName| {
        let known = core.seen.extra(&topic);
        if let Some(known) = known.filter(|known| known.holds(shape, now)) {
            return Ok(known.head);
        }
        let tail = core.tail(&topic).await?;
        let (head, ends_at) = match &tail {
            Tail::Absent { head, .. } => (*head, None),
            Tail::Log(message) => (message.head(), message.ends_at()),
        };
        // Asked for after the stream was looked at, it may be newer, but not older.
        let known = AtRest {
            shape,
            head,
            ends_at,
        };
        core.seen.keep(&topic, Some(known));
        Ok(head)
    };
    let asked = stream::iter(topics.to_vec()).map(head);
    asked.buffered(AT_ONCE).try_collect().await
}
