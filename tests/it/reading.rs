//! Reading events in the process, on a paused clock.

use std::{ops::Range, time::Duration};

use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use tower_sse::Event;

/// The events that are there now; on a paused clock this is over when nothing moves any more.
pub(crate) async fn now(events: &mut (impl Stream<Item = Event> + Unpin)) -> Vec<Event> {
    let mut read = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(60), events.next()).await {
        read.push(event);
    }
    read
}

/// The data, behind its name where the event is one of ours.
pub(crate) fn text(event: &Event) -> String {
    match event.is_control() {
        true => format!("{} {}", event.event_type(), event.data()),
        false => event.data().to_owned(),
    }
}

/// The texts of those that are there now.
pub(crate) async fn texts(events: &mut (impl Stream<Item = Event> + Unpin)) -> Vec<String> {
    now(events).await.iter().map(text).collect()
}

pub(crate) fn numbers<T: ToString>(range: Range<T>) -> Vec<String>
where
    Range<T>: Iterator<Item = T>,
{
    range.map(|number| number.to_string()).collect()
}
