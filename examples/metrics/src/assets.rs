//! The dashboard's files, compiled in.

/// One file of the dashboard.
#[derive(Debug)]
pub struct Asset {
    /// Where it is served.
    pub path: &'static str,
    /// What it holds.
    pub body: &'static str,
    content_type: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// All files: the page at `/` and what it loads.
pub static ASSETS: [Asset; 9] = [
    Asset::new("/", HTML, include_str!("../page/index.html")),
    Asset::new("/assets/style.css", CSS, include_str!("../page/style.css")),
    Asset::new("/assets/app.js", JS, include_str!("../page/app.js")),
    Asset::new("/assets/charts.js", JS, include_str!("../page/charts.js")),
    Asset::new(
        "/assets/connection.js",
        JS,
        include_str!("../page/connection.js"),
    ),
    Asset::new("/assets/history.js", JS, include_str!("../page/history.js")),
    Asset::new(
        "/assets/uPlot.iife.min.js",
        JS,
        include_str!("../vendor/uPlot.iife.min.js"),
    ),
    Asset::new(
        "/assets/uPlot.min.css",
        CSS,
        include_str!("../vendor/uPlot.min.css"),
    ),
    Asset::new(
        "/assets/uPlot.LICENSE",
        TEXT,
        include_str!("../vendor/uPlot.LICENSE"),
    ),
];

impl Asset {
    const fn new(path: &'static str, content_type: &'static str, body: &'static str) -> Self {
        Self {
            path,
            body,
            content_type,
        }
    }

    /// The headers that it is served with: nothing comes from another host, and the page's address,
    /// which may hold a token, is told to nobody.
    pub fn headers(&self) -> [(&'static str, &'static str); 5] {
        [
            ("content-type", self.content_type),
            ("cache-control", "no-cache"),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                 img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ]
    }
}
