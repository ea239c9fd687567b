//! Typed values to events and back.

use std::{collections::BTreeMap, error::Error, fmt::Debug};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tower_sse::{Event, EventName};

use crate::whatwg;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    cpu: f64,
    host: String,
}

impl Reading {
    fn new() -> Self {
        Self {
            cpu: 0.5,
            host: "a\nb".to_owned(),
        }
    }
}

const READING: &str = r#"{"cpu":0.5,"host":"a\nb"}"#;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Update {
    Reading(Reading),
    Alert {
        level: u8,
        text: String,
    },
    Moved(i32, i32),
    Nothing(),
    Empty {},
    Done,
    Maybe(Option<u8>),
    #[serde(rename = "renamed: ü")]
    Renamed,
    Nested(Box<Update>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Renamed {
    LoadAverage { one_minute: f32 },
    HostDown,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Reading(Reading),
    Alert { level: u8 },
    Done,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Reading(Reading),
    Moved(i32, i32),
    Alert { level: u8 },
    Done,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Reading(Reading),
    Moved(i32, i32),
    Text(String),
    Done,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Update);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    update: Option<Wrapped>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair(u8, Update);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    reading: Reading,
}

#[test]
fn value_is_named_by_its_variant_and_read_back() {
    #[track_caller]
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        value: T,
        name: &str,
        data: &str,
    ) {
        let event = Event::json(&value).expect("the value is an event");
        assert_eq!(
            (event.event_type(), event.data()),
            (name, data),
            "{value:?}"
        );
        let read = (name.to_owned(), data.to_owned(), String::new());
        assert_eq!(whatwg::parse(&event.encode()).events, [read], "{value:?}");
        assert_eq!(event.decode::<T>().expect("the event is a value"), value);
    }
    let alert = || Update::Alert {
        level: 3,
        text: "hot\r\n\r\nevent: x".to_owned(),
    };
    let alert_data = r#"{"level":3,"text":"hot\r\n\r\nevent: x"}"#;

    check(Update::Reading(Reading::new()), "Reading", READING);
    check(alert(), "Alert", alert_data);
    check(Update::Moved(1, -2), "Moved", "[1,-2]");
    check(Update::Nothing(), "Nothing", "[]");
    check(Update::Empty {}, "Empty", "{}");
    check(Update::Done, "Done", "null");
    check(Update::Maybe(None), "Maybe", "null");
    check(Update::Maybe(Some(1)), "Maybe", "1");
    check(Update::Renamed, "renamed: ü", "null");
    check(
        Update::Nested(Box::new(Update::Done)),
        "Nested",
        r#""Done""#,
    );
    check(
        Update::Nested(Box::new(Update::Moved(1, 2))),
        "Nested",
        r#"{"Moved":[1,2]}"#,
    );
    check(
        Renamed::LoadAverage { one_minute: 1.5 },
        "load-average",
        r#"{"oneMinute":1.5}"#,
    );
    check(Renamed::HostDown, "host-down", "null");

    check(Box::new(Update::Done), "Done", "null");
    check(Some(alert()), "Alert", alert_data);
    check(Some(Update::Done), "Done", "null");
    check(None::<Update>, "message", "null");
    check(Wrapped(alert()), "Alert", alert_data);
    check(Wrapped(Update::Done), "Done", "null");
    check(Some(Wrapped(Update::Maybe(None))), "Maybe", "null");
    check(
        Transparent {
            update: Some(Wrapped(Update::Done)),
        },
        "Done",
        "null",
    );
    check(Transparent { update: None }, "message", "null");

    check(
        Internal::Reading(Reading::new()),
        "message",
        r#"{"type":"Reading","cpu":0.5,"host":"a\nb"}"#,
    );
    check(
        Internal::Alert { level: 3 },
        "message",
        r#"{"type":"Alert","level":3}"#,
    );
    check(Internal::Done, "message", r#"{"type":"Done"}"#);
    check(
        Adjacent::Reading(Reading::new()),
        "message",
        r#"{"t":"Reading","c":{"cpu":0.5,"host":"a\nb"}}"#,
    );
    check(
        Adjacent::Moved(1, 2),
        "message",
        r#"{"t":"Moved","c":[1,2]}"#,
    );
    check(
        Adjacent::Alert { level: 3 },
        "message",
        r#"{"t":"Alert","c":{"level":3}}"#,
    );
    check(Adjacent::Done, "message", r#"{"t":"Done"}"#);
    check(Untagged::Reading(Reading::new()), "message", READING);
    check(Untagged::Moved(1, 2), "message", "[1,2]");
    check(
        Untagged::Text("a\r\nb".to_owned()),
        "message",
        r#""a\r\nb""#,
    );
    check(Untagged::Done, "message", "null");

    check(Reading::new(), "message", READING);
    check(
        Flat {
            id: 1,
            reading: Reading::new(),
        },
        "message",
        r#"{"id":1,"cpu":0.5,"host":"a\nb"}"#,
    );
    check(Pair(1, Update::Done), "message", r#"[1,"Done"]"#);
    check(
        (1, alert()),
        "message",
        &format!(r#"[1,{{"Alert":{alert_data}}}]"#),
    );
    check(vec![Update::Done], "message", r#"["Done"]"#);
    check(Unit, "message", "null");
    check((), "message", "null");
    check(String::new(), "message", r#""""#);
    check(
        "\n\r\u{feff}\0\u{2028}".to_owned(),
        "message",
        "\"\\n\\r\u{feff}\\u0000\u{2028}\"",
    );
    check('x', "message", r#""x""#);
    check(true, "message", "true");
    check(u64::MAX, "message", "18446744073709551615");
    check(
        i128::MIN,
        "message",
        "-170141183460469231731687303715884105728",
    );
    check(-0.5, "message", "-0.5");
    check(Some(7_u8), "message", "7");
    check(None::<u8>, "message", "null");
    check(
        BTreeMap::from([(1, 'a'), (2, 'b')]),
        "message",
        r#"{"1":"a","2":"b"}"#,
    );
    check(
        serde_json::json!({ "a": [1, null] }),
        "message",
        r#"{"a":[1,null]}"#,
    );
}

#[test]
fn value_without_a_name_takes_the_one_it_is_given() {
    #[track_caller]
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let event = Event::json(&value).expect("the value is an event");
        let event = event.name(EventName::from_static("given"));
        assert_eq!(event.event_type(), "given");
        assert_eq!(event.decode::<T>().expect("the event is a value"), value);
    }
    check(Reading::new());
    check("text".to_owned());
    check(7);
    check(());
    check(Some(7));
    check(Internal::Alert { level: 3 });
    check(Adjacent::Moved(1, 2));
    check(Untagged::Text("a".to_owned()));
    check(vec![Update::Done]);
}

#[test]
fn raw_json_keeps_its_line_breaks() {
    #[derive(Serialize, Deserialize)]
    enum Raw {
        Json(Box<RawValue>),
        Field { json: Box<RawValue> },
    }
    #[track_caller]
    fn check(json: &str) {
        let raw = || RawValue::from_string(json.to_owned()).expect("json");
        let lf = json.replace("\r\n", "\n").replace('\r', "\n");

        let bare = Event::json(&raw()).expect("raw json is an event");
        let [(name, data, _)] = &whatwg::parse(&bare.encode()).events[..] else {
            panic!("one event of {json:?}");
        };
        assert_eq!((&**name, data), ("message", &lf));
        let back: Box<RawValue> = bare.decode().expect("raw json");
        assert_eq!(back.get(), json);

        let variant = Event::json(&Raw::Json(raw())).expect("raw json is an event");
        let [(name, data, _)] = &whatwg::parse(&variant.encode()).events[..] else {
            panic!("one event of {json:?}");
        };
        assert_eq!((&**name, data), ("Json", &lf));
        let read = Event::new(&**data).name(EventName::new(name).expect("a name"));
        let Raw::Json(back) = read.decode().expect("a variant") else {
            panic!("the other variant");
        };
        assert_eq!(back.get(), lf);

        let field = Event::json(&Raw::Field { json: raw() }).expect("raw json is an event");
        let Raw::Field { json: back } = field.decode().expect("a variant") else {
            panic!("the other variant");
        };
        assert_eq!(back.get(), json);
    }
    check("{}");
    check("{\n  \"a\": [\n    1\n  ]\n}");
    check("[1,\r\n\r\n2,\r3\n,\n\r4]");
    check("\"data: x\"");
}

#[test]
fn value_that_cannot_be_an_event_is_an_error() {
    #[derive(Serialize)]
    enum Misnamed {
        #[serde(rename = "a\nb")]
        Lf,
        #[serde(rename = "a\rdata: x")]
        Cr(u8),
        #[serde(rename = "sse.open")]
        Ours { level: u8 },
        #[serde(rename = "")]
        Empty(u8, u8),
    }
    struct Failing;
    impl Serialize for Failing {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it does not want to"))
        }
    }
    #[track_caller]
    fn check<T: Serialize>(value: T) {
        let error = Event::json(&value).expect_err("the value is no event");
        let source = error.source().expect("why").to_string();
        assert!(
            !error.to_string().contains(&source),
            "{error} repeats {source}"
        );
    }
    check(Ok::<_, ()>(1));
    check(Err::<(), _>("broken"));
    check(Ok::<_, ()>(Update::Done));
    check(Some(Ok::<_, ()>(1)));
    check(BTreeMap::from([((1, 2), 3)]));
    check(BTreeMap::from([(vec![1], 2)]));
    check(Misnamed::Lf);
    check(Misnamed::Cr(1));
    check(Misnamed::Ours { level: 1 });
    check(Misnamed::Empty(1, 2));
    check(Failing);
    check((1, Failing));

    let after = Event::json(&Update::Moved(1, 2)).expect("a failure leaves nothing behind");
    assert_eq!((after.event_type(), after.data()), ("Moved", "[1,2]"));
}

#[test]
fn event_of_another_type_is_an_error() {
    #[track_caller]
    fn check<T: DeserializeOwned + Debug>(event: Event) {
        let error = event
            .decode::<T>()
            .expect_err("the event is of another type");
        assert!(error.source().is_some());
    }
    let named = |data: &'static str, name| Event::new(data).name(EventName::from_static(name));
    check::<Update>(Event::new("null"));
    check::<Update>(named("null", "Unknown"));
    check::<Update>(named("null", "done"));
    check::<Update>(named("1", "Done"));
    check::<Update>(named("[1]", "Moved"));
    check::<Update>(named("[1,2,3]", "Moved"));
    check::<Update>(named("[1,2] 3", "Moved"));
    check::<Update>(named("", "Done"));
    check::<Update>(named("{", "Alert"));
    check::<Reading>(Event::new("{}"));
    check::<u8>(Event::new("256"));
    check::<u8>(Event::new("1 2"));
    check::<String>(Event::new("text"));
    check::<String>(Event::new(""));
}
