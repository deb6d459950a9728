//! The events of one answer, from the bytes of its reply.

use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use futures::Stream;
use ragstone_core::seam::ChatError;
use ragstone_core::seam::chat::{ChatEvent, FinishReason};
use reqwest::Response;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::reply::{self, Piece};
use super::thoughts::{Habits, LateTag, ThoughtFilter};
use crate::openai::{Client, DONE, Fault, Pieces, SseReader};

/// How long the count of tokens is waited for once the answer ended: it follows at once, or never.
const USAGE_PATIENCE: Duration = Duration::from_millis(500);

/// Most bytes of a reply that is no stream of events.
const MAX_WHOLE_BYTES: usize = 8 << 20;

/// An answer that has begun.
pub(super) struct Answer {
    pub client: Arc<Client>,
    pub habits: Arc<Habits>,
    pub model: String,
    /// Whether a count of tokens may follow the end.
    pub usage_was_asked: bool,
}

impl Answer {
    /// The events; the end comes once the service said that it is the end. The first piece of the reply has to come
    /// before `deadline`.
    pub fn events(
        self,
        mut reply: Response,
        deadline: Instant,
    ) -> impl Stream<Item = Result<ChatEvent, ChatError>> + Send {
        try_stream! {
            let client = self.client.as_ref();
            let mut reader = ReplyReader::default();
            let mut filter = ThoughtFilter::new(&self.habits, &self.model);
            let (mut finish, mut usage) = (None, None);
            let mut pieces = Pieces::new(client, &mut reply, Some(deadline));
            let mut said = Vec::new();
            let mut usage_deadline = None;
            'reply: loop {
                let bytes = match usage_deadline {
                    None => pieces.next().await?,
                    // All was said; only the count of tokens may be missing.
                    Some(deadline) => match timeout_at(deadline, pieces.next()).await {
                        Ok(Ok(bytes)) => bytes,
                        _ => break,
                    },
                };
                let at_end = bytes.is_none();
                reader.read(client, bytes.as_deref(), &mut said);
                for said in said.drain(..) {
                    let piece = match said {
                        Ok(Said::Piece(piece)) => piece,
                        Ok(Said::Done) => {
                            finish = finish.or(Some(FinishReason::Stop));
                            break 'reply;
                        }
                        Err(_) if finish.is_some() => break 'reply,
                        Err(fault) => Err(fault)?,
                    };
                    if piece.keeps_apart {
                        let text = filter.is_kept_apart();
                        if !text.is_empty() {
                            yield ChatEvent::Delta(text);
                        }
                    }
                    let text = filter.push(piece.text).map_err(late)?;
                    if !text.is_empty() {
                        yield ChatEvent::Delta(text);
                    }
                    usage = piece.usage.or(usage);
                    finish = piece.finish.or(finish);
                }
                if at_end || (finish.is_some() && (usage.is_some() || !self.usage_was_asked)) {
                    break;
                }
                if finish.is_some() && usage_deadline.is_none() {
                    usage_deadline = Some(Instant::now() + USAGE_PATIENCE);
                }
            }
            let finish = finish.ok_or_else(|| reader.broke_off(client))?;
            let rest = filter.end(finish == FinishReason::Stop).map_err(late)?;
            if !rest.is_empty() {
                yield ChatEvent::Delta(rest);
            }
            if let Some(usage) = usage {
                yield ChatEvent::Usage(usage);
            }
            yield ChatEvent::End(finish);
        }
    }
}

fn late(LateTag: LateTag) -> Fault {
    Fault::broken(
        "its answer began with thoughts that only their end marks; from now on they are waited for, ask again",
    )
}

/// What a reply says at a time.
enum Said {
    Piece(Piece),
    /// Nothing follows.
    Done,
}

/// Tells a stream of events from a reply that comes whole, by the first character.
#[derive(Default)]
enum ReplyReader {
    #[default]
    Unknown,
    Events(SseReader),
    /// JSON, read once all of it is there.
    Whole(Vec<u8>),
    /// No form of this API: its beginning.
    Foreign(Vec<u8>),
}

