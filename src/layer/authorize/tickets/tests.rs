//! What tickets carry, how long they hold, and what is no ticket.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [7; 32];
const OTHER: [u8; 40] = [8; 40];

fn tickets() -> Tickets {
    Tickets::new(KEY).unwrap()
}

fn at(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_nanos(nanos)
}

fn alice() -> Grant {
    Grant::new().subject("alice")
}

fn topic(name: &'static str) -> TopicName {
    TopicName::from_static(name)
}

/// A ticket with this content, signed as ours are.
fn of_content(content: &str) -> String {
    let signature = signed(&tickets().keys[0], None, content.as_bytes()).finalize();
    let bytes = [&signature.into_bytes()[..], content.as_bytes()].concat();
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[track_caller]
fn refused(ticket: &str, why: InvalidTicket) {
    let read = tickets().read(ticket, &[None], at(0));
    assert_eq!(read.map(|_| ()), Err(why), "{ticket}");
}

#[test]
fn ticket_carries_the_grant() {
    let grant = alice()
        .id("jti \"1\"\n\u{1f980}")
        .expires_at(at(5_000_000_000))
        .topics(["news", "user/alice"])
        .not_before(NotBefore::Id(EventId::from_static("a-1")))
        .not_before(NotBefore::Time(at(4_000_000)))
        .not_before(NotBefore::Id(EventId::from_static("b-2")))
        .not_before(NotBefore::Time(at(3_000_000)))
        .with(7_u8);
    let ticket = tickets().sign(&grant, None, at(0)).unwrap();
    let url_safe = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    assert!(ticket.bytes().all(url_safe), "{ticket}");
    let read = tickets().read(&ticket, &[None], at(0)).unwrap();
    assert_eq!(read.subject_name(), Some("alice"));
    assert_eq!(read.id_text(), grant.id_text());
    assert_eq!(read.expiry(), grant.expiry());
    assert!(read.allows(&topic("news")) && read.allows(&topic("user/alice")));
    assert!(!read.allows(&topic("user/bob")));
    assert_eq!(read.get::<u8>(), None);
    let ids = ["a-1", "b-2"].map(|id| NotBefore::Id(EventId::from_static(id)));
    assert_eq!(read.limits()[..2], ids);
    assert_eq!(read.limits()[2..], [NotBefore::Time(at(4_000_000))]);

    let ticket = tickets().sign(&Grant::new(), None, at(0)).unwrap();
    let read = tickets().read(&ticket, &[None], at(0)).unwrap();
    assert_eq!((read.subject_name(), read.id_text()), (None, None));
    assert_eq!(read.expiry(), None);
    assert!(read.allows(&topic("news")));

    assert_eq!(read.limits(), []);
    // A time is never made earlier.
    let since = Grant::new().not_before(NotBefore::Time(at(4_000_001)));
    let ticket = tickets().sign(&since, None, at(0)).unwrap();
    let read = tickets().read(&ticket, &[None], at(0)).unwrap();
    assert_eq!(read.limits(), [NotBefore::Time(at(5_000_000))]);

    // The list of none is not the lack of a list.
    let none = Grant::new().topics(Vec::<TopicName>::new());
    let ticket = tickets().sign(&none, None, at(0)).unwrap();
    let read = tickets().read(&ticket, &[None], at(0)).unwrap();
    assert!(!read.allows(&topic("news")));
}

#[test]
fn ticket_holds_for_its_time_and_not_longer() {
    const SECOND: u64 = 1_000_000_000;
    let seconds = Duration::from_secs;
    // Lifetime, when it is issued, when its grant ends, when it ends.
    for (lifetime, issued, grant, end) in [
        (seconds(60), 0, None, 60 * SECOND),
        (seconds(60), 0, Some(90 * SECOND), 60 * SECOND),
        (seconds(60), 0, Some(60 * SECOND), 60 * SECOND),
        (seconds(60), 0, Some(59 * SECOND), 59 * SECOND),
        (seconds(60), 1_999_999, None, 60 * SECOND + 1_000_000),
        (seconds(60), 0, Some(7_999_999), 7_000_000),
        (seconds(60), 6_999_999, Some(7_000_000), 7_000_000),
        (Duration::from_millis(1), 5_000_000, None, 6_000_000),
        (Duration::MAX, 0, Some(9 * SECOND), 9 * SECOND),
    ] {
        let tickets = tickets().lifetime(lifetime);
        let granted = match grant {
            Some(end) => alice().expires_at(at(end)),
            None => alice(),
        };
        let ticket = tickets.sign(&granted, None, at(issued)).unwrap();
        for (now, holds) in [
            (issued, true),
            (end - 1, true),
            (end, false),
            (end + 1, false),
            (end + 1000 * SECOND, false),
        ] {
            let read = tickets.read(&ticket, &[None], at(now));
            let expected = if holds {
                Ok(())
            } else {
                Err(InvalidTicket::Expired)
            };
            assert_eq!(read.map(|_| ()), expected, "{now} of {end}");
        }
    }
    for lifetime in [Duration::ZERO, Duration::from_nanos(999_999)] {
        let tickets = tickets().lifetime(lifetime);
        let ticket = tickets.sign(&alice(), None, at(0)).unwrap();
        let read = tickets.read(&ticket, &[None], at(0));
        assert_eq!(read.unwrap_err(), InvalidTicket::Expired);
    }
}

#[test]
fn times_out_of_range_are_no_harm() {
    let tickets = tickets().lifetime(Duration::MAX);
    for now in [UNIX_EPOCH, UNIX_EPOCH - Duration::from_secs(9), at(0)] {
        let ticket = tickets.sign(&alice(), None, now).unwrap();
        assert!(tickets.read(&ticket, &[None], now).is_ok());
    }
    let ended = alice().expires_at(UNIX_EPOCH - Duration::from_secs(9));
    let issued = tickets.sign(&ended, None, at(0));
    assert_eq!(issued.unwrap_err(), IssueError::Expired);
    let issued = tickets.sign(&alice().expires_at(at(3)), None, at(3));
    assert_eq!(issued.unwrap_err(), IssueError::Expired);
}

#[test]
fn ticket_that_was_changed_anywhere_is_none() {
    let grant = alice()
        .id("1")
        .expires_at(at(9_000_000_000))
        .topics(["news"]);
    let ticket = tickets().sign(&grant, None, at(0)).unwrap();
    assert!(tickets().read(&ticket, &[None], at(0)).is_ok());
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(&ticket).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            refused(
                &BASE64_URL_SAFE_NO_PAD.encode(&changed),
                InvalidTicket::Forged,
            );
        }
        let cut = InvalidTicket::Malformed;
        let cut = if at < SIGNATURE {
            cut
        } else {
            InvalidTicket::Forged
        };
        refused(&BASE64_URL_SAFE_NO_PAD.encode(&bytes[..at]), cut);
    }
    // Text that stands for the same bytes, or nearly.
    for end in 0..ticket.len() {
        assert!(tickets().read(&ticket[..end], &[None], at(0)).is_err());
    }
    for (before, after) in [
        ("", "="),
        ("", "=="),
        (" ", ""),
        ("", "\n"),
        ("", "A"),
        ("", "\0"),
    ] {
        let text = format!("{before}{ticket}{after}");
        assert!(tickets().read(&text, &[None], at(0)).is_err(), "{text:?}");
    }
}

