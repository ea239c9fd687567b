//! Typed values to the name and the data of an event.

use std::{cell::Cell, error::Error, fmt};

use serde::ser::{
    self, Serialize, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleVariant,
};

use super::InvalidEventName;

type Json<'w> = serde_json::Serializer<&'w mut Vec<u8>>;

/// A larger buffer is not kept for the next event.
const MAX_SCRATCH: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Serialises `value` once, into a buffer that the thread keeps, and hands the variant's name and
/// the JSON to `take`.
pub(crate) fn with_json<T, R>(
    value: &T,
    take: impl FnOnce(Option<&'static str>, &str) -> R,
) -> Result<R, EncodeError>
where
    T: Serialize + ?Sized,
{
    // Taken, not borrowed: a `Serialize` of the user's may come back here.
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let mut variant = None;
    let written = value.serialize(Typed {
        json: &mut Json::new(&mut buffer),
        variant: &mut variant,
    });
    let taken = written.map_err(Reason::Json).and_then(|()| {
        let json =
            str::from_utf8(&buffer).map_err(|error| Reason::Json(ser::Error::custom(error)))?;
        Ok(take(variant, json))
    });
    if buffer.capacity() <= MAX_SCRATCH {
        SCRATCH.set(buffer);
    }
    taken.map_err(EncodeError)
}

/// Serialises as JSON, with the variant of an enum at the top taken out of it.
///
/// What may surround the enum without leaving a trace in JSON, `Option` and newtype structs, is
/// looked through.
struct Typed<'a, 'w> {
    json: &'a mut Json<'w>,
    variant: &'a mut Option<&'static str>,
}

/// The content of a tuple or struct variant, without the object that JSON puts around it.
pub(crate) struct Content<C>(C);

macro_rules! as_json {
    ($($method:ident($($arg:ident: $ty:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self, $($arg: $ty),*) -> Result<$ok, Self::Error> {
            self.json.$method($($arg),*)
        }
    )*};
}

impl<'a, 'w> ser::Serializer for Typed<'a, 'w> {
    type Ok = ();
    type Error = serde_json::Error;
    type SerializeSeq = <&'a mut Json<'w> as ser::Serializer>::SerializeSeq;
    type SerializeTuple = <&'a mut Json<'w> as ser::Serializer>::SerializeTuple;
    type SerializeTupleStruct = <&'a mut Json<'w> as ser::Serializer>::SerializeTupleStruct;
    type SerializeTupleVariant = Content<Self::SerializeTuple>;
    type SerializeMap = <&'a mut Json<'w> as ser::Serializer>::SerializeMap;
    type SerializeStruct = <&'a mut Json<'w> as ser::Serializer>::SerializeStruct;
    type SerializeStructVariant = Content<Self::SerializeStruct>;

    as_json! {
        serialize_bool(v: bool) -> ();
        serialize_i8(v: i8) -> ();
        serialize_i16(v: i16) -> ();
        serialize_i32(v: i32) -> ();
        serialize_i64(v: i64) -> ();
        serialize_i128(v: i128) -> ();
        serialize_u8(v: u8) -> ();
        serialize_u16(v: u16) -> ();
        serialize_u32(v: u32) -> ();
        serialize_u64(v: u64) -> ();
        serialize_u128(v: u128) -> ();
        serialize_f32(v: f32) -> ();
        serialize_f64(v: f64) -> ();
        serialize_char(v: char) -> ();
        serialize_str(v: &str) -> ();
        serialize_bytes(v: &[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(name: &'static str) -> ();
        serialize_seq(len: Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(len: usize) -> Self::SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> Self::SerializeTupleStruct;
        serialize_map(len: Option<usize>) -> Self::SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> Self::SerializeStruct;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Self::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Self::Error> {
        *self.variant = Some(variant);
        self.json.serialize_unit()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        if name == "Result" && matches!(variant, "Ok" | "Err") {
            return Err(ser::Error::custom(
                "a `Result` is no event, but `Sse::try_new` takes a stream of them",
            ));
        }
        *self.variant = Some(variant);
        value.serialize(self.json)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Self::Error> {
        *self.variant = Some(variant);
        self.json.serialize_tuple(len).map(Content)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Self::Error> {
        *self.variant = Some(variant);
        self.json.serialize_struct(name, len).map(Content)
    }
}

impl<C: SerializeTuple> SerializeTupleVariant for Content<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        self.0.serialize_element(value)
    }

    fn end(self) -> Result<Self::Ok, Self::Error> {
        self.0.end()
    }
}

impl<C: SerializeStruct> SerializeStructVariant for Content<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        self.0.serialize_field(key, value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), Self::Error> {
        self.0.skip_field(key)
    }

    fn end(self) -> Result<Self::Ok, Self::Error> {
        self.0.end()
    }
}

/// The error of a value that cannot be an event.
///
/// Its `Serialize` failed, or the name of its variant is no [`EventName`](crate::EventName).
#[derive(Debug)]
pub struct EncodeError(Reason);

#[derive(Debug)]
enum Reason {
    Json(serde_json::Error),
    Name(InvalidEventName),
}

impl From<InvalidEventName> for EncodeError {
    fn from(error: InvalidEventName) -> Self {
        Self(Reason::Name(error))
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Reason::Json(_) => "value cannot be written as json",
            Reason::Name(_) => "name of the variant cannot be the name of an event",
        })
    }
}

impl Error for EncodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Reason::Json(error) => Some(error),
            Reason::Name(error) => Some(error),
        }
    }
}
