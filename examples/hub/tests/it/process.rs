//! How the process starts and ends.

use std::{io::Read, net::TcpListener, process::Stdio, time::Duration};

use crate::{
    client::{Client, get},
    hub::{Hub, PATIENCE, command, wait},
};

#[test]
fn unusable_arguments_are_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();

    let cases: [(&[&str], &str); 23] = [
        (&["--port", &port], &address),
        (&["--port", "http"], "--port"),
        (&["--port", "65536"], "--port"),
        (&["--port=-1"], "--port"),
        (&["--port"], "--port lacks its value"),
        (&["--port", "40\n00"], "--port"),
        (&["--store", "disk"], "--store"),
        (&["--store", ""], "--store"),
        (&["--store", "mysql://me:secret@localhost"], "--store"),
        (&["--store", "file:"], "--store"),
        (&["--store", "file:/nowhere/events"], "store is unavailable"),
        (
            &["--store", "nats://me:secret@127.0.0.1:1"],
            "store is unavailable",
        ),
        (
            &["--store", "postgres://me:secret@127.0.0.1:1/events"],
            "store is unavailable",
        ),
        (
            &["--store", "redis://:secret@127.0.0.1:1"],
            "store is unavailable",
        ),
        (&["--retain", "0"], "--retain"),
        (&["--retain", "many"], "--retain"),
        (&["--heartbeat", "-1"], "--heartbeat"),
        (&["--heartbeat", "15s"], "--heartbeat"),
        (&["--token", ""], "--token"),
        (&["--token", "sec ret"], "--token"),
        (&["--verbose"], "--verbose"),
        (&["memory"], "memory"),
        (&["--verbose\n"], "--help"),
    ];
    for (args, named) in cases {
        let (code, stdout, stderr) = run(args);
        assert_eq!(code, Some(1), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.contains(named), "{args:?}: {stderr}");
        assert!(!stderr.contains("sec"), "{args:?}: {stderr}");
        assert_eq!(stdout, "", "{args:?}");
    }
}

#[test]
fn help_names_every_argument_and_path() {
    let (code, stdout, stderr) = run(&["--port", "1", "--help"]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    let named = [
        "--port",
        "--store",
        "--retain",
        "--heartbeat",
        "--token",
        "memory",
        "file:PATH",
        "redis://HOST",
        "/topics/NAME",
        "/topics?topic=",
        "/stats",
        "from=",
    ];
    for name in named {
        assert!(stdout.contains(name), "{name}: {stdout}");
    }
}

#[tokio::test]
async fn signal_ends_it_with_a_stream_open() {
    for signal in ["INT", "TERM"] {
        let mut hub = Hub::start(&[]);
        let mut client = Client::open(get(&hub, "/topics/a")).await;
        client.expect("sse.open").await;
        hub.signal(signal);
        let status = hub.wait(Duration::from_secs(10));
        assert!(status.success(), "{signal}: {status}: {}", hub.log());
    }
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let mut child = command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = wait(&mut child, PATIENCE);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    (status.code(), stdout, stderr)
}
