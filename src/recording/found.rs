//! Finding a recorded response, for a client that comes back, or to stop it.

use super::{
    Listener, Name, Owner, Producer, Recordings, Rules,
    log::Log,
    note::{Note, Outcome},
};
use crate::{
    store::{Append, Position, Read, ReadFrom, Record, RecordKind, StoreError},
    subscription::{PAGE_BYTES, in_time},
    sync::Arc,
    topic_name::TopicName,
};

/// What there is for a client that comes back.
#[derive(Debug)]
pub(crate) enum Found {
    /// The rest, and what is still to come.
    Rest(Box<Listener>),
    /// Nothing more: the response was whole, and so is what the client has.
    Over,
    /// No such response, or none of this owner.
    Unknown,
}

/// What there is for a client that asks for a response that the application has named.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// It is to be produced.
    New(Box<Producer>, Box<Listener>),
    /// It is, or was, and is sent from its beginning.
    Known(Box<Listener>),
}

/// What follows a place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// There is no such place.
    NoPlace,
    Nothing,
    /// Events, or a gap before them.
    Events,
    End(Outcome),
}

impl Recordings {
    /// Finds what follows a place in a response, for its owner.
    pub(crate) async fn find(
        self: &Arc<Self>,
        owner: &Owner,
        name: Name,
        at: Position,
        rules: Rules,
    ) -> Result<Found, StoreError> {
        let topic = owner.topic(name);
        let behind = match self.behind(&topic, at).await? {
            // The place before a log that is still to be begun is one, too, but nobody was sent that.
            Behind::Nothing if self.beginning(&topic).await?.is_some() => Behind::NoPlace,
            behind => behind,
        };
        Ok(match behind {
            Behind::NoPlace => Found::Unknown,
            Behind::End(Outcome::Finished) => Found::Over,
            Behind::Nothing | Behind::Events | Behind::End(_) => {
                Found::Rest(Listener::after(self, name, topic, rules, at).into())
            }
        })
    }

    /// Finds the response that the application calls `key`, or begins it.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        owner: &Owner,
        key: &str,
        rules: Rules,
    ) -> Result<Claimed, StoreError> {
        let name = owner.name_of(key);
        let topic = owner.topic(name);
        if let Some(beginning) = self.beginning(&topic).await?
            && let Some(log) =
                Log::begin(&self.feeds, topic.clone(), Some(beginning), &rules).await?
        {
            let (producer, listener) = self.produce_in(name, log, rules);
            return Ok(Claimed::New(producer.into(), listener.into()));
        }
        let listener = Listener::from_start(self, name, topic, rules);
        Ok(Claimed::Known(listener.into()))
    }

    /// Has a response stopped by its producer, wherever that is. False if there is none, or it is over.
    pub(crate) async fn stop(
        &self,
        owner: &Owner,
        name: Name,
        at: Position,
        rules: Rules,
    ) -> Result<bool, StoreError> {
        let topic = owner.topic(name);
        if let Some(production) = self.production(&topic) {
            return Ok(production.stop());
        }
        if let Behind::NoPlace | Behind::End(_) = self.end_behind(&topic, at).await? {
            return Ok(false);
        }
        if self.beginning(&topic).await?.is_some() {
            return Ok(false);
        }
        let stop = [Note::Stop.record()];
        let gone_after = rules.gone_after(&stop);
        let append = Append::new(stop).gone_after(gone_after);
        let stored = in_time(self.feeds.store.append(&topic, append)).await;
        stored.map(|_| true)
    }

    /// Where the record of `topic` would begin, if it has none.
    async fn beginning(&self, topic: &TopicName) -> Result<Option<Position>, StoreError> {
        let read = self.feeds.store.read(topic, ReadFrom::Oldest, PAGE_BYTES);
        // Notes of others may come too late, and then are all that there is.
        let is_note = |record: &Record| {
            let note = Note::of(record.content());
            note.is_some_and(|note| !note.is_producers())
        };
        Ok(match in_time(read).await? {
            Read::Page(page) if page.records.iter().all(is_note) => Some(page.end()),
            _ => None,
        })
    }

    /// Finds what follows a place, as far as it has to be known for that.
    async fn behind(&self, topic: &TopicName, at: Position) -> Result<Behind, StoreError> {
        self.look_behind(topic, at, |kind| kind == RecordKind::Event)
            .await
    }

    /// Finds whether the end follows a place.
    async fn end_behind(&self, topic: &TopicName, at: Position) -> Result<Behind, StoreError> {
        self.look_behind(topic, at, |_| false).await
    }

    async fn look_behind(
        &self,
        topic: &TopicName,
        mut at: Position,
        is_enough: impl Fn(RecordKind) -> bool,
    ) -> Result<Behind, StoreError> {
        loop {
            let read = self
                .feeds
                .store
                .read(topic, ReadFrom::After(at), PAGE_BYTES);
            let page = match in_time(read).await? {
                Read::Page(page) => page,
                Read::Evicted(_) => return Ok(Behind::Events),
                Read::UnknownEpoch(_) | Read::Ahead(_) => return Ok(Behind::NoPlace),
            };
            for record in &page.records {
                match record.content().kind() {
                    RecordKind::End => {
                        return Ok(Behind::End(Outcome::parse(record.content().data())));
                    }
                    kind if is_enough(kind) => return Ok(Behind::Events),
                    _ => {}
                }
            }
            at = page.end();
            if at == page.head || page.records.is_empty() {
                return Ok(Behind::Nothing);
            }
        }
    }
}

#[cfg(all(test, not(shuttle)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        recording::{Leaving, StoreFailure},
        store::{Appended, MemoryStore},
    };

    const RULES: Rules = Rules {
        lease: Duration::from_secs(10),
        kept_for: Duration::from_secs(600),
        leaving: Leaving::Cancel,
        failing: StoreFailure::Fail,
        ids: true,
    };

    #[tokio::test]
    async fn what_others_note_where_there_is_no_record_begins_none() {
        let recordings = Recordings::new(Arc::new(MemoryStore::new()));
        let owner = Owner::new(Some("alice"), "/chat");
        let topic = owner.topic(owner.name_of("key"));
        // The record that they mean was lost with all else.
        for note in [Note::Listened, Note::Stop] {
            let append = Append::new([note.record()]);
            let appended = recordings.feeds.store.append(&topic, append).await;
            assert!(matches!(appended, Ok(Appended::Stored(_))));
        }
        let claimed = recordings.claim(&owner, "key", RULES).await.unwrap();
        assert!(matches!(claimed, Claimed::New(..)), "{claimed:?}");
        let again = recordings.claim(&owner, "key", RULES).await.unwrap();
        assert!(matches!(again, Claimed::Known(_)), "{again:?}");
    }
}
