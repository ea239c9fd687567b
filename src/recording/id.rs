//! What a recorded response is called, by its clients and in the store.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{store::Position, topic_name::TopicName};

/// Before every id of a recorded response, so that it is not taken for one of the handler.
const PREFIX: &str = "r.";

/// The id of a client for whom nothing more will come.
pub(crate) const ENDED: &str = "r.ended";

/// The id of a client that is sent what is in no record, and so can miss the rest of it.
pub(super) const UNRECORDED: &str = "r.unrecorded";

/// The name of a recorded response: 128 bits that nobody guesses, and 48 that stand for its route.
///
/// The topic in the store is made of both **and** of the subject, by a one-way function. So there is no
/// name under which anybody but its subject finds it, and nothing has to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    secret: [u8; 16],
    route: [u8; 6],
}

/// Whose a response is, and of which route.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    subject: Option<String>,
    route: [u8; 6],
}

/// What a client came back with, where it is an id of a recorded response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordedId {
    /// Nothing more will come.
    Ended,
    /// More may have come, and is nowhere.
    Unrecorded,
    At(Name, Position),
}

impl Owner {
    /// The route is what the path says.
    pub(crate) fn new(subject: Option<&str>, path: &str) -> Self {
        let route = digest("route", &[path.as_bytes()]);
        Self {
            subject: subject.map(str::to_owned),
            route: first(&route),
        }
    }

    /// The owner of a response whose name is known, with its route.
    pub(crate) fn of(subject: Option<&str>, name: Name) -> Self {
        Self {
            subject: subject.map(str::to_owned),
            route: name.route,
        }
    }

    /// A name that nobody has.
    pub(crate) fn new_name(&self) -> Result<Name, getrandom::Error> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret)?;
        let route = self.route;
        Ok(Name { secret, route })
    }

    /// The name of the response that the application calls `key`.
    pub(crate) fn name_of(&self, key: &str) -> Name {
        let subject = self.subject_bytes();
        let secret = digest("key", &[key.as_bytes(), &subject, &self.route]);
        Name {
            secret: first(&secret),
            route: self.route,
        }
    }

    /// Where the response is found, if it is of this owner; that of another one is not there.
    pub(crate) fn topic(&self, name: Name) -> TopicName {
        // The route of this owner, whatever the name says.
        let parts: [&[u8]; 3] = [&name.secret, &self.route, &self.subject_bytes()];
        let hash: [u8; 24] = first(&digest("topic", &parts));
        let topic = format!("recorded/{}", BASE64_URL_SAFE_NO_PAD.encode(hash));
        TopicName::new(topic).expect("base64 for URLs has characters of topic names only")
    }

    /// Tells nobody in particular from a subject without a name.
    fn subject_bytes(&self) -> Vec<u8> {
        match &self.subject {
            Some(subject) => [b"=", subject.as_bytes()].concat(),
            None => Vec::new(),
        }
    }
}

/// Parts are told apart by their lengths, and what they are for by `purpose`.
fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"tower-sse ");
    for part in [purpose.as_bytes()].iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|at| hash[at])
}

/// What all ids of the response begin with.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 22];
        bytes[..16].copy_from_slice(&self.secret);
        bytes[16..].copy_from_slice(&self.route);
        write!(f, "{PREFIX}{}.", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl RecordedId {
    /// `None` for an id that is somebody else's.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        match id {
            ENDED => return Some(Self::Ended),
            UNRECORDED => return Some(Self::Unrecorded),
            _ => {}
        }
        let (name, at) = id.strip_prefix(PREFIX)?.split_once('.')?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(name).ok()?;
        let (secret, route) = bytes.split_at_checked(16)?;
        let name = Name {
            secret: secret.try_into().ok()?,
            route: route.try_into().ok()?,
        };
        Some(Self::At(name, at.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Epoch;

    const AT: Position = Position::new(Epoch::new(0x9f2c), 42);

    #[test]
    fn an_id_is_read_back_and_nothing_else_is_taken_for_one() {
        let name = Owner::new(Some("alice"), "/chat").new_name();
        let name = name.expect("the system has random bytes");
        let id = format!("{name}{AT}");
        assert_eq!(RecordedId::parse(&id), Some(RecordedId::At(name, AT)));
        assert_eq!(RecordedId::parse(ENDED), Some(RecordedId::Ended));
        let unrecorded = RecordedId::parse(UNRECORDED);
        assert_eq!(unrecorded, Some(RecordedId::Unrecorded));
        assert!(id.len() < 64 && id.bytes().all(|byte| byte.is_ascii_graphic()));
        let foreign = [
            "",
            "r.",
            "9f2c-42",
            "r.ended2",
            "r.AAAA.9f2c-42",
            "r..9f2c-42",
        ];
        let cut = &id[..id.len() - 3];
        let other = id.replace('.', ":");
        for id in foreign.into_iter().chain([cut, &other]) {
            assert_eq!(RecordedId::parse(id), None, "{id}");
        }
    }

    #[test]
    fn only_its_owner_finds_a_response_and_only_on_its_route() {
        let alice = Owner::new(Some("alice"), "/chat");
        let name = alice.new_name().expect("the system has random bytes");
        let topic = alice.topic(name);
        assert_eq!(Owner::of(Some("alice"), name).topic(name), topic);
        for other in [
            Owner::new(Some("bob"), "/chat"),
            Owner::new(Some(""), "/chat"),
            Owner::new(None, "/chat"),
            Owner::new(Some("alice"), "/other"),
        ] {
            assert_ne!(other.topic(name), topic, "{other:?}");
            assert_ne!(other.name_of("key"), alice.name_of("key"), "{other:?}");
        }
        // A name with the route of another one is another name.
        let forged = Name {
            route: Owner::new(None, "/other").route,
            ..name
        };
        assert_ne!(Owner::of(Some("alice"), forged).topic(forged), topic);
        assert_eq!(alice.name_of("key"), alice.name_of("key"));
        assert_ne!(alice.name_of("key"), alice.name_of("other"));
    }
}
