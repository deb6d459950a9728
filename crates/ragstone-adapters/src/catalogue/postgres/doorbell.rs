//! Notifier over LISTEN and NOTIFY, on a connection of its own. Poolers in transaction mode do not pass notifications
//! on: behind one of those, processes find work only by polling.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::poll_fn;
use ragstone_core::seam::Notifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};
use uuid::Uuid;

use super::error::PostgresError;
use super::options::PostgresOptions;
use crate::doorbell::line::{NotifyTransport, RemoteNotifier};

/// Capacity of the channel of received notifications; when it is full, dropping one is no loss, because those before
/// it wake workers as well.
const MAX_QUEUED_NOTIFICATIONS: usize = 16;
/// Channel name, different for each installation in a database, because each has a schema of its own.
const CHANNEL: &str = "select 'ragstone_' || md5(current_schema()) as channel";

/// Notifier for the database of `options`. Connects in the background, so it must be called within a runtime.
pub fn start_notifier(options: &PostgresOptions) -> Arc<dyn Notifier> {
    let wire = PostgresNotifyTransport {
        options: options.clone(),
        sender_id: Uuid::new_v4().to_string(),
        connection: None,
    };
    Arc::new(RemoteNotifier::start("postgresql", wire))
}

struct PostgresNotifyTransport {
    options: PostgresOptions,
    /// Payload of this process's notifications, so that it ignores its own.
    sender_id: String,
    connection: Option<PostgresListener>,
}

struct PostgresListener {
    client: Client,
    channel: String,
    notifications: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Drop for PostgresListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PostgresNotifyTransport {
    fn current_listener(&mut self) -> Result<&mut PostgresListener, String> {
        self.connection.as_mut().ok_or_else(connection_closed)
    }

    async fn open_listener(&self) -> Result<PostgresListener, PostgresError> {
        let config = self.options.tuned_config();
        let (tell, told) = mpsc::channel(MAX_QUEUED_NOTIFICATIONS);
        let (client, task) = match self.options.tls_connector()? {
            Some(tls) => {
                let (client, connection) = config.connect(tls).await?;
                (client, tokio::spawn(forward_notifications(connection, tell)))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tokio::spawn(forward_notifications(connection, tell)))
            }
        };
        let mut open = PostgresListener {
            client,
            channel: String::new(),
            notifications: told,
            task,
        };
        open.channel = open.client.query_one(CHANNEL, &[]).await?.try_get("channel")?;
        open.client.batch_execute(&format!("listen {}", open.channel)).await?;
        Ok(open)
    }
}

#[async_trait]
impl NotifyTransport for PostgresNotifyTransport {
    async fn open_connection(&mut self) -> Result<(), String> {
        self.connection = None;
        self.connection = Some(self.open_listener().await.map_err(describe_error)?);
        Ok(())
    }

    async fn recv(&mut self) -> Result<(), String> {
        loop {
            let name = self
                .current_listener()?
                .notifications
                .recv()
                .await
                .ok_or_else(connection_closed)?;
            if name != self.sender_id {
                return Ok(());
            }
        }
    }

    async fn send_notification(&mut self) -> Result<(), String> {
        let name = self.sender_id.clone();
        let open = self.current_listener()?;
        let notify = "select pg_notify($1, $2)";
        let told = open.client.execute(notify, &[&open.channel, &name]).await;
        told.map(drop).map_err(|error| describe_error(error.into()))
    }

    async fn probe_server(&mut self) -> Result<(), String> {
        let asked = self.current_listener()?.client.batch_execute("").await;
        asked.map_err(|error| describe_error(error.into()))
    }
}

/// Drives the connection until it breaks, which closes the channel too.
async fn forward_notifications<S, T>(mut connection: Connection<S, T>, tell: mpsc::Sender<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut messages = poll_fn(move |context| connection.poll_message(context));
    while let Some(Ok(message)) = messages.next().await {
        if let AsyncMessage::Notification(notification) = message {
            let _ = tell.try_send(notification.payload().to_owned());
        }
    }
}

fn connection_closed() -> String {
    "the connection is closed".into()
}

fn describe_error(error: PostgresError) -> String {
    error.to_string().trim_start_matches("postgresql: ").to_owned()
}
