//! What breaks under load, and what clients and publishers then see.

use std::{fs, path::Path, time::Duration};

use tokio::time::sleep;

use crate::{
    hub::Hub,
    load::{Load, Summary},
    proxy::Proxy,
    redis::{Redis, url},
};

const AWAY: Duration = Duration::from_secs(10);
const MIB: u64 = 1024 * 1024;

/// Two hubs on one Redis.
fn hubs(url: &str) -> [Hub; 2] {
    [(); 2].map(|()| Hub::start(&["--store", url]))
}

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

/// Runs a load while `fault` goes on with the two hubs of this Redis.
async fn under_load(redis: &mut Redis, fault: impl AsyncFnOnce(&mut Redis, &[Hub])) -> Summary {
    let hubs = hubs(&redis.url());
    let load = Load::start(&hubs).await;
    fault(redis, &hubs).await;
    load.more().await;
    let summary = load.finish().await;
    summary.nobody_was_disconnected();
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_restarted_with_its_data() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let summary = under_load(&mut redis, async |redis, hubs| {
        redis.kill();
        away(hubs, AWAY / 2).await;
        redis.restart();
    })
    .await;
    summary.nothing_is_missing();
    assert!(summary.refused > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_restarted_without_its_data() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let summary = under_load(&mut redis, async |redis, hubs| {
        redis.kill();
        away(hubs, AWAY / 2).await;
        redis.replace(None);
        redis.restart();
    })
    .await;
    assert!(summary.gaps.contains_key("unknown"), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_restarted_with_an_older_copy_of_its_data() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let hubs = hubs(&redis.url());
    let load = Load::start(&hubs).await;
    let older = redis.copy();
    load.more().await;
    redis.kill();
    away(&hubs, AWAY / 2).await;
    redis.replace(Some(older));
    redis.restart();
    load.more().await;
    let summary = load.finish().await;
    summary.nobody_was_disconnected();
    assert!(!summary.gaps.is_empty(), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_paused() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let summary = under_load(&mut redis, async |redis, hubs| {
        redis.signal("STOP");
        away(hubs, AWAY).await;
        redis.signal("CONT");
    })
    .await;
    summary.nothing_is_missing();
    assert!(summary.unknown > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_cut() {
    let Some(redis) = Redis::start() else { return };
    let proxy = Proxy::start(redis.port()).await;
    let hubs = hubs(&url(proxy.port()));
    let load = Load::start(&hubs).await;
    proxy.cut();
    away(&hubs, AWAY).await;
    proxy.heal();
    load.more().await;
    let summary = load.finish().await;
    summary.nobody_was_disconnected();
    summary.nothing_is_missing();
    assert!(summary.unknown > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_lost() {
    let Some(redis) = Redis::start() else { return };
    let proxy = Proxy::start(redis.port()).await;
    let hubs = hubs(&url(proxy.port()));
    let load = Load::start(&hubs).await;
    for _ in 0..5 {
        proxy.swallow_answers();
        sleep(Duration::from_millis(100)).await;
        proxy.reset();
        sleep(Duration::from_millis(100)).await;
        proxy.heal();
        load.more().await;
    }
    let summary = load.finish().await;
    summary.nobody_was_disconnected();
    summary.nothing_is_missing();
    assert!(summary.unknown > 0, "{summary:?}");
    assert!(summary.unknown_delivered > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hub_killed_and_restarted() {
    let Some(redis) = Redis::start() else { return };
    let mut hubs = hubs(&redis.url());
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
