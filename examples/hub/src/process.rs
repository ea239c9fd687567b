//! How a binary starts, speaks and ends.

use std::{
    error::Error,
    io::{self, IsTerminal},
    net::SocketAddr,
    process::ExitCode,
};

use tokio::signal;

/// Turns the end of `main` into an exit code, and an error into one line on stderr.
pub fn exit(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line += &format!(": {cause}");
        source = cause.source();
    }
    eprintln!("error: {}", line.replace('\n', " "));
    ExitCode::FAILURE
}

/// Adds to a failed bind what was tried and what helps.
pub fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    let text = format!("cannot listen on {address}: {error}; --port chooses another port");
    io::Error::new(error.kind(), text)
}

/// Sends the log to stderr, in colour on a terminal.
pub fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// Resolves at the first Ctrl-C or SIGTERM after the call.
///
/// # Errors
///
/// When the signals cannot be listened to.
#[cfg(unix)]
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal::unix::signal(signal::unix::SignalKind::interrupt())?;
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves at the first Ctrl-C.
///
/// # Errors
///
/// When the signal cannot be listened to.
#[cfg(windows)]
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
