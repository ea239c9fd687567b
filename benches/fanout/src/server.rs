//! The servers.

mod actix;
mod axum;
mod floor;
mod hyper;
mod ours;

use std::{io, net::Ipv4Addr, num::NonZeroUsize};

use clap::ValueEnum;
use tokio::{net::TcpListener, runtime};

use crate::control::say;

/// Who sends the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// epoll, and one `send` for each event and client.
    Floor,
    /// The same with one `send` for all that is due.
    FloorBatch,
    /// tower-sse on plain hyper.
    OursHyper,
    /// tower-sse in axum.
    OursAxum,
    /// tower-sse in actix-web.
    OursActix,
    /// axum's `Sse`, a broadcast channel and `json_data` for each client.
    AxumJson,
    /// axum's `Sse`, a broadcast channel of JSON that was serialised once.
    AxumShared,
    /// `axum-json` behind tower-sse's layer, which has the heartbeat then.
    AxumJsonLayer,
    /// `axum-shared` behind tower-sse's layer, which has the heartbeat then.
    AxumSharedLayer,
    /// actix-web-lab's `Sse`, a channel for each client and JSON that was serialised once.
    ActixLab,
    /// hyper with a body that is never ready.
    EmptyHyper,
    /// axum with a body that is never ready.
    EmptyAxum,
    /// actix-web with a body that is never ready.
    EmptyActix,
}

impl Server {
    /// Those that send events.
    pub(crate) const SENDING: [Self; 10] = [
        Self::Floor,
        Self::FloorBatch,
        Self::OursHyper,
        Self::OursAxum,
        Self::OursActix,
        Self::AxumJson,
        Self::AxumShared,
        Self::AxumJsonLayer,
        Self::AxumSharedLayer,
        Self::ActixLab,
    ];

    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no server is hidden");
        value.get_name().to_owned()
    }

    pub(crate) fn sends(self) -> bool {
        Self::SENDING.contains(&self)
    }

    /// The same stack without anything in it.
    pub(crate) fn empty(self) -> Option<Self> {
        match self {
            Self::Floor | Self::FloorBatch => None,
            Self::OursHyper | Self::EmptyHyper => Some(Self::EmptyHyper),
            Self::OursActix | Self::ActixLab | Self::EmptyActix => Some(Self::EmptyActix),
            Self::OursAxum
            | Self::AxumJson
            | Self::AxumShared
            | Self::AxumJsonLayer
            | Self::AxumSharedLayer
            | Self::EmptyAxum => Some(Self::EmptyAxum),
        }
    }

    /// Serves on a free port, which is the first thing that is said, until the input ends.
    pub(crate) fn run(self, history: NonZeroUsize) -> io::Result<()> {
        use axum::Heartbeat;

        match self {
            Self::Floor => floor::run(floor::Sends::EachEvent),
            Self::FloorBatch => floor::run(floor::Sends::WhatIsDue),
            Self::OursHyper => in_tokio(|listener| hyper::ours(listener, history)),
            Self::OursAxum => in_tokio(|listener| axum::ours(listener, history)),
            Self::OursActix => actix::ours(history),
            Self::AxumJson => in_tokio(|listener| axum::json(listener, history, Heartbeat::Axum)),
            Self::AxumJsonLayer => {
                in_tokio(|listener| axum::json(listener, history, Heartbeat::Layer))
            }
            Self::AxumShared => {
                in_tokio(|listener| axum::shared(listener, history, Heartbeat::Axum))
            }
            Self::AxumSharedLayer => {
                in_tokio(|listener| axum::shared(listener, history, Heartbeat::Layer))
            }
            Self::ActixLab => actix::lab(history),
            Self::EmptyHyper => in_tokio(hyper::empty),
            Self::EmptyAxum => in_tokio(axum::empty),
            Self::EmptyActix => actix::empty(),
        }
    }
}

/// Listens on a free port and says which.
fn listen() -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    say(&format!("port {}", listener.local_addr()?.port()));
    Ok(listener)
}

/// Runs a server where axum's users run theirs, with one worker for one core.
fn in_tokio<F>(serve: impl FnOnce(TcpListener) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // The thread that blocks here is not the worker.
        let serving = tokio::spawn(serve(TcpListener::from_std(listen()?)?));
        serving.await.map_err(io::Error::other)?
    })
}
