//! The network before a server, which can fail.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Whole,
    /// What is sent arrives, and answers wait.
    Mute,
    /// What is sent waits, as it does where packets are lost; so do new connections.
    Dead,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Each connection is closed when so many bytes of answers have passed, behind the piece that they
    /// end in.
    Short(usize),
}

/// A way to a server; it is gone when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (network, state) = watch::channel(Network::Whole);
        Self {
            port: listener.local_addr().unwrap().port(),
            network,
            task: tokio::spawn(run(listener, server, state)),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn is(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(listener: TcpListener, server: u16, network: watch::Receiver<Network>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(connection(client, server, network.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, server: u16, network: watch::Receiver<Network>) {
    let (mut cut, mut carried) = (network.clone(), network.clone());
    let answers = |network| matches!(network, Network::Whole | Network::Short(_));
    let requests = move |network| answers(network) || network == Network::Mute;
    let both = async {
        wait_for(&mut carried, requests).await;
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else {
            return;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = pump(from_client, to_server, network.clone(), requests, |_| usize::MAX) => {}
            () = pump(from_server, to_client, network, answers, |network| match network {
                Network::Short(most) => most,
                _ => usize::MAX,
            }) => {}
        }
    };
    tokio::select! {
        () = both => {}
        () = wait_for(&mut cut, |network| network == Network::Cut) => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut network: watch::Receiver<Network>,
    may_pass: impl Fn(Network) -> bool + Copy,
    most: impl Fn(Network) -> usize,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut passed: usize = 0;
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // The end of a connection is not seen either while nothing passes.
        wait_for(&mut network, may_pass).await;
        passed += read;
        let is_last = read == 0 || passed >= most(*network.borrow());
        if to.write_all(&buffer[..read]).await.is_err() || is_last {
            return;
        }
    }
}

async fn wait_for(network: &mut watch::Receiver<Network>, enough: impl Fn(Network) -> bool) {
    let _ = network.wait_for(|&network| enough(network)).await;
}