impl ReplyReader {
    /// Adds what `bytes` complete; none are the end.
    fn read(&mut self, client: &Client, bytes: Option<&[u8]>, all: &mut Vec<Result<Said, Fault>>) {
        let Some(bytes) = bytes else {
            return self.finish(client, all);
        };
        if matches!(self, Self::Unknown) {
            let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
            match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => return,
                Some(b'{' | b'[') => *self = Self::Whole(Vec::new()),
                Some(b'<') => *self = Self::Foreign(Vec::new()),
                Some(_) => *self = Self::Events(SseReader::default()),
            }
        }
        match self {
            Self::Unknown => {}
            Self::Events(reader) => {
                let read = reader.push(bytes, |event| all.push(said(client, event.data, event.is_error)));
                if read.is_err() {
                    all.push(Err(Fault::broken("it sent an event without an end")));
                }
            }
            Self::Whole(held) | Self::Foreign(held) if held.len() + bytes.len() > MAX_WHOLE_BYTES => {
                all.push(Err(Fault::broken(format!(
                    "its reply is longer than {MAX_WHOLE_BYTES} bytes"
                ))));
            }
            Self::Whole(held) | Self::Foreign(held) => held.extend_from_slice(bytes),
        }
    }

    fn finish(&mut self, client: &Client, all: &mut Vec<Result<Said, Fault>>) {
        match self {
            Self::Events(reader) => {
                reader.finish(|event| all.push(said(client, event.data, event.is_error)));
            }
            Self::Whole(held) => all.extend(whole(client, &String::from_utf8_lossy(held))),
            Self::Unknown | Self::Foreign(_) => {}
        }
    }

    /// Why there is no end.
    fn broke_off(&self, client: &Client) -> Fault {
        match self {
            Self::Foreign(held) => Fault::of_event(&client.redact(&String::from_utf8_lossy(held)), None),
            _ => Fault::broken("its answer broke off"),
        }
    }
}

fn said(client: &Client, data: &str, is_error: bool) -> Result<Said, Fault> {
    match data.trim() == DONE {
        true => Ok(Said::Done),
        false => reply::read(client, data, is_error).map(Said::Piece),
    }
}

/// A reply that is one JSON value is an answer, and ended unless it says otherwise; one value a line is a stream.
fn whole(client: &Client, text: &str) -> Vec<Result<Said, Fault>> {
    let text = text.trim_start_matches('\u{feff}');
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let piece = reply::piece(client, &value, false).and_then(|mut piece| {
            let is_answer = !piece.text.is_empty() || piece.finish.is_some();
            piece.finish = piece.finish.or(Some(FinishReason::Stop));
            is_answer
                .then_some(piece)
                .ok_or_else(|| Fault::broken("its reply holds no answer"))
        });
        return vec![piece.map(Said::Piece)];
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| said(client, line, false)).collect()
}

#[cfg(test)]
mod tests {
    use ragstone_core::counting::counted;

    use super::*;
    use crate::openai::{Connection, Limits};

    #[test]
    fn a_token_is_parsed_once_into_its_text() {
        let client = Client::new(Connection::new("http://h", None, Limits::default()).unwrap()).unwrap();
        let habits = Habits::new(true);
        let (mut reader, mut filter) = (ReplyReader::default(), ThoughtFilter::new(&habits, "m"));
        let event = b"data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n";
        let mut said = Vec::with_capacity(1);
        reader.read(&client, Some(event), &mut said);
        for n in 0..100 {
            said.clear();
            let (text, taken) = counted(|| {
                reader.read(&client, Some(event), &mut said);
                match said.pop() {
                    Some(Ok(Said::Piece(piece))) => filter.push(piece.text).unwrap(),
                    _ => String::new(),
                }
            });
            assert_eq!((text.as_str(), taken.allocations), (" word", 1), "token {n}");
        }
    }
}
