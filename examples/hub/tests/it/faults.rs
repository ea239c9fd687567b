//! What breaks under load, and what clients and publishers then see.

use std::{fs, path::Path, time::Duration};

use servers::{Network, Proxy, Server};
use tokio::time::sleep;

use crate::{
    backend::{Backend, hubs},
    hub::Hub,
    load::{Load, Summary},
};

/// Longer than a store waits for an answer.
const AWAY: Duration = Duration::from_secs(8);
const MIB: u64 = 1024 * 1024;

/// Waits for a time in which the store is away, and checks that the hubs neither spin nor grow.
async fn away(hubs: &[Hub], time: Duration) {
    let before: Vec<_> = hubs
        .iter()
        .map(|hub| (hub.cpu_time(), hub.memory()))
        .collect();
    sleep(time).await;
    for (hub, (cpu, memory)) in hubs.iter().zip(before) {
        let cpu = hub.cpu_time() - cpu;
        assert!(5 * cpu < time, "{cpu:?} in {time:?}: {}", hub.log());
        let grown = hub.memory().saturating_sub(memory);
        assert!(grown < 32 * MIB, "{grown} bytes more in {time:?}");
    }
}

on_each_server!(
    killed_and_restarted_with_its_data,
    killed_and_restarted_without_its_data,
    killed_and_restarted_with_an_older_copy_of_its_data,
    paused,
    network_cut,
    answers_lost,
    hub_killed_and_restarted,
);

/// Runs a load while `fault` goes on with the two hubs of this server.
async fn under_load<E: Backend>(
    server: &mut Server<E>,
    fault: impl AsyncFnOnce(&mut Server<E>, &[Hub], &Load),
) -> Summary {
    let hubs = hubs::<2>(&server.url());
    let load = Load::start(&hubs).await;
    fault(server, &hubs, &load).await;
    load.more().await;
    let summary = load.finish().await;
    summary.nobody_was_disconnected();
    summary
}

async fn killed_and_restarted_with_its_data<E: Backend>(mut server: Server<E>) {
    let fault = async |server: &mut Server<E>, hubs: &[Hub], load: &Load| {
        server.kill();
        away(hubs, AWAY / 2).await;
        load.refused().await;
        server.start_again();
    };
    let summary = under_load(&mut server, fault).await;
    summary.nothing_is_missing();
    assert!(summary.refused > 0, "{summary:?}");
}

async fn killed_and_restarted_without_its_data<E: Backend>(mut server: Server<E>) {
    let fault = async |server: &mut Server<E>, hubs: &[Hub], _: &Load| {
        server.kill();
        away(hubs, AWAY / 2).await;
        server.replace(None);
        server.start_again();
    };
    let summary = under_load(&mut server, fault).await;
    assert!(summary.gaps.contains_key("unknown"), "{summary:?}");
}

async fn killed_and_restarted_with_an_older_copy_of_its_data<E: Backend>(mut server: Server<E>) {
    let fault = async |server: &mut Server<E>, hubs: &[Hub], load: &Load| {
        let older = server.copy();
        load.more().await;
        server.kill();
        away(hubs, AWAY / 2).await;
        server.replace(Some(&older));
        server.start_again();
    };
    let summary = under_load(&mut server, fault).await;
    assert!(!summary.gaps.is_empty(), "{summary:?}");
}

async fn paused<E: Backend>(mut server: Server<E>) {
    let fault = async |server: &mut Server<E>, hubs: &[Hub], _: &Load| {
        server.pause();
        away(hubs, AWAY).await;
        server.go_on();
    };
    let summary = under_load(&mut server, fault).await;
    summary.nothing_is_missing();
    assert!(summary.unknown > 0, "{summary:?}");
}

async fn network_cut<E: Backend>(server: Server<E>) {
    let proxy = Proxy::to(server.port()).await;
    let hubs = hubs::<2>(&E::url(proxy.port()));
    let load = Load::start(&hubs).await;
    proxy.is(Network::Dead);
    away(&hubs, AWAY).await;
    proxy.is(Network::Whole);
    load.more().await;
    let summary = load.finish().await;
    summary.nobody_was_disconnected();
    summary.nothing_is_missing();
    assert!(summary.unknown > 0, "{summary:?}");
}

async fn answers_lost<E: Backend>(server: Server<E>) {
    let proxy = Proxy::to(server.port()).await;
    let hubs = hubs::<2>(&E::url(proxy.port()));
    let load = Load::start(&hubs).await;
    for _ in 0..3 {
        // What is published meanwhile is stored, and its answer lost.
        proxy.is(Network::Mute);
        sleep(Duration::from_millis(100)).await;
        proxy.is(Network::Cut);
        sleep(Duration::from_millis(100)).await;
        proxy.is(Network::Whole);
        load.more().await;
    }
    let summary = load.finish().await;
    summary.nobody_was_disconnected();
    summary.nothing_is_missing();
    assert!(summary.unknown > 0, "{summary:?}");
    assert!(summary.unknown_delivered > 0, "{summary:?}");
}

async fn hub_killed_and_restarted<E: Backend>(server: Server<E>) {
    let mut hubs = hubs::<2>(&server.url());
    let load = Load::start(&hubs).await;
    for at in [0, 1, 0] {
        hubs[at].kill_and_restart();
        load.moved(&hubs);
        load.more().await;
    }
    let summary = load.finish().await;
    summary.nothing_is_missing();
    assert!(summary.reconnects > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hub_in_memory_killed_and_restarted() {
    let mut hubs = [Hub::start(&["--retain", "100000"])];
    let load = Load::start(&hubs).await;
    hubs[0].kill_and_restart();
    load.moved(&hubs);
    load.more().await;
    let summary = load.finish().await;
    assert!(summary.gaps.contains_key("unknown"), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hub_on_a_file_killed_and_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let mut hubs = [hub_on_a_file(directory.path())];
    let load = Load::start(&hubs).await;
    for _ in 0..3 {
        hubs[0].kill_and_restart();
        load.moved(&hubs);
        load.more().await;
    }
    let summary = load.finish().await;
    summary.nothing_is_missing();
    assert!(summary.reconnects > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hub_on_a_file_killed_and_restarted_with_an_older_copy_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (file, older) = (
        directory.path().join("events"),
        directory.path().join("older"),
    );
    let mut hubs = [hub_on_a_file(directory.path())];
    let load = Load::start(&hubs).await;
    hubs[0].kill();
    fs::copy(&file, &older).unwrap();
    hubs[0].restart();
    load.moved(&hubs);
    load.more().await;
    hubs[0].kill();
    fs::copy(&older, &file).unwrap();
    hubs[0].restart();
    load.moved(&hubs);
    load.more().await;
    let summary = load.finish().await;
    assert!(!summary.gaps.is_empty(), "{summary:?}");
}

fn hub_on_a_file(directory: &Path) -> Hub {
    Hub::start(&[
        "--store",
        &format!("file:{}", directory.join("events").display()),
    ])
}
