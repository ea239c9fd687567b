//! Both binaries as processes, from outside: over HTTP, by signals, and in a real browser.

#![allow(clippy::unwrap_used)]

mod access;
mod client;
mod dashboard;
mod figures;
mod page;
mod process;
mod service;
mod stream;

/// Makes each function a test under either framework.
macro_rules! under_both {
    ($($module:ident: $($test:ident),+;)+) => {
        mod under_axum {
            $($(#[tokio::test] async fn $test() {
                crate::$module::$test(crate::service::Framework::Axum).await;
            })+)+
        }
        mod under_actix {
            $($(#[tokio::test] async fn $test() {
                crate::$module::$test(crate::service::Framework::Actix).await;
            })+)+
        }
    };
}

under_both! {
    stream:
        newest_sample_comes_first_and_at_once,
        new_client_gets_no_older_sample,
        client_that_comes_back_gets_all_it_missed,
        requests_are_counted;
    access:
        token_decides,
        page_is_open,
        development_user_is_let_in_and_the_log_says_so;
    page:
        page_and_all_it_names_is_served,
        head_is_answered_like_get;
    figures:
        figures_of_the_stream_are_served;
    process:
        unusable_settings_are_one_clear_line,
        signal_ends_it_and_its_clients_are_told;
    dashboard:
        dropped_connection_resumes_without_a_hole,
        refused_page_asks_for_a_token,
        restarted_service_shows_as_a_gap;
}
