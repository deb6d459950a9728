//! A server that answers each request as a test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub head: String,
    pub body: Value,
}

/// A reply: the bytes after the status, then the end of the connection or none.
pub struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    stays: bool,
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: "content-type: application/json\r\n".into(),
            body: body.to_string().into(),
            stays: false,
        }
    }

    pub fn stream(body: &str) -> Self {
        Self {
            status: 200,
            headers: "content-type: text/event-stream\r\n".into(),
            body: body.into(),
            stays: false,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// Nothing more comes, and the connection stays.
    pub fn stays(mut self) -> Self {
        self.stays = true;
        self
    }
}

type Answer = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

pub struct Fake {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    left: mpsc::UnboundedReceiver<()>,
}

impl Fake {
    /// Answers the n-th request, from 0, as `answer` says.
    pub async fn start(answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (leave, left) = mpsc::unbounded_channel();
        let (answer, log): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&answer), Arc::clone(&log), leave.clone()));
            }
        });
        Self { url, asked, left }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until a client closed a connection that stays.
    pub async fn client_left(&mut self) {
        tokio::time::timeout(PATIENCE, self.left.recv())
            .await
            .expect("the client closes its connection")
            .unwrap();
    }
}

async fn serve(
    mut socket: TcpStream,
    answer: Arc<Answer>,
    log: Arc<Mutex<Vec<Asked>>>,
    leave: mpsc::UnboundedSender<()>,
) {
    let Some(asked) = read(&mut socket).await else {
        return;
    };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.len() - 1
    };
    let reply = answer(&asked, number);
    let head = format!(
        "HTTP/1.1 {} x\r\nconnection: close\r\n{}\r\n",
        reply.status, reply.headers
    );
    let _ = socket.write_all(&[head.as_bytes(), &reply.body].concat()).await;
    if reply.stays {
        let _ = socket.read(&mut [0; 64]).await;
        let _ = leave.send(());
    }
}

async fn read(socket: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(Asked {
                head: head.to_owned(),
                body: serde_json::from_str(body).ok()?,
            });
        }
    }
}
