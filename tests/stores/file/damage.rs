//! Files that are not what the store has written, and files that are in use.

use std::process::{Command, Stdio};

use futures_util::FutureExt;
use redb::{Database, TableDefinition};
use tower_sse::store::StoreError;

use super::*;

const CHILD: &str = "TOWER_SSE_SECOND";

fn open_error(path: &Path) -> StoreError {
    FileStore::open(path).expect_err("opened")
}

#[track_caller]
fn check_is_damaged_and_left_alone(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let error = open_error(path);
    assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error:?}");
    assert_eq!(fs::read(path).unwrap(), before, "{error:?}");
    told(&error)
}

#[test]
fn files_of_others_are_refused() {
    let directory = Directory::new();
    let path = directory.file();
    let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(100_000)
        .collect();
    for bytes in [
        &b""[..],
        b"\0",
        b"redb",
        b"some text\n",
        &[0; 5000],
        &random,
        b"SQLite format 3\0",
    ] {
        fs::write(&path, bytes).unwrap();
        check_is_damaged_and_left_alone(&path);
    }
}

#[test]
fn databases_of_others_and_other_formats_are_refused() {
    let directory = Directory::new();
    let path = directory.file();
    let insert = |name, number: u64| {
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = TableDefinition::<&str, u64>::new(name);
        let mut open = transaction.open_table(table).unwrap();
        open.insert("format", number).unwrap();
        drop(open);
        transaction.commit().unwrap();
    };
    insert("of another", 1);
    assert_eq!(open_error(&path).kind(), StoreErrorKind::Damaged);
    fs::remove_file(&path).unwrap();
    drop(FileStore::open(&path).unwrap());
    insert("tower-sse", 2);
    let error = open_error(&path);
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
    let message = told(&error);
    assert!(
        message.contains("the file has format 2, this version reads 1"),
        "{message}"
    );
}

#[test]
fn a_place_that_cannot_be_is_unavailable() {
    let directory = Directory::new();
    for path in [
        directory.0.clone(),
        directory.0.join("none/events"),
        PathBuf::from("/"),
        PathBuf::new(),
    ] {
        let error = open_error(&path);
        assert_eq!(
            error.kind(),
            StoreErrorKind::Unavailable,
            "{path:?}: {error:?}"
        );
    }
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
}

async fn sample(path: &Path) -> Vec<u8> {
    let store = FileStore::open(path).unwrap();
    append_each(&store, 0..20).await;
    stored(&store, &TOPIC, Append::new((20..300).map(event))).await;
    drop(store);
    fs::read(path).unwrap()
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_refused() {
    let directory = Directory::new();
    let path = directory.file();
    let whole = sample(&path).await;
    let mut lengths = vec![0, 1, 8, 9, 100, 511, 512, 4095, 4096, whole.len() - 1];
    lengths.extend((0..whole.len()).step_by(4096 * 4));
    lengths.extend((0..20).map(|_| fastrand::usize(..whole.len())));
    for length in lengths {
        fs::write(&path, &whole[..length]).unwrap();
        let error = open_error(&path);
        assert_eq!(error.kind(), StoreErrorKind::Damaged, "{length}: {error:?}");
    }
    fs::write(&path, &whole).unwrap();
    let store = FileStore::open(&path).unwrap();
    assert_eq!(texts(&store, ReadFrom::Oldest).await, numbers(0..300));
}

#[tokio::test]
async fn a_file_with_a_wrong_bit_is_refused_or_was_not_touched() {
    let directory = Directory::new();
    let path = directory.file();
    let whole = sample(&path).await;
    let used: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
    let mut refused = 0;
    for _ in 0..crate::sizes(150, 3000) {
        let at = used[fastrand::usize(..used.len())];
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << fastrand::u32(..8);
        fs::write(&path, &bytes).unwrap();
        match FileStore::open(&path) {
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Damaged, "{at}: {error:?}");
                assert_eq!(fs::read(&path).unwrap(), bytes, "{at}: not left alone");
                refused += 1;
            }
            Ok(store) => {
                let read = texts(&store, ReadFrom::Oldest).await;
                assert_eq!(read, numbers(0..300), "byte {at}");
            }
        }
    }
    assert!(refused > 0);
}

