//! An OpenAI-compatible embedding service in this process, over a real socket, whose mood the test changes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// No mood lasts so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Length of its vectors.
const DIMENSIONS: usize = 16;
/// What is asked to see how long a vector is; answered in any mood.
const PROBE: &str = "How long is a vector?";
/// A word that it refuses, whatever its mood.
pub const UNSPEAKABLE: &str = "unspeakable";

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// With vectors.
    Well,
    /// 429, come back in a second.
    Busy,
    /// 500.
    Broken,
    /// Not at all.
    Hanging,
}

/// The service; it is gone when this is dropped.
pub struct Moody {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

struct Now {
    mood: Mood,
    /// Requests that met this mood.
    asked: usize,
    over: bool,
}

impl Moody {
    /// One on a free port.
    pub fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    /// One that listens here.
    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let state = Arc::new(State {
            now: Mutex::new(Now {
                mood: Mood::Well,
                asked: 0,
                over: false,
            }),
            changed: Condvar::new(),
        });
        let address = listener.local_addr().unwrap();
        let shared = state.clone();
        std::thread::spawn(move || {
            for caller in listener.incoming() {
                if shared.now.lock().unwrap().over {
                    return;
                }
                let (shared, caller) = (shared.clone(), caller.unwrap());
                // A caller that is gone is nobody's error.
                std::thread::spawn(move || drop(shared.serve(caller)));
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn set(&self, mood: Mood) {
        let mut now = self.state.now.lock().unwrap();
        (now.mood, now.asked) = (mood, 0);
        drop(now);
        self.state.changed.notify_all();
    }

    /// Waits until so many requests met the mood of the moment.
    #[track_caller]
    pub fn until_asked(&self, times: usize) {
        let now = self.state.now.lock().unwrap();
        let waits = |now: &mut Now| now.asked < times;
        let (now, waited) = self.state.changed.wait_timeout_while(now, PATIENCE, waits).unwrap();
        assert!(!waited.timed_out(), "{:?}: asked {} times", now.mood, now.asked);
    }

    /// Answers like this until so many requests met it.
    #[track_caller]
    pub fn endure(&self, mood: Mood, times: usize) {
        self.set(mood);
        self.until_asked(times);
    }
}

impl Drop for Moody {
    fn drop(&mut self) {
        self.state.now.lock().unwrap().over = true;
        self.state.changed.notify_all();
        // Lets the listener see it.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn serve(&self, caller: TcpStream) -> std::io::Result<()> {
        let mut answers = caller.try_clone()?;
        let mut requests = BufReader::new(caller);
        while let Some(request) = read(&mut requests)? {
            let texts: Vec<&str> = request["input"]
                .as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap())
                .collect();
            let mood = match texts == [PROBE] {
                true => Some(Mood::Well),
                false => self.mood(),
            };
            let (head, body) = match mood {
                // Over, or no answer comes: the connection ends.
                None | Some(Mood::Hanging) => return Ok(()),
                Some(Mood::Busy) => ("429 Too Many Requests\r\nRetry-After: 1", said("slow down")),
                Some(Mood::Broken) => ("500 Internal Server Error", said("out of order")),
                Some(Mood::Well) if texts.iter().any(|text| text.contains(UNSPEAKABLE)) => {
                    ("400 Bad Request", said("this cannot be said"))
                }
                Some(Mood::Well) => ("200 OK", vectors(&texts)),
            };
            let body = body.to_string();
            write!(
                answers,
                "HTTP/1.1 {head}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
        Ok(())
    }

    /// The mood that a request meets; where it is to hang, once that is over.
    fn mood(&self) -> Option<Mood> {
        let mut now = self.now.lock().unwrap();
        now.asked += 1;
        self.changed.notify_all();
        let mood = now.mood;
        let hangs = |now: &mut Now| now.mood == Mood::Hanging && !now.over;
        let now = self.changed.wait_while(now, hangs).unwrap();
        (!now.over).then_some(mood)
    }
}

/// The body of the next request of a connection; none at its end.
fn read(from: &mut BufReader<TcpStream>) -> std::io::Result<Option<Value>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

fn said(message: &str) -> Value {
    json!({"error": {"message": message}})
}

/// Texts that share words are near.
fn vectors(texts: &[&str]) -> Value {
    let vector = |text: &str| {
        let mut vector = vec![0.01; DIMENSIONS];
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            let place = word
                .bytes()
                .fold(7_usize, |sum, byte| sum * 31 % 65_521 + usize::from(byte));
            vector[place % DIMENSIONS] += 1.0;
        }
        vector
    };
    let item = |(index, text): (usize, &&str)| json!({"index": index, "embedding": vector(text)});
    json!({"data": texts.iter().enumerate().map(item).collect::<Vec<_>>()})
}
