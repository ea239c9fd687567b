//! What is asked of NATS.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_nats::{
    Client, HeaderMap,
    connection::State,
    jetstream::{
        self, Context, ErrorCode,
        consumer::{AckPolicy, DeliverPolicy, pull, push},
        context::PublishErrorKind,
        message::{PublishMessage, StreamMessage},
        response::Response,
        stream::{Config, DiscardPolicy, RawMessage, StorageType},
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{failure::Failure, message::Message};
use crate::{
    store::{Epoch, StoreError, error::damaged},
    topic_name::TopicName,
};

/// A consumer whose process has gone ends after this long.
const ABANDONED: Duration = Duration::from_secs(10);

/// The stream and the connection to it.
pub(super) struct Link {
    pub(super) client: Client,
    context: Context,
    /// The name of the stream, and the first word of its subjects.
    pub(super) stream: String,
    pub(super) replicas: usize,
    pub(super) max_bytes: i64,
    answer: Duration,
    /// The generation in which the stream was seen. nats-server ends with a fault where a message is
    /// asked for of a stream that is being made, as it is where all came back to find it gone.
    seen_in: AtomicU64,
}

/// The stream at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Of its identity: another stream of the same name has another.
    pub(super) epoch: Epoch,
    pub(super) first: u64,
    pub(super) last: u64,
    messages: u64,
}

impl Shape {
    /// The sequence before the oldest message. Of a topic that has no message, none was taken away
    /// from behind it.
    pub(super) fn before_first(&self) -> u64 {
        match self.messages {
            0 => self.last,
            _ => self.first.saturating_sub(1),
        }
    }
}

