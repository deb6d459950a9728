//! A doorbell over Redis: each ring is a message to all who are subscribed.
//!
//! Invariant: Redis keeps nothing of ours, so nothing is lost with it. Its URL stands in no error and no debug output.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use ragstone_core::seam::Doorbell;
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{AsyncCommands, Client, RedisError};
use uuid::Uuid;

use super::line::{Line, Wire};

/// Longest part of what the server says that is passed on, in characters.
const MAX_MESSAGE: usize = 200;

/// The URL is none.
#[derive(Debug, thiserror::Error)]
#[error("the redis url cannot be read; hint: redis://[user:password@]host:port, or rediss:// for TLS")]
pub struct RedisUrlError;

/// Wakes all processes that are subscribed to a channel.
pub struct RedisDoorbell {
    line: Line,
}

impl fmt::Debug for RedisDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDoorbell")
            .field("trouble", &self.line.trouble())
            .finish_non_exhaustive()
    }
}

impl RedisDoorbell {
    /// The doorbell of a `redis://` or, with TLS by the machine's own certificates, `rediss://` URL. Connects in the
    /// background, so it is called within a runtime.
    pub fn new(url: &str, channel: impl Into<String>) -> Result<Self, RedisUrlError> {
        // What the parser says of a bad URL may hold parts of it, so it is not passed on.
        let client = Client::open(url).map_err(|_| RedisUrlError)?;
        if url.starts_with("rediss:") {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let wire = RedisWire {
            client,
            channel: channel.into(),
            name: Uuid::new_v4().to_string(),
            open: None,
        };
        Ok(Self {
            line: Line::start("redis", wire),
        })
    }
}

#[async_trait]
impl Doorbell for RedisDoorbell {
    fn ring(&self) {
        self.line.ring();
    }

    async fn wait(&self) {
        self.line.wait().await;
    }

    fn trouble(&self) -> Option<String> {
        self.line.trouble()
    }
}

struct RedisWire {
    client: Client,
    channel: String,
    /// What this process signs its rings with, so that it does not hear itself.
    name: String,
    open: Option<Open>,
}

struct Open {
    told: PubSubStream,
    subscription: PubSubSink,
    telling: MultiplexedConnection,
}

impl RedisWire {
    fn open(&mut self) -> Result<&mut Open, String> {
        self.open.as_mut().ok_or_else(closed)
    }
}

#[async_trait]
impl Wire for RedisWire {
    async fn open(&mut self) -> Result<(), String> {
        self.open = None;
        let (mut subscription, told) = self.client.get_async_pubsub().await.map_err(said)?.split();
        subscription.subscribe(&self.channel).await.map_err(said)?;
        let telling = self.client.get_multiplexed_async_connection().await.map_err(said)?;
        self.open = Some(Open {
            told,
            subscription,
            telling,
        });
        Ok(())
    }

    async fn heard(&mut self) -> Result<(), String> {
        loop {
            let message = self.open()?.told.next().await.ok_or_else(closed)?;
            if message.get_payload_bytes() != self.name.as_bytes() {
                return Ok(());
            }
        }
    }

    async fn tell(&mut self) -> Result<(), String> {
        let (channel, name) = (self.channel.clone(), self.name.clone());
        let telling = &mut self.open()?.telling;
        telling.publish(channel, name).await.map_err(said)
    }

    async fn probe(&mut self) -> Result<(), String> {
        self.open()?.subscription.ping::<()>().await.map_err(said)
    }
}

fn closed() -> String {
    "the connection is closed".into()
}

fn said(error: RedisError) -> String {
    error.to_string().chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests;
