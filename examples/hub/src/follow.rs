//! What a `GET` asks to follow.

use std::borrow::Cow;

use tower_sse::{Start, TopicName};

use crate::refusal::Refusal;

/// The query of a stream.
#[derive(Debug)]
pub(crate) struct Wish {
    /// `topic=a&topic=b`.
    pub(crate) topics: Vec<TopicName>,
    /// `from=live|all|last:N`.
    pub(crate) start: Start,
}

impl Wish {
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Refusal> {
        let query = query.unwrap_or_default();
        let start = match &parameters(query, "from").collect::<Vec<_>>()[..] {
            [] => Start::Live,
            [from] => read_start(from)?,
            _ => return Err(Refusal::bad_request("`from` is there twice")),
        };
        let topics: Result<_, _> = parameters(query, "topic").map(TopicName::new).collect();
        let topics = topics?;
        Ok(Self { topics, start })
    }
}

fn read_start(from: &str) -> Result<Start, Refusal> {
    let newest = |text: &str| text.strip_prefix("last:")?.parse().ok();
    match from {
        "live" => Ok(Start::Live),
        "all" => Ok(Start::All),
        _ => newest(from).map(Start::Newest).ok_or_else(|| {
            Refusal::bad_request("`from` is `live`, `all` or `last:N` with a whole number N")
        }),
    }
}

fn parameters<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    form_urlencoded::parse(query.as_bytes())
        .filter_map(move |(key, value)| (key == name).then_some(value))
}
