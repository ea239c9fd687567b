//! A process that is killed, and one that cannot write, lose nothing that they have answered.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    process::{ChildStdout, Command, Stdio},
    sync::Arc,
};

use servers::Process;

use super::*;

const CHILD: &str = "TOWER_SSE_KILLED";
const TOPICS: [TopicName; 3] = [
    TopicName::from_static("a"),
    TopicName::from_static("b"),
    TopicName::from_static("c"),
];
/// Marks the lines of the child among those of the test harness.
const MARK: &str = "acknowledged ";

/// What one process was told: topic, position and text of each append.
type Acknowledged = Vec<(usize, Position, String)>;

/// Runs a test of this file in a process of its own, through `wrapper` if there is one.
fn spawn(wrapper: &[&str], test: &str, path: &Path) -> Process {
    let this = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(this),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    let child = command
        .args(["--exact", &format!("file::killed::{test}"), "--nocapture"])
        .env(CHILD, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    Process(child.unwrap())
}

fn lines(process: &mut Process) -> BufReader<ChildStdout> {
    BufReader::new(process.0.stdout.take().unwrap())
}

/// Reads lines until `enough` of them acknowledge something, or the process has ended.
fn acknowledged(lines: &mut impl BufRead, enough: usize) -> Acknowledged {
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    while acknowledged.len() < enough {
        line.clear();
        // The last line may be cut off.
        if lines.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        let Some((_, fields)) = line.split_once(MARK) else {
            continue;
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let position = fields[1].parse().unwrap();
        acknowledged.push((fields[0].parse().unwrap(), position, fields[2].to_owned()));
    }
    acknowledged
}

fn acknowledge(topic: usize, position: Position, text: &str) {
    let line = format!("\n{MARK}{topic} {position} {text}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

async fn check_all_is_there(path: &Path, acknowledged: &Acknowledged) {
    let store = FileStore::open(path).unwrap();
    let mut logs = Vec::new();
    for topic in &TOPICS {
        let read = store.read(topic, ReadFrom::Oldest, ALL).await.unwrap();
        let Read::Page(page) = read else {
            panic!("{read:?}");
        };
        let mut previous = page.start.offset();
        let mut log = HashMap::new();
        for record in &page.records {
            assert_eq!(record.previous_offset(), previous);
            previous = record.offset();
            log.insert(record.offset(), record.content().data().to_string());
        }
        let texts: std::collections::HashSet<_> = log.values().collect();
        assert_eq!(texts.len(), page.records.len(), "a record is there twice");
        logs.push((page.head.epoch(), log));
    }
    for (topic, position, text) in acknowledged {
        let (epoch, log) = &logs[*topic];
        assert_eq!(position.epoch(), *epoch);
        assert_eq!(log.get(&position.offset()), Some(text), "{position}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let options = FileStore::options().max_events(count(1_000_000));
    let store = Arc::new(options.open(path).unwrap());
    let process = std::process::id();
    let publishers = (0..8).map(|publisher| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0_u64.. {
                let topic = fastrand::usize(..TOPICS.len());
                let text = format!("{process}-{publisher}-{number}");
                let position = stored(&store, &TOPICS[topic], Append::new([event(&text)])).await;
                acknowledge(topic, position, &text);
            }
        })
    });
    futures_util::future::join_all(publishers).await;
}

#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    let directory = Directory::new();
    let mut all = Acknowledged::new();
    for round in 0..crate::sizes(25, 200) {
        let mut process = spawn(&[], "appends_until_it_is_killed", &directory.file());
        let mut lines = lines(&mut process);
        // Sometimes while it still opens the file, or makes it: whenever that is, all is to be well.
        if round % 4 == 0 {
            std::thread::sleep(Duration::from_micros(fastrand::u64(..30_000)));
        } else {
            all.extend(acknowledged(&mut lines, fastrand::usize(..300)));
        }
        process.0.kill().unwrap();
        all.extend(acknowledged(&mut lines, usize::MAX));
        assert_eq!(process.0.wait().unwrap().signal(), Some(9));
        if directory.file().exists() {
            check_all_is_there(&directory.file(), &all).await;
        }
    }
    assert!(all.len() > 100, "{} appends", all.len());
}

#[tokio::test]
async fn appends_until_it_cannot_write() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let store = FileStore::open(path).unwrap();
    for number in 0_u64.. {
        let text = format!("{number}-{}", "x".repeat(10_000));
        let append = || Append::new([event(&text)]);
        match store.append(&TOPICS[0], append()).await {
            Ok(Appended::Stored(position)) => {
                acknowledge(0, position, &text);
                continue;
            }
            Ok(conflict) => panic!("{conflict:?}"),
            Err(error) => assert!(matches!(
                error.kind(),
                StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
            )),
        }
        // It does not go on as if nothing had happened.
        for _ in 0..3 {
            let error = store.append(&TOPICS[1], append()).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            let error = store
                .read(&TOPICS[0], ReadFrom::Oldest, ALL)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            assert_eq!(store.head_now(&TOPICS[0]), None);
        }
        return;
    }
}

#[tokio::test]
async fn a_store_that_cannot_write_stops_and_has_lost_nothing() {
    let directory = Directory::new();
    let limited = [
        "sh",
        "-c",
        "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"",
    ];
    let mut process = spawn(&limited, "appends_until_it_cannot_write", &directory.file());
    let acknowledged = acknowledged(&mut lines(&mut process), usize::MAX);
    assert!(process.0.wait().unwrap().success());
    assert!(acknowledged.len() > 10, "{} appends", acknowledged.len());
    check_all_is_there(&directory.file(), &acknowledged).await;
}
