//! The event stream format: what the decoder and the encoder make of awkward input.

mod decoder;
mod encoder;
mod typed;

use std::error::Error;

use proptest::prelude::*;
use tower_sse::Decoder;

use crate::whatwg::{self, Parsed};

/// Reads a stream that comes in `chunks`.
#[track_caller]
fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Parsed {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for chunk in chunks {
        feed(&mut decoder, chunk, &mut events).expect("events are within the limit");
    }
    parsed(&decoder, events)
}

fn feed(
    decoder: &mut Decoder,
    mut chunk: &[u8],
    events: &mut Vec<whatwg::Event>,
) -> Result<(), Box<dyn Error>> {
    while let Some(event) = decoder.decode(&mut chunk)? {
        events.push((
            event.event_type().to_owned(),
            event.data().to_owned(),
            event.last_event_id().to_owned(),
        ));
    }
    assert_eq!(chunk, b"", "no event is left in what was read");
    Ok(())
}

fn parsed(decoder: &Decoder, events: Vec<whatwg::Event>) -> Parsed {
    Parsed {
        events,
        last_event_id: decoder.last_event_id().to_owned(),
        retry: decoder.retry(),
    }
}

/// Cuts `stream` into pieces of these lengths, empty ones included, and the rest.
fn cut<'a>(stream: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = stream;
    let mut pieces = Vec::new();
    for &length in lengths {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..12_usize, 0..40)
}
