//! What is told of streams: to the application, to traces and to metrics.

mod closed;
#[cfg(feature = "metrics")]
mod figures;
mod heartbeat_event;
mod traces;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use tower_sse::{Closed, Event, SseLayer};

use crate::servers::Local;

const SECOND: Duration = Duration::from_secs(1);

/// What a layer has reported.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<Closed>>>);

impl Reports {
    fn layer(&self) -> SseLayer {
        let reports = Arc::clone(&self.0);
        SseLayer::new().on_close(move |closed| reports.lock().unwrap().push(closed.clone()))
    }

    fn take(&self) -> Vec<Closed> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// The only one.
    #[track_caller]
    fn one(&self) -> Closed {
        let [closed] = &self.take()[..] else {
            panic!("not one report");
        };
        closed.clone()
    }
}

/// So many events, then silence.
fn events(count: usize) -> impl Stream<Item = Event> + Send {
    let events = stream::iter(0..count).map(|number| Event::new(number.to_string()));
    events.chain(stream::pending())
}

/// Reads until nothing is left at the moment, and returns how many bytes came.
async fn read(response: &mut Local) -> u64 {
    let mut bytes = 0;
    while let Ok(Some(Ok(piece))) =
        tokio::time::timeout(Duration::from_millis(1), response.next()).await
    {
        bytes += u64::try_from(piece.len()).unwrap();
    }
    bytes
}
