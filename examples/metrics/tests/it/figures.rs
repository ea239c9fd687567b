//! What Prometheus and Grafana see.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{
    client::{Client, answer, get},
    service::{Framework, Service},
};

pub(crate) async fn figures_of_the_stream_are_served(framework: Framework) {
    let service = Service::start(framework, &[("METRICS_INTERVAL_MS", "10")]);
    let mut client = Client::connect(&service).await;
    client.next().await;
    let answer = answer(get(&service, "/metrics")).await;
    assert_eq!(answer.status(), 200);
    let content_type = answer.headers()["content-type"].to_str().unwrap();
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    let open = r#"tower_sse_streams_open{route="/api/metrics/stream"} 1"#;
    assert!(text.lines().any(|line| line == open), "{text}");
}

/// The names of our figures in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = text.split(|char| !is_name(char));
    words
        .filter(|word| word.starts_with("tower_sse_"))
        .collect()
}

#[test]
fn dashboard_shows_the_figures_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_to_string(root.join("../../src/lib.rs")).unwrap();
    let rows = docs
        .lines()
        .filter(|line| line.starts_with("//! | `tower_sse_"));
    let table: BTreeSet<_> = rows.flat_map(names).collect();
    assert_eq!(table.len(), 13, "{table:?}");
    // Those of the table are those of the code.
    let code = fs::read_to_string(root.join("../../src/meter/on.rs")).unwrap();
    assert_eq!(names(&code), table);

    let text = fs::read_to_string(root.join("grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut shown = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            for name in names(target["expr"].as_str().unwrap()) {
                let name = name.strip_suffix("_bucket").unwrap_or(name);
                assert!(table.contains(name), "{name} of {panel}");
                shown.insert(name.to_owned());
            }
        }
    }
    assert_eq!(shown.len(), table.len(), "{shown:?}");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let queries = variables
        .iter()
        .filter_map(|one| one["definition"].as_str());
    assert!(queries.flat_map(names).all(|name| table.contains(name)));
}
