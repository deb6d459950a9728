//! HTTP over a plain socket, and server-sent events as an `EventSource` reads them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// A server that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that is not sent yet.
pub struct Request {
    address: String,
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer whose body is still to come. Dropping it closes the connection.
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Box<dyn BufRead>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
    headers: Vec<(String, String)>,
}

/// What stands between two empty lines of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    Comment(String),
    Event(Event),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

pub fn request(address: &str, method: &str, path: &str) -> Request {
    Request {
        address: address.to_owned(),
        line: format!("{method} {path} HTTP/1.1"),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", media_type)
    }

    /// Sends it, and reads the head of the answer.
    pub fn open(self) -> Reply {
        let mut stream = self.connect();
        // A server may answer and close before it has read everything.
        let _ = stream.write_all(&self.body);
        Reply::read(stream)
    }

    pub fn send(self) -> Answer {
        self.open().whole()
    }

    /// Sends it, and leaves the answer to be read, or not.
    pub fn begin(self) -> BufReader<TcpStream> {
        let mut stream = self.connect();
        stream.write_all(&self.body).unwrap();
        BufReader::new(stream)
    }

    /// Sends `bytes` of its body and no more, and reads the answer.
    pub fn break_off(self, bytes: usize) -> Answer {
        let mut stream = self.connect();
        stream.write_all(&self.body[..bytes]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        Reply::read(stream).whole()
    }

    fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{}\r\n", self.line);
        let own = [
            ("host", self.address.clone()),
            ("connection", "close".to_owned()),
            ("content-length", self.body.len().to_string()),
        ];
        for (name, value) in own {
            if self.headers.iter().all(|(given, _)| given != name) {
                head += &format!("{name}: {value}\r\n");
            }
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes()).unwrap();
        stream
    }
}

impl Reply {
    fn read(stream: TcpStream) -> Self {
        let mut lines = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let status = line();
        let status = status
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no status: {status:?}"));
        let status = status.parse().unwrap();
        let headers: Vec<(String, String)> = std::iter::repeat_with(&mut line)
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        let length = find(&headers, "content-length").map(|length| length.parse().unwrap());
        let body: Box<dyn BufRead> = match (find(&headers, "transfer-encoding"), length) {
            (Some("chunked"), _) => Box::new(BufReader::new(Chunked {
                inner: lines,
                left: 0,
                ended: false,
            })),
            (_, Some(length)) => Box::new(lines.take(length)),
            _ => Box::new(lines),
        };
        Self { status, headers, body }
    }

    pub fn whole(mut self) -> Answer {
        let mut text = String::new();
        self.body.read_to_string(&mut text).unwrap();
        Answer {
            status: self.status,
            text,
            headers: self.headers,
        }
    }

    /// The frames of a stream, as they come.
    #[track_caller]
    pub fn frames(self) -> impl Iterator<Item = Frame> {
        let kind = find(&self.headers, "content-type").unwrap_or_default().to_owned();
        if self.status != 200 || kind != "text/event-stream" {
            panic!("not a stream: {:?}", self.whole());
        }
        assert_eq!(find(&self.headers, "cache-control"), Some("no-store"));
        assert_eq!(find(&self.headers, "x-accel-buffering"), Some("no"));
        let mut lines = self.body.lines().map(Result::unwrap);
        std::iter::from_fn(move || {
            let lines: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            (!lines.is_empty()).then(|| Frame::of(&lines))
        })
    }

    /// Its events, without the comments between them.
    #[track_caller]
    pub fn events(self) -> impl Iterator<Item = Event> {
        self.frames().filter_map(|frame| match frame {
            Frame::Event(event) => Some(event),
            Frame::Comment(_) => None,
        })
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its body, if it has this status.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Its body, if it is a problem of this status and code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        assert_eq!(
            (&body["code"], &body["status"]),
            (&Value::from(code), &Value::from(status)),
            "{body}"
        );
        for word in ["type", "title", "detail", "hint"] {
            assert!(
                body[word].as_str().is_some_and(|text| !text.is_empty()),
                "{word}: {body}"
            );
        }
        body
    }
}

impl Frame {
    /// One of ours: comments alone, or each of the three fields once.
    fn of(lines: &[String]) -> Self {
        if let [line] = lines
            && let Some(comment) = line.strip_prefix(':')
        {
            return Self::Comment(comment.trim().to_owned());
        }
        // A carriage return ends a line too, so one inside a line would cut it.
        assert!(lines.iter().all(|line| !line.contains('\r')), "{lines:?}");
        let field = |name: &str| {
            let mut values = lines.iter().filter_map(|line| line.strip_prefix(name));
            let value = values.next().unwrap_or_else(|| panic!("no {name} in {lines:?}"));
            assert_eq!(values.next(), None, "{lines:?}");
            value.strip_prefix(' ').unwrap_or(value)
        };
        assert_eq!(lines.len(), 3, "{lines:?}");
        Self::Event(Event {
            name: field("event:").to_owned(),
            id: field("id:").to_owned(),
            data: serde_json::from_str(field("data:")).unwrap(),
        })
    }
}

impl Event {
    /// The text that it adds to the answer.
    pub fn delta(&self) -> Option<&str> {
        (self.name == "delta").then(|| self.data["text"].as_str().unwrap())
    }
}

/// The text of a stream's answer.
pub fn text_of<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    events.into_iter().filter_map(Event::delta).collect()
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(given, _)| given == name);
    found.map(|(_, value)| value.as_str())
}

/// A body in chunks; one that ends before its last chunk is an error.
struct Chunked<R> {
    inner: R,
    left: usize,
    ended: bool,
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut size = String::new();
            self.inner.read_line(&mut size)?;
            self.left =
                usize::from_str_radix(size.trim(), 16).map_err(|_| std::io::Error::other("the body broke off"))?;
            self.ended = self.left == 0;
        }
        if self.ended {
            return Ok(0);
        }
        let most = buffer.len().min(self.left);
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read;
        if read == 0 {
            return Err(std::io::Error::other("the body broke off"));
        }
        if self.left == 0 {
            self.inner.read_line(&mut String::new())?;
        }
        Ok(read)
    }
}

/// A form of one file.
pub fn form(field: &str, value: &str, file: &str) -> Vec<u8> {
    let head = |name: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"");
    let (field_head, file_head) = (head(field), head("file"));
    format!("{field_head}\r\n\r\n{value}\r\n{file_head}; filename=\"a.txt\"\r\n\r\n{file}\r\n--B--\r\n").into()
}

/// The media type of [`form`].
pub const FORM: &str = "multipart/form-data; boundary=B";