#[test]
fn ticket_has_one_text_only() {
    // Of 1 to 3 bytes in the last group, so that unused bits come in all numbers.
    for subject in ["a", "ab", "abc"] {
        let ticket = tickets().sign(&Grant::new().subject(subject), None, at(0));
        let ticket = ticket.unwrap();
        let (start, last) = ticket.split_at(ticket.len() - 1);
        let others = (b'!'..=b'~')
            .map(char::from)
            .filter(|other| !last.starts_with(*other));
        for other in others {
            assert!(
                tickets()
                    .read(&format!("{start}{other}"), &[None], at(0))
                    .is_err()
            );
        }
    }
}

#[test]
fn what_is_no_ticket_is_refused() {
    let long = "A".repeat(Tickets::MAX_LEN + 4);
    let longest = "A".repeat(Tickets::MAX_LEN);
    for (text, why) in [
        ("", InvalidTicket::Malformed),
        ("ticket", InvalidTicket::Malformed),
        ("\u{1f980}\u{fffd}\0", InvalidTicket::Malformed),
        (&long, InvalidTicket::Malformed),
        (&longest, InvalidTicket::Forged),
        // A signature of nothing.
        (&"A".repeat(43), InvalidTicket::Forged),
        // A JWT without a signature.
        (
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
            InvalidTicket::Malformed,
        ),
    ] {
        refused(text, why);
    }
    // The key signs something else, too.
    let content = format!("[{},\"alice\",null,null,null,[],null]", u64::MAX);
    for prefix in ["", "\0"] {
        let mut plain: Hmac<Sha256> = Hmac::new_from_slice(&KEY).unwrap();
        plain.update(prefix.as_bytes());
        plain.update(content.as_bytes());
        let bytes = [&plain.finalize().into_bytes()[..], content.as_bytes()].concat();
        refused(&BASE64_URL_SAFE_NO_PAD.encode(bytes), InvalidTicket::Forged);
    }
    assert!(
        tickets()
            .read(&of_content(&content), &[None], at(0))
            .is_ok()
    );
}

