//! How the processes start and end.

use std::{
    io::Read,
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::task::spawn_blocking;

use crate::{
    client::Client,
    service::{Framework, PATIENCE, Service, wait},
};

pub(crate) async fn unusable_settings_are_one_clear_line(framework: Framework) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();

    let cases: [(&[(&str, &str)], &str); 12] = [
        (&[("PORT", &port)], &address),
        (&[("PORT", "http")], "PORT"),
        (&[("PORT", "65536")], "PORT"),
        (&[("PORT", "-1")], "PORT"),
        (&[("PORT", "")], "PORT"),
        (&[("PORT", "30\n00")], "PORT"),
        (&[("METRICS_INTERVAL_MS", "0")], "METRICS_INTERVAL_MS"),
        (&[("METRICS_INTERVAL_MS", "2s")], "METRICS_INTERVAL_MS"),
        (&[("METRICS_TOKEN", "")], "METRICS_TOKEN"),
        (&[("METRICS_TOKEN", "sec ret")], "METRICS_TOKEN"),
        (&[("METRICS_OTHER_TOKEN", "secret")], "METRICS_OTHER_TOKEN"),
        (
            &[
                ("METRICS_TOKEN", "secret"),
                ("METRICS_OTHER_TOKEN", "secret"),
            ],
            "METRICS_OTHER_TOKEN",
        ),
    ];
    for (settings, named) in cases {
        let mut command = framework.command(settings);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let status = wait(&mut child, PATIENCE);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
        child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{settings:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{settings:?}: {stderr}");
        assert!(stderr.contains(named), "{settings:?}: {stderr}");
        assert!(!stderr.contains("sec"), "{settings:?}: {stderr}");
        assert_eq!(stdout, "", "{settings:?}");
    }
}

pub(crate) async fn signal_ends_it_and_its_clients_are_told(framework: Framework) {
    for (signal, clients) in [("INT", 1), ("TERM", 1_000)] {
        let mut service = Service::start(framework, &[]);
        let mut open = Vec::new();
        for _ in 0..clients {
            open.push(Client::connect(&service).await);
        }
        for client in &mut open {
            client.next().await;
        }
        let begin = Instant::now();
        service.signal(signal);
        // All at once: the process waits for nobody.
        let last = join_all(open.into_iter().map(Client::last));
        let (status, last) = tokio::join!(
            spawn_blocking(move || {
                let status = service.wait(Duration::from_secs(10));
                (status, begin.elapsed(), service)
            }),
            last
        );
        let (status, time, service) = status.unwrap();
        assert!(status.success(), "{signal}: {status}: {}", service.log());
        eprintln!("{framework:?}: {signal} ended it with {clients} clients in {time:?}");
        for block in last {
            assert_eq!(block.event, "sse.bye");
            assert_eq!(block.data["reason"], "draining");
        }
    }
}
