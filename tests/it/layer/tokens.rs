//! Tokens are found wherever they stand, and shown nowhere.

use tower_sse::{RequestView, Secret, TokenFinder};

fn view(target: &str, headers: &[(&str, &[u8])]) -> RequestView {
    let mut request = http::Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    RequestView::from(&request.body(()).unwrap())
}

fn everywhere() -> TokenFinder {
    TokenFinder::new()
        .bearer()
        .cookie("session")
        .query("access_token")
}

#[track_caller]
fn check(finder: &TokenFinder, target: &str, headers: &[(&str, &[u8])], expected: &[&str]) {
    let request = view(target, headers);
    let found: Vec<Secret> = finder.all(&request).collect();
    let texts: Vec<&str> = found.iter().map(Secret::reveal).collect();
    assert_eq!(texts, expected);
    assert_eq!(finder.first(&request), found.first().cloned());
}

#[test]
fn all_tokens_are_found_in_the_order_of_the_places() {
    let finder = everywhere();
    check(&finder, "/", &[], &[]);
    check(&finder, "/?access_token=q", &[], &["q"]);
    check(
        &finder,
        "/?access_token=q%2B+1&access_token=r",
        &[
            ("cookie", b"other=1; session=\"c\""),
            ("authorization", b"bEaReR  b "),
            ("cookie", b"session=d;session=e"),
        ],
        &["b", "c", "d", "e", "q+ 1", "r"],
    );
    let backwards = TokenFinder::new().query("access_token").bearer();
    check(
        &backwards,
        "/?access_token=q",
        &[("authorization", b"Bearer b"), ("cookie", b"session=c")],
        &["q", "b"],
    );
    check(&TokenFinder::new(), "/?access_token=q", &[], &[]);
}

#[test]
fn what_is_no_token_hides_none() {
    let finder = everywhere();
    let most = "a".repeat(TokenFinder::MAX_LEN);
    let too_long = format!("Bearer {most}a");
    let with_most = format!("/?access_token={most}");
    for (name, value) in [
        ("authorization", &b"Bearer "[..]),
        ("authorization", b"Bearer"),
        ("authorization", b"Basic YTpi"),
        ("authorization", b"Bearer \xff"),
        ("authorization", too_long.as_bytes()),
        ("cookie", b"session"),
        ("cookie", b"session="),
        ("cookie", b"session=\"\""),
        ("cookie", b";;=;\xff"),
        ("cookie", b"session=\xff"),
    ] {
        check(&finder, "/?access_token=q", &[(name, value)], &["q"]);
    }
    check(&finder, &with_most, &[], &[&most]);
    check(&finder, &format!("{with_most}a"), &[], &[]);
    check(&finder, "/?access_token&access_token=", &[], &[]);
    // A cookie that another service has set beside ours.
    check(
        &finder,
        "/",
        &[("cookie", b"theirs=\xff\xfe; session=c")],
        &["c"],
    );
    check(&finder, "/?access_token=%ff", &[], &["\u{fffd}"]);
}

#[test]
fn few_of_a_place_are_looked_at() {
    let cookies = "session=c; ".repeat(1000);
    let query = format!("/?{}", "access_token=q&".repeat(1000));
    let headers: [(&str, &[u8]); 2] = [
        ("cookie", cookies.as_bytes()),
        ("authorization", b"Bearer b"),
    ];
    let expected = ["b", "c", "c", "c", "c", "q", "q", "q", "q"];
    check(&everywhere(), &query, &headers, &expected);
}

#[test]
fn secret_is_compared_and_not_shown() {
    let secret = Secret::new("tell nobody");
    for (text, same) in [
        ("tell nobody", true),
        ("tell nobodz", false),
        ("Tell nobody", false),
        ("tell nobody ", false),
        ("", false),
    ] {
        assert_eq!(secret == *text, same, "{text}");
        assert_eq!(secret == Secret::new(text), same, "{text}");
    }
    let finder = everywhere();
    let request = view(
        "/?access_token=tell",
        &[
            ("cookie", b"session=nobody"),
            ("authorization", b"Bearer x1x2"),
        ],
    );
    let found: Vec<Secret> = finder.all(&request).collect();
    assert_eq!(found.len(), 3);
    let shown = format!("{secret:?} {secret:#?} {found:?} {request:?}");
    for secret in ["tell", "nobody", "x1x2"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
