//! A chat model that speaks the protocol over a real socket and says what a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

/// A running model; it answers until the test ends.
pub struct Model {
    pub address: String,
    seen: Arc<Seen>,
}

/// What was asked.
#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    with_schema: AtomicUsize,
}

/// What the model says to its n-th call, from 0, and a prompt.
type Reply = Arc<dyn Fn(usize, &str) -> String + Send + Sync>;

/// Starts a model.
pub fn saying(reply: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> Model {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let (seen, reply): (Arc<Seen>, Reply) = (Arc::default(), Arc::new(reply));
    let counted = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (seen, reply) = (counted.clone(), reply.clone());
            std::thread::spawn(move || while serve(stream.as_ref().unwrap(), &seen, &reply).is_some() {});
        }
    });
    Model { address, seen }
}

impl Model {
    /// Calls, and those that said what form the reply has to have.
    pub fn calls(&self) -> (usize, usize) {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (count(&self.seen.calls), count(&self.seen.with_schema))
    }
}

fn serve(mut stream: &TcpStream, seen: &Seen, reply: &Reply) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request: Value = serde_json::from_slice(&body).ok()?;
    let call = seen.calls.fetch_add(1, Ordering::Relaxed);
    let is_schema = request["response_format"]["type"] == "json_schema";
    seen.with_schema.fetch_add(usize::from(is_schema), Ordering::Relaxed);
    let reply = reply(call, request["messages"][0]["content"].as_str()?);
    let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": reply }, "finish_reason": "stop" }] });
    let events = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    let length = events.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{events}").as_bytes()).ok()
}