#[test]
fn ticket_with_more_or_other_fields_is_refused() {
    let end = u64::MAX;
    for content in [
        String::new(),
        "{}".into(),
        "[]".into(),
        format!("[{end},null,null,null,null]"),
        format!("[{end},null,null,null,null,[]]"),
        format!("[{end},null,null,null,null,[],null,null]"),
        format!("[{end},null,null,null,[\"no topic\"],[],null]"),
        format!("[{end},null,null,null,null,[\"no id\"],null]"),
        format!("[{end},null,null,null,null,null,null]"),
        format!("[{end},null,null,-1,null,[],null]"),
        format!("[{end}0,null,null,null,null,[],null]"),
        format!("[{end},null,null,null,null,[],null]x"),
    ] {
        refused(&of_content(&content), InvalidTicket::Malformed);
    }
    let good = format!("[{end},null,null,null,null,[],null]");
    assert!(tickets().read(&of_content(&good), &[None], at(0)).is_ok());
}

#[test]
fn keys_can_be_changed() {
    let both = tickets().also(OTHER).unwrap();
    let other = Tickets::new(OTHER).unwrap();
    let old = other.sign(&alice(), None, at(0)).unwrap();
    let new = both.sign(&alice(), None, at(0)).unwrap();
    assert!(both.read(&old, &[None], at(0)).is_ok());
    assert!(both.read(&new, &[None], at(0)).is_ok());
    assert!(tickets().read(&new, &[None], at(0)).is_ok());
    refused(&old, InvalidTicket::Forged);
    let read = other.read(&new, &[None], at(0));
    assert_eq!(read.unwrap_err(), InvalidTicket::Forged);
    for len in [0, 31] {
        assert_eq!(Tickets::new(vec![1; len]).unwrap_err(), InvalidKey);
        assert_eq!(tickets().also(vec![1; len]).unwrap_err(), InvalidKey);
    }
}

#[test]
fn ticket_for_a_path_is_for_no_other() {
    let paths = [
        None,
        Some(""),
        Some("/"),
        Some("/a"),
        Some("/ab"),
        Some("/a/"),
    ];
    for issued in paths {
        let ticket = tickets().sign(&alice(), issued, at(0)).unwrap();
        for asked in paths {
            let read = tickets().read(&ticket, &[asked], at(0)).map(|_| ());
            let same = if asked == issued {
                Ok(())
            } else {
                Err(InvalidTicket::Forged)
            };
            assert_eq!(read, same, "{issued:?} {asked:?}");
        }
    }
    let request = |path: &str| RequestView::new("GET", path, None, std::iter::empty());
    let ticket = tickets().issue_for(&alice(), "/a").unwrap();
    assert!(tickets().verify_for(&ticket, &request("/a")).is_ok());
    assert!(tickets().verify_for(&ticket, &request("/b")).is_err());
    assert!(tickets().verify(&ticket).is_err());
    let ticket = tickets().issue(&alice()).unwrap();
    assert!(tickets().verify_for(&ticket, &request("/b")).is_ok());
    assert!(tickets().verify(&ticket).is_ok());
}

#[test]
fn ticket_of_an_open_stream_is_as_good_as_it_was() {
    let tickets = tickets().lifetime(Duration::from_millis(2));
    let request = RequestView::new("GET", "/", None, std::iter::empty());
    let ticket = tickets.sign(&alice(), None, request.came_at()).unwrap();
    while tickets.verify(&ticket).is_ok() {
        std::thread::yield_now();
    }
    assert!(tickets.verify_for(&ticket, &request.clone()).is_ok());
    let next = RequestView::new("GET", "/", None, std::iter::empty());
    let read = tickets.verify_for(&ticket, &next);
    assert_eq!(read.unwrap_err(), InvalidTicket::Expired);
}

#[test]
fn grant_that_cannot_be_carried_gets_no_ticket() {
    let rule = alice().topics(["news"]).topics_where(|_| true);
    let issued = tickets().sign(&rule, None, at(0));
    assert_eq!(issued.unwrap_err(), IssueError::TopicRule);
    let mut issued = 0;
    for len in 2900..3100 {
        let long = Grant::new().subject("a".repeat(len));
        match tickets().sign(&long, None, at(0)) {
            Ok(ticket) => {
                assert!(ticket.len() <= Tickets::MAX_LEN);
                assert!(tickets().read(&ticket, &[None], at(0)).is_ok());
                issued += 1;
            }
            Err(error) => assert_eq!(error, IssueError::TooLong),
        }
    }
    assert!((1..199).contains(&issued), "{issued}");
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", tickets().also(OTHER).unwrap());
    assert_eq!(shown, "Tickets { keys: 2, lifetime: 60s }");
}

proptest! {
    #[test]
    fn any_subject_and_id_come_back(subject in any::<String>(), id in any::<String>()) {
        let grant = Grant::new().subject(&*subject).id(&*id);
        let ticket = tickets().sign(&grant, Some("/"), at(0)).unwrap();
        let read = tickets().read(&ticket, &[None, Some("/")], at(0)).unwrap();
        prop_assert_eq!(read.subject_name(), Some(&*subject));
        prop_assert_eq!(read.id_text(), Some(&*id));
    }

    #[test]
    fn no_text_panics(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        prop_assert!(tickets().verify(&text).is_err());
        prop_assert!(tickets().verify(&encoded).is_err());
    }
}
