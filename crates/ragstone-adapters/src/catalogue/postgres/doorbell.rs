//! A doorbell over the database's own notifications, on a connection of its own. Poolers that hand connections from one
//! client to the next do not pass them on: behind one of those, processes find work when they look for it.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::poll_fn;
use ragstone_core::seam::Doorbell;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};
use uuid::Uuid;

use super::error::PostgresError;
use super::options::PostgresOptions;
use crate::doorbell::line::{Line, Wire};

/// Rings that wait to be heard; what does not fit is no loss, as those before it wake as well.
const HEARD: usize = 16;
/// One channel for each installation of a database: it lives in a schema of its own.
const CHANNEL: &str = "select 'ragstone_' || md5(current_schema()) as channel";

/// The doorbell of the database of `options`. Connects in the background, so it is called within a runtime.
pub fn doorbell(options: &PostgresOptions) -> Arc<dyn Doorbell> {
    let wire = PostgresWire {
        options: options.clone(),
        name: Uuid::new_v4().to_string(),
        open: None,
    };
    Arc::new(Line::start("postgresql", wire))
}

struct PostgresWire {
    options: PostgresOptions,
    /// What this process signs its rings with, so that it does not hear itself.
    name: String,
    open: Option<Open>,
}

struct Open {
    client: Client,
    channel: String,
    told: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PostgresWire {
    fn open(&mut self) -> Result<&mut Open, String> {
        self.open.as_mut().ok_or_else(closed)
    }

    async fn connect(&self) -> Result<Open, PostgresError> {
        let config = self.options.tuned();
        let (tell, told) = mpsc::channel(HEARD);
        let (client, task) = match self.options.tls()? {
            Some(tls) => {
                let (client, connection) = config.connect(tls).await?;
                (client, tokio::spawn(listen(connection, tell)))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tokio::spawn(listen(connection, tell)))
            }
        };
        let mut open = Open {
            client,
            channel: String::new(),
            told,
            task,
        };
        open.channel = open.client.query_one(CHANNEL, &[]).await?.try_get("channel")?;
        open.client.batch_execute(&format!("listen {}", open.channel)).await?;
        Ok(open)
    }
}

#[async_trait]
impl Wire for PostgresWire {
    async fn open(&mut self) -> Result<(), String> {
        self.open = None;
        self.open = Some(self.connect().await.map_err(said)?);
        Ok(())
    }

    async fn heard(&mut self) -> Result<(), String> {
        loop {
            let name = self.open()?.told.recv().await.ok_or_else(closed)?;
            if name != self.name {
                return Ok(());
            }
        }
    }

    async fn tell(&mut self) -> Result<(), String> {
        let name = self.name.clone();
        let open = self.open()?;
        let notify = "select pg_notify($1, $2)";
        let told = open.client.execute(notify, &[&open.channel, &name]).await;
        told.map(drop).map_err(|error| said(error.into()))
    }

    async fn probe(&mut self) -> Result<(), String> {
        let asked = self.open()?.client.batch_execute("").await;
        asked.map_err(|error| said(error.into()))
    }
}

/// Carries the connection until it breaks, which closes the channel too.
async fn listen<S, T>(mut connection: Connection<S, T>, tell: mpsc::Sender<String>)
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

fn closed() -> String {
    "the connection is closed".into()
}

fn said(error: PostgresError) -> String {
    error.to_string().trim_start_matches("postgresql: ").to_owned()
}
