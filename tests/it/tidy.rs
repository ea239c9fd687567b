//! House rules that no other tool checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

const PLACES: [&str; 4] = ["src", "tests", "examples", "benches"];
/// Text of others, kept as it came.
const FOREIGN: [&str; 2] = ["examples/metrics/vendor/", "tests/vendor/"];
const MOST_LINES: usize = 500;
// Put together, so that this file is no offender.
const LEFTOVERS: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("dbg", "!("),
];
const MACHINES: [&str; 2] = [concat!("/ro", "ot/"), concat!("/ho", "me/")];

#[test]
fn files_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for place in PLACES {
        collect(&root.join(place), &mut files);
    }
    let mut offences = Vec::new();
    let mut seen = 0;
    for file in files {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap();
        if FOREIGN.iter().any(|foreign| name.starts_with(foreign)) {
            continue;
        }
        if let Ok(text) = String::from_utf8(fs::read(&file).unwrap()) {
            seen += 1;
            offences.extend(offences_in(name, &text));
        }
    }
    assert!(seen > 0);
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn offences_are_found() {
    #[track_caller]
    fn check(name: &str, text: &str, expected: &[&str]) {
        assert_eq!(offences_in(name, text), expected, "{name}");
    }
    let [later, machine] = [LEFTOVERS[0], MACHINES[0]];
    check("src/a.rs", "//! A.\n", &[]);
    check("src/lib.rs", "#![doc = \"A.\"]\n", &[]);
    check("src/a/mod.rs", "//! A.\n", &["src/a/mod.rs: is a `mod.rs`"]);
    check(
        "src/a.rs",
        "fn a() {}\n",
        &["src/a.rs: does not begin with its docs"],
    );
    check(
        "src/a.rs",
        "//! A.\n//! \n\tb\n",
        &[
            "src/a.rs:2: space at the end of the line",
            "src/a.rs:3: tab",
        ],
    );
    check(
        "tests/a.rs",
        &format!("// {later}\n"),
        &[&format!("tests/a.rs:1: {later}")],
    );
    check(
        "tests/a.js",
        &format!("\t\"{machine}a\"\n"),
        &[&format!("tests/a.js:1: {machine}")],
    );
    check("tests/a.rs", &"\n".repeat(MOST_LINES + 1), &[]);
    check("src/a.rs", &"//!\n".repeat(MOST_LINES), &[]);
    check(
        "src/a.rs",
        &"//!\n".repeat(MOST_LINES + 1),
        &["src/a.rs: more than 500 lines"],
    );
}

fn collect(place: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

fn offences_in(name: &str, text: &str) -> Vec<String> {
    let is_rust = name.ends_with(".rs");
    let mut offences = Vec::new();
    if name.ends_with("/mod.rs") {
        offences.push(format!("{name}: is a `mod.rs`"));
    }
    if name.starts_with("src/") {
        let with_docs = text.starts_with("//!") || text.starts_with("#![doc");
        if is_rust && !with_docs {
            offences.push(format!("{name}: does not begin with its docs"));
        }
        if text.lines().count() > MOST_LINES {
            offences.push(format!("{name}: more than {MOST_LINES} lines"));
        }
    }
    for (at, line) in (1..).zip(text.lines()) {
        let mut offence = |what: &str| offences.push(format!("{name}:{at}: {what}"));
        if is_rust && line.contains('\t') {
            offence("tab");
        }
        if line.trim_end() != line {
            offence("space at the end of the line");
        }
        for word in LEFTOVERS.iter().chain(&MACHINES) {
            if line.contains(word) {
                offence(word);
            }
        }
    }
    offences
}
