//! What a stream of events may yield.

use bytestring::ByteString;
use serde::Serialize;

use super::{EncodeError, Event, EventName, with_json};
use crate::wire::Block;

/// An item of a stream that [`Sse`](crate::Sse) sends: any `Serialize` value, an [`Event`] or a
/// reference to one.
///
/// This trait is sealed; it is implemented for everything that it can be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as an event",
    note = "an event is an `Event`, or any value that implements `serde::Serialize`",
    note = "a stream of `Result`s goes through `Sse::try_new`"
)]
pub trait IntoEvent: sealed::Sealed {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> IntoEvent for T {}
impl IntoEvent for Event {}
impl IntoEvent for &Event {}

/// What a log keeps of an event.
pub(crate) type Parts = (Option<EventName>, ByteString);

pub(crate) mod sealed {
    use super::{EncodeError, Parts};

    pub trait Sealed {
        /// Appends the block of the event to `out`; on an error `out` is as it was.
        fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError>;

        /// Copies the parts into buffers of their own size.
        fn to_parts(&self) -> Result<Parts, EncodeError>;
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> sealed::Sealed for T {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        with_json(self, |variant, json| {
            let name = variant.map(EventName::try_from_static).transpose()?;
            Block {
                name: name.as_ref().map(EventName::as_str),
                data: json,
                ..Block::default()
            }
            .write(out);
            Ok(())
        })?
    }

    fn to_parts(&self) -> Result<Parts, EncodeError> {
        with_json(self, |variant, json| {
            let name = variant.map(EventName::try_from_static).transpose()?;
            Ok((name, json.into()))
        })?
    }
}

impl sealed::Sealed for Event {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.block().write(out);
        Ok(())
    }

    fn to_parts(&self) -> Result<Parts, EncodeError> {
        // A copy, so that a log never keeps a larger buffer alive.
        let name = self.name.as_ref().map(EventName::to_owned_name);
        Ok((name, (*self.data).into()))
    }
}

impl sealed::Sealed for &Event {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        (*self).write(out)
    }

    fn to_parts(&self) -> Result<Parts, EncodeError> {
        (*self).to_parts()
    }
}
