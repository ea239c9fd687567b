//! What a socket needs for events to arrive one by one.

use std::{io, time::Duration};

use tokio::net::TcpStream;

/// How long a peer may take nothing.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Sets the options of a connection that event streams are sent over.
///
/// - `TCP_NODELAY`: without it an event waits for the acknowledgement of the one before, up to 40 ms.
/// - `TCP_USER_TIMEOUT`, 30 s, on Linux and Android: a peer that is gone without a word, or takes
///   nothing for so long, is given up, so that its stream ends. Elsewhere it takes as long as the
///   system retries.
///
/// A layer sees no socket, so this goes where connections are accepted. In axum:
///
/// ```
/// # #[cfg(feature = "axum")]
/// # async fn example(app: axum::Router) -> std::io::Result<()> {
/// use axum::serve::ListenerExt;
/// use tokio::net::TcpListener;
/// use tower_sse::tune_socket;
///
/// let listener = TcpListener::bind("127.0.0.1:3000").await?;
/// axum::serve(listener.tap_io(|socket| tune_socket(socket)), app).await
/// # }
/// ```
///
/// In actix-web it is `tune_actix_socket`. What the system refuses is
/// logged, and the connection goes on without.
pub fn tune_socket(socket: &TcpStream) {
    if let Err(error) = set_options(socket) {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "socket options could not be set"
        );
    }
}

fn set_options(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    set_user_timeout(socket)
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn set_user_timeout(socket: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_user_timeout(Some(USER_TIMEOUT))
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn set_user_timeout(_socket: &TcpStream) -> io::Result<()> {
    Ok(())
}
