//! The body of a `POST`: one event.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tower_sse::{Event, EventName};

use crate::refusal::Refusal;

/// The largest body that is read: an event of 1 MiB, and what is around it.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024 + 4 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted<'a> {
    #[serde(default, deserialize_with = "given")]
    event: Option<String>,
    #[serde(default, deserialize_with = "given")]
    data: Option<String>,
    // As it stands, so that numbers keep their digits.
    #[serde(borrow, default, deserialize_with = "given")]
    json: Option<&'a RawValue>,
}

/// Takes `null` for a value.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Reads `{"event":"name","data":"text"}` or `{"event":"name","json":..}`; without `event` it is a
/// `message`.
pub(crate) fn read_event(body: &[u8]) -> Result<Event, Refusal> {
    // An array of its values would pass for a struct.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::bad_request("the body is no JSON object"));
    }
    let posted: Posted<'_> = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the body is no event: {error}")))?;
    let event = match (posted.data, posted.json) {
        (Some(data), None) => Event::new(data),
        (None, Some(json)) => Event::new(json.get()),
        (Some(_), Some(_)) => {
            return Err(Refusal::bad_request("the body has both `data` and `json`"));
        }
        (None, None) => {
            return Err(Refusal::bad_request(
                "the body has neither `data` nor `json`",
            ));
        }
    };
    let Some(name) = posted.event else {
        return Ok(event);
    };
    let name = EventName::new(&name).map_err(|error| Refusal::bad_request(error.to_string()))?;
    Ok(event.name(name))
}
