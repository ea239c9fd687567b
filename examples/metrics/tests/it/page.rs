//! The dashboard's files.

use reqwest::Method;

use crate::{
    client::{STREAM, answer, get},
    service::{Framework, Service},
};

pub(crate) async fn page_and_all_it_names_is_served(framework: Framework) {
    let service = Service::start(framework, &[]);
    let page = answer(get(&service, "/")).await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(
        !policy.contains("http") && !policy.contains("unsafe"),
        "{policy}"
    );

    let mut paths = named(&page.text().await.unwrap());
    assert_eq!(paths.len(), 5, "{paths:?}");
    let modules = ["app.js", "charts.js"].map(|name| format!("assets/{name}"));
    for module in modules {
        let source = answer(get(&service, &format!("/{module}")))
            .await
            .text()
            .await
            .unwrap();
        let imports = source.lines().filter(|line| line.starts_with("import "));
        let imported = imports.filter_map(|line| line.split('"').nth(1));
        paths.extend(imported.map(|path| path.replace("./", "assets/")));
    }
    for path in paths {
        let response = answer(get(&service, &format!("/{path}"))).await;
        let kind = match path.rsplit_once('.') {
            Some((_, "css")) => "text/css",
            Some((_, "js")) => "text/javascript",
            _ => "text/plain",
        };
        assert_eq!(response.status(), 200, "{path}");
        let content_type = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(content_type, format!("{kind}; charset=utf-8"), "{path}");
        assert!(!response.text().await.unwrap().is_empty(), "{path}");
    }
}

pub(crate) async fn head_is_answered_like_get(framework: Framework) {
    let service = Service::start(framework, &[]);
    let http = reqwest::Client::new();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/assets/app.js", "text/javascript; charset=utf-8"),
        (STREAM, "text/event-stream"),
    ] {
        let response = answer(http.request(Method::HEAD, service.url(path))).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], kind, "{path}");
        assert!(response.bytes().await.unwrap().is_empty(), "{path}");
    }
}

fn named(page: &str) -> Vec<String> {
    let words = page.split('"');
    let assets = words.filter(|word| word.starts_with("assets/"));
    assets.map(str::to_owned).collect()
}
