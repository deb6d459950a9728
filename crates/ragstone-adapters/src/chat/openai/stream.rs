//! Events of one answer, from the bytes of its reply.

use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use futures::Stream;
use ragstone_core::seam::ChatError;
use ragstone_core::seam::chat::{ChatEvent, FinishReason};
use reqwest::Response;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::reply::{self, ReplyDelta};
use super::thoughts::{LateTag, ModelThoughtMarkings, ThoughtFilter};
use crate::openai::{DONE, OpenAiClient, ReplyBodyReader, ServiceError, SseReader};

/// How long the token counts are awaited after the answer ended: they follow at once, or never.
const USAGE_TIMEOUT: Duration = Duration::from_millis(500);

/// Most bytes of a reply that is not an event stream.
const MAX_WHOLE_BYTES: usize = 8 << 20;

/// An answer that has begun.
pub(super) struct ChatReplyStream {
    pub client: Arc<OpenAiClient>,
    pub habits: Arc<ModelThoughtMarkings>,
    pub model: String,
    /// Whether token counts were requested and may follow the end.
    pub usage_was_asked: bool,
}

impl ChatReplyStream {
    /// The events; the end event follows only if the service marked the end. The first bytes of the reply have to
    /// arrive before `deadline`.
    pub fn into_events(
        self,
        mut reply: Response,
        deadline: Instant,
    ) -> impl Stream<Item = Result<ChatEvent, ChatError>> + Send {
        try_stream! {
            let client = self.client.as_ref();
            let mut reader = ReplyReader::default();
            let mut filter = ThoughtFilter::new(&self.habits, &self.model);
            let (mut finish, mut usage) = (None, None);
            let mut pieces = ReplyBodyReader::new(client, &mut reply, Some(deadline));
            let mut said = Vec::new();
            let mut usage_deadline = None;
            'reply: loop {
                let bytes = match usage_deadline {
                    None => pieces.next().await?,
                    // The answer is complete; only the token counts may be missing.
                    Some(deadline) => match timeout_at(deadline, pieces.next()).await {
                        Ok(Ok(bytes)) => bytes,
                        _ => break,
                    },
                };
                let at_end = bytes.is_none();
                reader.read_bytes(client, bytes.as_deref(), &mut said);
                for said in said.drain(..) {
                    let piece = match said {
                        Ok(ReplyItem::Delta(piece)) => piece,
                        Ok(ReplyItem::Done) => {
                            finish = finish.or(Some(FinishReason::Stop));
                            break 'reply;
                        }
                        Err(_) if finish.is_some() => break 'reply,
                        Err(fault) => Err(fault)?,
                    };
                    if piece.has_separate_thoughts {
                        let text = filter.release_as_answer();
                        if !text.is_empty() {
                            yield ChatEvent::Delta(text);
                        }
                    }
                    let text = filter.push(piece.text).map_err(late_tag_error)?;
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
                    usage_deadline = Some(Instant::now() + USAGE_TIMEOUT);
                }
            }
            let finish = finish.ok_or_else(|| reader.truncation_error(client))?;
            let rest = filter.finish_text(finish == FinishReason::Stop).map_err(late_tag_error)?;
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

fn late_tag_error(LateTag: LateTag) -> ServiceError {
    ServiceError::broken(
        "its answer began with thoughts that only their end marks; from now on they are waited for, ask again",
    )
}

/// One item of a reply.
enum ReplyItem {
    Delta(ReplyDelta),
    /// End of the reply.
    Done,
}

/// Reader of a reply; the first character decides whether it is an event stream or complete JSON.
#[derive(Default)]
enum ReplyReader {
    #[default]
    Unknown,
    Events(SseReader),
    /// JSON, parsed once all of it has arrived.
    Whole(Vec<u8>),
    /// Beginning of a reply in no known form.
    Foreign(Vec<u8>),
}

impl ReplyReader {
    /// Adds bytes and the items that they complete; empty `bytes` mean the end.
    fn read_bytes(
        &mut self,
        client: &OpenAiClient,
        bytes: Option<&[u8]>,
        all: &mut Vec<Result<ReplyItem, ServiceError>>,
    ) {
        let Some(bytes) = bytes else {
            return self.finish_reply(client, all);
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
                let read = reader.push(bytes, |event| all.push(parse_item(client, event.data, event.is_error)));
                if read.is_err() {
                    all.push(Err(ServiceError::broken("it sent an event without an end")));
                }
            }
            Self::Whole(held) | Self::Foreign(held) if held.len() + bytes.len() > MAX_WHOLE_BYTES => {
                all.push(Err(ServiceError::broken(format!(
                    "its reply is longer than {MAX_WHOLE_BYTES} bytes"
                ))));
            }
            Self::Whole(held) | Self::Foreign(held) => held.extend_from_slice(bytes),
        }
    }

    fn finish_reply(&mut self, client: &OpenAiClient, all: &mut Vec<Result<ReplyItem, ServiceError>>) {
        match self {
            Self::Events(reader) => {
                reader.finish(|event| all.push(parse_item(client, event.data, event.is_error)));
            }
            Self::Whole(held) => all.extend(parse_json_reply(client, &String::from_utf8_lossy(held))),
            Self::Unknown | Self::Foreign(_) => {}
        }
    }

    /// Error for a reply without an end mark.
    fn truncation_error(&self, client: &OpenAiClient) -> ServiceError {
        match self {
            Self::Foreign(held) => ServiceError::from_event(&client.redact(&String::from_utf8_lossy(held)), None),
            _ => ServiceError::broken("its answer broke off"),
        }
    }
}

fn parse_item(client: &OpenAiClient, data: &str, is_error: bool) -> Result<ReplyItem, ServiceError> {
    match data.trim() == DONE {
        true => Ok(ReplyItem::Done),
        false => reply::parse_event(client, data, is_error).map(ReplyItem::Delta),
    }
}

/// Parses a reply that is not an event stream. One JSON value is an answer, finished unless it says otherwise; one
/// value per line is a stream.
fn parse_json_reply(client: &OpenAiClient, text: &str) -> Vec<Result<ReplyItem, ServiceError>> {
    let text = text.trim_start_matches('\u{feff}');
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let piece = reply::parse_delta(client, &value, false).and_then(|mut piece| {
            let is_answer = !piece.text.is_empty() || piece.finish.is_some();
            piece.finish = piece.finish.or(Some(FinishReason::Stop));
            is_answer
                .then_some(piece)
                .ok_or_else(|| ServiceError::broken("its reply holds no answer"))
        });
        return vec![piece.map(ReplyItem::Delta)];
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| parse_item(client, line, false)).collect()
}

#[cfg(test)]
mod tests {
    use ragstone_core::counting::count_allocations;

    use super::*;
    use crate::openai::{OpenAiConnection, ServiceLimits};

    #[test]
    fn a_token_is_parsed_once_into_its_text() {
        let client =
            OpenAiClient::new(OpenAiConnection::new("http://h", None, ServiceLimits::default()).unwrap()).unwrap();
        let habits = ModelThoughtMarkings::new(true);
        let (mut reader, mut filter) = (ReplyReader::default(), ThoughtFilter::new(&habits, "m"));
        let event = b"data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n";
        let mut said = Vec::with_capacity(1);
        reader.read_bytes(&client, Some(event), &mut said);
        for n in 0..100 {
            said.clear();
            let (text, taken) = count_allocations(|| {
                reader.read_bytes(&client, Some(event), &mut said);
                match said.pop() {
                    Some(Ok(ReplyItem::Delta(piece))) => filter.push(piece.text).unwrap(),
                    _ => String::new(),
                }
            });
            assert_eq!((text.as_str(), taken.allocations), (" word", 1), "token {n}");
        }
    }
}
