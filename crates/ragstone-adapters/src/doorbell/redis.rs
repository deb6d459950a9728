//! A notifier over Redis: each notification is a message to all subscribed processes.
//!
//! Invariant: Redis stores nothing for us, so nothing is lost with it. Its URL appears in no error and no debug
//! output.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use ragstone_core::seam::Notifier;
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{AsyncCommands, Client, RedisError};
use uuid::Uuid;

use super::line::{NotifyTransport, RemoteNotifier};

/// Longest part of a server message that is shown, in characters.
const MAX_MESSAGE: usize = 200;

/// The URL cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("the redis url cannot be read; hint: redis://[user:password@]host:port, or rediss:// for TLS")]
pub struct RedisUrlError;

/// Wakes workers of all processes that are subscribed to a channel.
pub struct RedisNotifier {
    notifier: RemoteNotifier,
}

impl fmt::Debug for RedisNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisNotifier")
            .field("trouble", &self.notifier.connection_error())
            .finish_non_exhaustive()
    }
}

impl RedisNotifier {
    /// A notifier for a `redis://` URL, or `rediss://` for TLS with the machine's root certificates. Connects in the
    /// background, so it must be called within a runtime.
    pub fn new(url: &str, channel: impl Into<String>) -> Result<Self, RedisUrlError> {
        // Not passed on: the parser's message may contain parts of the URL.
        let client = Client::open(url).map_err(|_| RedisUrlError)?;
        if url.starts_with("rediss:") {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let wire = RedisNotifyTransport {
            client,
            channel: channel.into(),
            sender_id: Uuid::new_v4().to_string(),
            connection: None,
        };
        Ok(Self {
            notifier: RemoteNotifier::start("redis", wire),
        })
    }
}

#[async_trait]
impl Notifier for RedisNotifier {
    fn notify_workers(&self) {
        self.notifier.notify_workers();
    }

    async fn wait_for_notification(&self) {
        self.notifier.wait_for_notification().await;
    }

    fn connection_error(&self) -> Option<String> {
        self.notifier.connection_error()
    }
}

struct RedisNotifyTransport {
    client: Client,
    channel: String,
    /// Payload of this process's messages, so that it ignores its own.
    sender_id: String,
    connection: Option<RedisNotifyConnection>,
}

struct RedisNotifyConnection {
    messages: PubSubStream,
    subscription: PubSubSink,
    publisher: MultiplexedConnection,
}

impl RedisNotifyTransport {
    fn current_connection(&mut self) -> Result<&mut RedisNotifyConnection, String> {
        self.connection.as_mut().ok_or_else(connection_closed)
    }
}

#[async_trait]
impl NotifyTransport for RedisNotifyTransport {
    async fn open_connection(&mut self) -> Result<(), String> {
        self.connection = None;
        let (mut subscription, messages) = self.client.get_async_pubsub().await.map_err(describe_error)?.split();
        subscription.subscribe(&self.channel).await.map_err(describe_error)?;
        let publisher = self
            .client
            .get_multiplexed_async_connection()
            .await
            .map_err(describe_error)?;
        self.connection = Some(RedisNotifyConnection {
            messages,
            subscription,
            publisher,
        });
        Ok(())
    }

    async fn recv(&mut self) -> Result<(), String> {
        loop {
            let message = self
                .current_connection()?
                .messages
                .next()
                .await
                .ok_or_else(connection_closed)?;
            if message.get_payload_bytes() != self.sender_id.as_bytes() {
                return Ok(());
            }
        }
    }

    async fn send_notification(&mut self) -> Result<(), String> {
        let (channel, name) = (self.channel.clone(), self.sender_id.clone());
        let telling = &mut self.current_connection()?.publisher;
        telling.publish(channel, name).await.map_err(describe_error)
    }

    async fn probe_server(&mut self) -> Result<(), String> {
        self.current_connection()?
            .subscription
            .ping::<()>()
            .await
            .map_err(describe_error)
    }
}

fn connection_closed() -> String {
    "the connection is closed".into()
}

fn describe_error(error: RedisError) -> String {
    error.to_string().chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests;
