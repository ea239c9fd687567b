//! A client of the stream that reads blocks as they stand on the wire.

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::service::{PATIENCE, Service};

pub(crate) const STREAM: &str = "/api/metrics/stream";

/// One event as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) id: String,
}

impl Block {
    /// The number at the end of the id.
    pub(crate) fn offset(&self) -> u64 {
        let (_, offset) = self.id.rsplit_once('-').expect("an epoch and an offset");
        offset.parse().unwrap()
    }
}

/// An open stream.
pub(crate) struct Client {
    response: Response,
    unread: String,
}

impl Client {
    /// Follows the stream like a new client.
    pub(crate) async fn connect(service: &Service) -> Self {
        Self::open(get(service, STREAM)).await
    }

    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = answer(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let unread = String::new();
        Self { response, unread }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.response.headers()[name].to_str().unwrap()
    }

    pub(crate) async fn next(&mut self) -> Block {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let block = parse(block);
                self.unread = rest.to_owned();
                return block;
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("an event in time").unwrap();
            let chunk = chunk.expect("the stream does not end").to_vec();
            self.unread += &String::from_utf8(chunk).unwrap();
        }
    }

    /// The last block of a stream that ends cleanly.
    pub(crate) async fn last(mut self) -> Block {
        while let Some(chunk) = timeout(PATIENCE, self.response.chunk())
            .await
            .expect("an end in time")
            .expect("a clean end")
        {
            self.unread += str::from_utf8(&chunk).unwrap();
        }
        let blocks = self.unread.trim_end();
        parse(blocks.rsplit("\n\n").next().expect("there is a block"))
    }

    /// Reads until a block fits.
    pub(crate) async fn find(&mut self, fits: impl Fn(&Block) -> bool) -> Block {
        let found = async {
            loop {
                let block = self.next().await;
                if fits(&block) {
                    return block;
                }
            }
        };
        timeout(PATIENCE, found)
            .await
            .expect("such an event in time")
    }
}

pub(crate) fn get(service: &Service, path: &str) -> RequestBuilder {
    reqwest::Client::new().get(service.url(path))
}

pub(crate) async fn answer(request: RequestBuilder) -> Response {
    let response = timeout(PATIENCE, request.send()).await;
    response.expect("an answer in time").unwrap()
}

fn parse(block: &str) -> Block {
    let field = |name| {
        let mut values = block.lines().filter_map(|line| line.strip_prefix(name));
        let value = values
            .next()
            .unwrap_or_else(|| panic!("no {name} in {block:?}"));
        assert_eq!(values.next(), None, "one {name} in {block:?}");
        value.to_owned()
    };
    Block {
        event: field("event: "),
        data: serde_json::from_str(&field("data: ")).unwrap(),
        id: field("id: "),
    }
}