impl Link {
    pub(super) fn new(
        client: Client,
        stream: String,
        replicas: usize,
        max_bytes: i64,
        answer: Duration,
    ) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(answer);
        Self {
            client,
            context,
            stream,
            replicas,
            max_bytes,
            answer,
            seen_in: AtomicU64::new(0),
        }
    }

    /// A name has none of the characters that mean something in a subject but the dot, which becomes
    /// a comma, which no name has: each topic is one word, and no word is two topics.
    pub(super) fn subject(&self, topic: &TopicName) -> String {
        format!("{}.{}", self.stream, topic.as_str().replace('.', ","))
    }

    fn topic(&self, subject: &str) -> Option<TopicName> {
        let word = subject.strip_prefix(&self.stream)?.strip_prefix('.')?;
        TopicName::new(word.replace(',', ".")).ok()
    }

    /// How often the connection was made: what was known before may no longer hold.
    pub(super) fn generation(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Waits until there is a connection, so that what fails before has certainly not been sent.
    async fn connected(&self) -> Result<(), Failure> {
        let connected = async {
            while self.client.connection_state() != State::Connected {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(self.answer, connected)
            .await
            .map_err(|_| Failure::NotSent("NATS is not connected".into()))
    }

    /// Asks JetStream. `None` where there is no such message.
    async fn ask(&self, subject: String, payload: &Value) -> Result<Option<Value>, Failure> {
        self.connected().await?;
        let answer = self.context.request(subject, payload).await;
        let answer: Response<Value> = answer.map_err(|error| match error.kind() {
            jetstream::context::RequestErrorKind::NoResponders => Failure::NotSent(error.into()),
            _ => Failure::Lost(error.into()),
        })?;
        match answer {
            Response::Ok(value) => Ok(Some(value)),
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            Response::Err { error } => Err(Failure::refused(error)),
        }
    }

    /// Returns what the stream is now, after making it where there is none.
    pub(super) async fn shape(&self) -> Result<Shape, Failure> {
        let generation = self.generation();
        let info = format!("STREAM.INFO.{}", self.stream);
        let answer = match self.ask(info.clone(), &json!({})).await {
            Err(Failure::NoStream) => {
                Box::pin(self.make()).await?;
                self.ask(info, &json!({})).await?
            }
            answer => answer?,
        };
        let answer = answer.unwrap_or_default();
        let number = |field: &str| answer["state"][field].as_u64().unwrap_or(0);
        let Some(created) = answer["created"].as_str() else {
            return Err(damaged("the stream has no time of creation").into());
        };
        self.seen_in.store(generation, Ordering::Relaxed);
        Ok(Shape {
            epoch: Epoch::new(hash(created) >> 24),
            first: number("first_seq"),
            last: number("last_seq"),
            messages: number("messages"),
        })
    }

    async fn make(&self) -> Result<(), Failure> {
        let config = Config {
            name: self.stream.clone(),
            subjects: vec![format!("{}.*", self.stream)],
            max_bytes: self.max_bytes,
            discard: DiscardPolicy::Old,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..Config::default()
        };
        match self.context.get_or_create_stream(config).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::NotSent(error.into())),
        }
    }

    /// Returns the last message of the topic. It is the leader of the stream that answers, so that
    /// every read sees what was acknowledged before.
    pub(super) async fn last(&self, topic: &TopicName) -> Result<Option<Message>, Failure> {
        self.message(json!({ "last_by_subj": self.subject(topic) }))
            .await
    }

    /// Returns the first message of the topic from a sequence on.
    pub(super) async fn next(
        &self,
        topic: &TopicName,
        sequence: u64,
    ) -> Result<Option<Message>, Failure> {
        self.message(json!({ "seq": sequence, "next_by_subj": self.subject(topic) }))
            .await
    }

    async fn message(&self, which: Value) -> Result<Option<Message>, Failure> {
        self.connected().await?;
        if self.seen_in.load(Ordering::Relaxed) != self.generation() {
            self.shape().await?;
        }
        let get = format!("STREAM.MSG.GET.{}", self.stream);
        let answer = match self.ask(get, &which).await {
            Err(Failure::NoStream) => {
                self.seen_in.store(0, Ordering::Relaxed);
                return Ok(None);
            }
            answer => answer?,
        };
        let Some(mut answer) = answer else {
            return Ok(None);
        };
        let message = serde_json::from_value::<RawMessage>(answer["message"].take());
        let message = message.map_err(|error| Failure::Lost(error.into()))?;
        match StreamMessage::try_from(message) {
            Ok(message) => Ok(Some(Message::parse(&message)?)),
            Err(error) => Err(damaged(format!("a message that cannot be read: {error}")).into()),
        }
    }

    /// Stores a message as the one behind `expected`, the last of its subject, and returns its
    /// sequence.
    pub(super) async fn publish(
        &self,
        topic: &TopicName,
        expected: u64,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, Failure> {
        self.connected().await?;
        let message = PublishMessage::build()
            .headers(headers)
            .payload(payload)
            .expected_stream(&self.stream)
            .expected_last_subject_sequence(expected);
        let sent = self.context.send_publish(self.subject(topic), message);
        let answer = match sent.await {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        answer.map(|ack| ack.sequence).map_err(|error| {
            let refusal = std::error::Error::source(&error)
                .and_then(|source| source.downcast_ref::<jetstream::Error>());
            match (error.kind(), refusal) {
                (PublishErrorKind::WrongLastSequence, _) => Failure::Outrun,
                (PublishErrorKind::StreamNotFound, _) => Failure::NoStream,
                (PublishErrorKind::MaxPayloadExceeded, _) => Failure::TooLarge(error.into()),
                (PublishErrorKind::MaxAckPending, _) => Failure::NotSent(error.into()),
                (_, Some(refusal)) => Failure::refused(refusal.clone()),
                _ => Failure::Lost(error.into()),
            }
        })
    }

    /// Pages through the messages of the topic from a sequence on, up to `last` or until
    /// `is_enough`.
    pub(super) async fn history(
        &self,
        topic: &TopicName,
        from: u64,
        last: u64,
        batch: usize,
        mut is_enough: impl FnMut(Message) -> bool,
    ) -> Result<(), Failure> {
        self.connected().await?;
        let lost = |error: Box<dyn std::error::Error + Send + Sync>| Failure::Lost(error);
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: from,
            },
            ack_policy: AckPolicy::None,
            filter_subject: self.subject(topic),
            inactive_threshold: ABANDONED,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let made = self.context.create_consumer_on_stream(config, &self.stream);
        let consumer = made.await.map_err(|error| lost(error.into()))?;
        let paged = async {
            loop {
                let fetch = consumer.fetch().max_messages(batch);
                let mut messages = fetch.messages().await.map_err(|error| lost(error.into()))?;
                let mut is_empty = true;
                while let Some(message) = messages.next().await {
                    is_empty = false;
                    let message = stored(message.map_err(lost)?).map_err(lost)?;
                    if message.sequence > last {
                        return Ok(());
                    }
                    let is_last = message.sequence == last;
                    if is_enough(Message::parse(&message)?) || is_last {
                        return Ok(());
                    }
                }
                if is_empty {
                    return Ok(());
                }
            }
        };
        let paged = timeout(self.answer, paged).await;
        let name = &consumer.cached_info().name;
        let deleted = self.context.delete_consumer_from_stream(name, &self.stream);
        if let Err(error) = deleted.await {
            tracing::debug!(%error, "a consumer is left to its end");
        }
        paged.unwrap_or_else(|elapsed| Err(lost(elapsed.into())))
    }

    /// Tells of every message that is stored from now on, until that fails. `None` stands for the
    /// beginning, and for all that may have been missed.
    pub(super) async fn listen(
        &self,
        mut tell: impl FnMut(Option<&TopicName>),
    ) -> Result<(), StoreError> {
        self.shape().await.map_err(Failure::of_read)?;
        let generation = self.generation();
        let config = push::OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            filter_subject: format!("{}.*", self.stream),
            headers_only: true,
            deliver_policy: DeliverPolicy::New,
            ..push::OrderedConfig::default()
        };
        let lost = |error| Failure::Lost(error).of_read();
        let made = self.context.create_consumer_on_stream(config, &self.stream);
        let consumer = timeout(self.answer, made)
            .await
            .map_err(|e| lost(e.into()))?;
        let consumer = consumer.map_err(|error| lost(error.into()))?;
        let mut messages = consumer.messages().await.map_err(|e| lost(e.into()))?;
        tell(None);
        let mut look = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return Ok(()) };
                    let message = message.map_err(|error| lost(error.into()))?;
                    match self.topic(&message.subject) {
                        Some(topic) => tell(Some(&topic)),
                        None => tracing::debug!(subject = %message.subject, "names no topic"),
                    }
                }
                // The consumer is made anew where it was, which is wrong where the stream is another.
                _ = look.tick() => if self.generation() != generation {
                    return Ok(());
                },
            }
        }
    }

    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }
}

fn stored(message: jetstream::Message) -> Result<StreamMessage, async_nats::Error> {
    let info = message.info()?;
    let (sequence, time) = (info.stream_sequence, info.published);
    let message = message.message;
    Ok(StreamMessage {
        subject: message.subject,
        sequence,
        headers: message.headers.unwrap_or_default(),
        payload: message.payload,
        time,
    })
}

/// A name that a stream and the first word of a subject can have.
pub(super) fn is_stream_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 100 && name.chars().all(allowed)
}

/// FNV-1a, which is the same in all versions of all processes.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
