//! A TCP proxy that stands for the network.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    Both,
    /// To the server only.
    Requests,
    /// What is sent waits, as it does where packets are lost; so do new connections.
    Nothing,
    /// All connections break, and new ones too.
    Reset,
}

/// A way to a server that can be cut; it is gone when this is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    passing: watch::Sender<Passing>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (passing, passes) = watch::channel(Passing::Both);
        Self {
            address,
            passing,
            task: tokio::spawn(run(listener, server, passes)),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lets nothing pass in either direction.
    pub(crate) fn cut(&self) {
        self.passing.send_replace(Passing::Nothing);
    }

    /// Lets requests pass, and no answers.
    pub(crate) fn swallow_answers(&self) {
        self.passing.send_replace(Passing::Requests);
    }

    /// Breaks all connections.
    pub(crate) fn reset(&self) {
        self.passing.send_replace(Passing::Reset);
    }

    pub(crate) fn heal(&self) {
        self.passing.send_replace(Passing::Both);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(listener: TcpListener, server: u16, passes: watch::Receiver<Passing>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(connection(client, server, passes.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, server: u16, passes: watch::Receiver<Passing>) {
    let mut reset = passes.clone();
    let mut passes_requests = passes.clone();
    let both = async {
        let requests = |passing| matches!(passing, Passing::Both | Passing::Requests);
        wait_for(&mut passes_requests, requests).await;
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
            return;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = pump(from_client, to_server, passes.clone(), requests) => {}
            () = pump(from_server, to_client, passes, |passing| passing == Passing::Both) => {}
        }
    };
    tokio::select! {
        () = both => {}
        () = wait_for(&mut reset, |passing| passing == Passing::Reset) => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut passes: watch::Receiver<Passing>,
    may_pass: impl Fn(Passing) -> bool + Copy,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // The end of a connection is not seen either while nothing passes.
        wait_for(&mut passes, may_pass).await;
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn wait_for(passes: &mut watch::Receiver<Passing>, enough: impl Fn(Passing) -> bool) {
    let _ = passes.wait_for(|&passing| enough(passing)).await;
}