/// What a power cut leaves: of what was written since the last `fsync`, any sectors.
#[tokio::test]
async fn a_commit_that_was_cut_off_is_there_as_a_whole_or_not_at_all() {
    const SECTOR: usize = 512;
    let directory = Directory::new();
    let (path, cut) = (directory.file(), directory.0.join("cut"));
    let store = FileStore::options().max_events(count(40)).open(&path);
    let store = store.unwrap();
    let (mut next, mut kept, mut undone) = (0, 0, 0);
    for round in 0..crate::sizes(60, 600) {
        // Nothing of the first is undone, and all of the second; of the others it is some.
        let is_undone = || match round {
            0 => false,
            1 => true,
            _ if round % 2 == 0 => fastrand::u8(..4) == 0,
            _ => fastrand::u8(..32) == 0,
        };
        let before = fs::read(&path).unwrap();
        let end = next + fastrand::u64(1..30);
        stored(&store, &TOPIC, Append::new((next..end).map(event))).await;
        let mut torn = fs::read(&path).unwrap();
        // It is cut after the commit only.
        torn.extend(before.get(torn.len()..).unwrap_or_default());
        let (mut changed, mut undone_sectors) = (0, Vec::new());
        for (at, sector) in torn.chunks_mut(SECTOR).enumerate() {
            let old = before.get(at * SECTOR..at * SECTOR + sector.len());
            if let Some(old) = old.filter(|old| *old != sector) {
                changed += 1;
                if is_undone() {
                    sector.copy_from_slice(old);
                    undone_sectors.push(at);
                }
            }
        }
        fs::write(&cut, &torn).unwrap();
        let what = format!(
            "{undone_sectors:?} of {changed} undone, {} bytes, {} before",
            torn.len(),
            before.len()
        );
        let opened = FileStore::open(&cut);
        let opened = opened.unwrap_or_else(|error| panic!("{what}: {}", told(&error)));
        let read = texts(&opened, ReadFrom::Oldest).await;
        let retained = |end: u64| numbers(end.saturating_sub(40)..end);
        match read == retained(end) {
            true => kept += 1,
            false => {
                assert!(
                    !undone_sectors.is_empty(),
                    "nothing was cut off, and {read:?} is read"
                );
                assert_eq!(read, retained(next), "{what}");
                undone += 1;
            }
        }
        next = end;
    }
    assert!(kept > 0 && undone > 0, "{kept} kept, {undone} undone");
}

#[tokio::test]
async fn a_file_is_open_once_and_can_be_opened_again_at_once() {
    let directory = Directory::new();
    let path = directory.file();
    for round in 0..20 {
        let store = FileStore::open(&path).unwrap();
        let error = open_error(&path);
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(told(&error).contains("open already"), "{error:?}");
        append(&store, round).await;
    }
    // Also where a read is under way, and an append that nobody waits for.
    for _ in 0..20 {
        let store = FileStore::open(&path).unwrap();
        let dropped = Append::new([event("dropped")]);
        drop(store.append(&TOPIC, dropped).now_or_never());
        drop(store.read(&TOPIC, ReadFrom::Oldest, ALL).now_or_never());
    }
}

#[test]
fn opens_what_another_process_has_open() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let error = open_error(Path::new(&path));
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(told(&error).contains("open already"), "{error:?}");
}

#[test]
fn another_process_cannot_open_the_file() {
    let directory = Directory::new();
    let _store = FileStore::open(directory.file()).unwrap();
    let name = "file::damage::opens_what_another_process_has_open";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(CHILD, directory.file())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{output:?}"
    );
}
