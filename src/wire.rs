//! The event stream format: fields to bytes, and bytes to fields.
//!
//! Nothing here knows of events, topics or HTTP. See the clauses ["parsing an event stream"] and
//! ["interpreting an event stream"] of the HTML standard.
//!
//! ["parsing an event stream"]: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
//! ["interpreting an event stream"]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

mod count;
mod decode;
mod encode;
mod scan;

pub(crate) use count::EventCounter;
pub use decode::{DecodedEvent, Decoder, EventTooLarge};
pub(crate) use encode::{Block, COMMENT_LINE, retry_line};
pub(crate) use scan::LineScanner;
