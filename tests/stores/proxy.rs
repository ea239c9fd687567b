//! A network between a store and its server that can fail.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Whole,
    /// What is sent arrives, and answers do not.
    Mute,
    /// Connections are closed, and new ones at once.
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    network: watch::Sender<Network>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (network, state) = watch::channel(Network::Whole);
        Self {
            port: listener.local_addr().unwrap().port(),
            network,
            task: tokio::spawn(async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    tokio::spawn(carry(client, port, state.clone()));
                }
            }),
        }
    }

    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub(crate) fn is(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, port: u16, mut state: watch::Receiver<Network>) {
    if *state.borrow() == Network::Cut {
        return;
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let Ok(mut server) = server else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let answers = {
        let state = state.clone();
        async move {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                let is_mute = *state.borrow() == Network::Mute;
                if !is_mute && to_client.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        }
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = answers => {}
        _ = state.wait_for(|state| *state == Network::Cut) => {}
    }
}
