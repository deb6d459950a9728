//! The event log of a stream: the JSON data of each event, stored once. SSE frames are built from it when a reader
//! asks.

use bytes::Bytes;
use ragstone_core::ask::{Answer, AnswerEvent, AnswerSentence, Citation, Notice};
use ragstone_core::id::TraceId;
use ragstone_core::seam::chat::TokenUsage;
use serde::Serialize;

use crate::http::body::{NoticeBody, PassageBody, passage_bodies};
use crate::http::sse::{frame_bytes, write_frame};

/// Bytes of frames after which no further event joins the same write.
const MAX_WRITE: usize = 16 * 1024;

/// Length of an event id without its number: a trace id and a colon.
const TRACE_BYTES: usize = "00000000-0000-0000-0000-000000000000:".len();

/// Name of an event, as in the `event:` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerEventName {
    Sources,
    Delta,
    Citation,
    Done,
    Failed,
}

impl AnswerEventName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Delta => "delta",
            Self::Citation => "citation",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// The events of one stream, in order.
#[derive(Debug, Default)]
pub(super) struct AnswerEventLog {
    /// The JSON objects of all events, concatenated.
    data: Vec<u8>,
    /// For each event its name and the end of its data in `data`.
    events: Vec<(AnswerEventName, usize)>,
}

impl AnswerEventLog {
    /// Appends an event as JSON.
    pub fn push(&mut self, event: &AnswerEvent) {
        let name = match event {
            AnswerEvent::Sources { passages, notices } => {
                self.write_json(&SourcesData {
                    passages: passage_bodies(passages),
                    notices: notices.iter().map(NoticeBody::from).collect(),
                });
                AnswerEventName::Sources
            }
            AnswerEvent::Delta { text } => {
                self.write_json(&DeltaData { text });
                AnswerEventName::Delta
            }
            AnswerEvent::Citation(citation) => {
                self.write_json(citation);
                AnswerEventName::Citation
            }
            AnswerEvent::Done(answer) => {
                self.write_json(&DoneData::from(&**answer));
                AnswerEventName::Done
            }
            AnswerEvent::Failed { code, detail } => {
                self.push_failed(code, detail);
                return;
            }
        };
        self.events.push((name, self.data.len()));
    }

    /// Appends the `failed` event with which a stream without an answer ends.
    pub fn push_failed(&mut self, code: &str, detail: &str) {
        self.write_json(&FailedData { code, detail });
        self.events.push((AnswerEventName::Failed, self.data.len()));
    }

    fn write_json(&mut self, data: &impl Serialize) {
        serde_json::to_writer(&mut self.data, data).expect("what is sent is made of text and numbers");
    }

    /// Number of events in the log.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Allocated memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.data.capacity() + self.events.capacity() * size_of::<(AnswerEventName, usize)>()
    }

    /// Frees unused capacity; no further event will be appended.
    pub fn close(&mut self) {
        self.data.shrink_to_fit();
        self.events.shrink_to_fit();
    }

    /// Frames of the events after the first `from`: as many as fit one write, but at least one. Also returns the number
    /// of the last event included.
    pub fn frames_from(&self, from: usize, trace_id: TraceId) -> (Bytes, usize) {
        let (next, bytes) = self.next_write(from);
        let mut frames = Vec::with_capacity(bytes);
        let mut at = self.data_start(from);
        for (n, (name, end)) in (from + 1..).zip(&self.events[from..next]) {
            let id = format_args!("{trace_id}:{n}");
            write_frame(&mut frames, name.as_str(), id, &self.data[at..*end]);
            at = *end;
        }
        (Bytes::from(frames), next)
    }

    /// Number of the last event that a write from `from` on includes, and the bytes of that write.
    fn next_write(&self, from: usize) -> (usize, usize) {
        let (mut next, mut bytes) = (from, 0);
        for (name, end) in &self.events[from..] {
            let data = end - self.data_start(next);
            let frame = frame_bytes(name.as_str(), TRACE_BYTES + decimal_digits(next + 1), data);
            if next > from && bytes + frame > MAX_WRITE {
                break;
            }
            (next, bytes) = (next + 1, bytes + frame);
        }
        (next, bytes)
    }

    /// Offset in `data` at which the data of an event begin.
    fn data_start(&self, event: usize) -> usize {
        event.checked_sub(1).map_or(0, |before| self.events[before].1)
    }
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[derive(Serialize)]
struct SourcesData {
    passages: Vec<PassageBody>,
    notices: Vec<NoticeBody>,
}

#[derive(Serialize)]
struct DeltaData<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct FailedData<'a> {
    code: &'a str,
    detail: &'a str,
}

/// Data of `done`: the answer without its text, which was sent in the deltas.
#[derive(Serialize)]
struct DoneData<'a> {
    answered: bool,
    sentences: &'a [AnswerSentence],
    citations: &'a [Citation],
    sources: &'a [String],
    usage: &'a TokenUsage,
    model: &'a str,
    trace_id: TraceId,
    notices: &'a [Notice],
}

impl<'a> From<&'a Answer> for DoneData<'a> {
    fn from(answer: &'a Answer) -> Self {
        // Destructured without `..`: a new field of `Answer` does not compile until it is handled here.
        let Answer {
            answer: _,
            answered,
            sentences,
            citations,
            sources,
            usage,
            model,
            trace_id,
            notices,
        } = answer;
        Self {
            answered: *answered,
            sentences,
            citations,
            sources,
            usage,
            model,
            trace_id: *trace_id,
            notices,
        }
    }
}

#[cfg(test)]
mod tests {
    use ragstone_core::counting::{AllocationCount, count_allocations};
    use ragstone_core::id::TraceId;
    use uuid::Uuid;

    use super::*;

    fn delta(text: &str) -> AnswerEvent {
        AnswerEvent::Delta { text: text.into() }
    }

    fn frames(log: &AnswerEventLog, from: usize) -> (String, usize) {
        let (bytes, next) = log.frames_from(from, TraceId(Uuid::nil()));
        (String::from_utf8(bytes.to_vec()).unwrap(), next)
    }

    #[test]
    fn frames_are_made_from_any_event_on() {
        let mut log = AnswerEventLog::default();
        log.push(&delta("a\nb\r\n\u{2028}ü 日本"));
        log.push(&delta("\"c\""));
        log.push_failed("interrupted", "why");
        let id = |n: usize| format!("id: {}:{n}", Uuid::nil());
        let first = format!(
            "event: delta\n{}\ndata: {{\"text\":\"a\\nb\\r\\n\u{2028}ü 日本\"}}\n\n",
            id(1)
        );
        let second = format!("event: delta\n{}\ndata: {{\"text\":\"\\\"c\\\"\"}}\n\n", id(2));
        let third = format!(
            "event: failed\n{}\ndata: {{\"code\":\"interrupted\",\"detail\":\"why\"}}\n\n",
            id(3)
        );
        assert_eq!(frames(&log, 0), (first + &second + &third, 3));
        assert_eq!(frames(&log, 1), (second + &third, 3));
        assert_eq!(frames(&log, 2), (third, 3));
    }

    #[test]
    fn a_write_takes_what_fits_and_one_event_at_least() {
        let mut log = AnswerEventLog::default();
        log.push(&delta(&"x".repeat(2 * MAX_WRITE)));
        (0..1_000).for_each(|_| log.push(&delta("0123456789")));
        let (first, next) = frames(&log, 0);
        assert_eq!((next, first.len() > 2 * MAX_WRITE), (1, true));
        let mut at = next;
        let mut writes = 0;
        while at < log.len() {
            let (frames, next) = frames(&log, at);
            assert!(frames.len() <= MAX_WRITE && next > at);
            (at, writes) = (next, writes + 1);
        }
        assert_eq!(writes, 6, "88 KB in all");
    }

    #[test]
    fn a_token_is_written_once_into_memory_that_fits() {
        let mut log = AnswerEventLog::default();
        let token = delta("word ");
        log.data.reserve(64 * 1024);
        log.events.reserve(1_024);
        for n in 0..1_000 {
            let (bytes, taken) = count_allocations(|| {
                log.push(&token);
                log.frames_from(n, TraceId(Uuid::nil())).0
            });
            let held = AllocationCount {
                allocations: 1,
                bytes: bytes.len().cast_signed(),
            };
            assert_eq!(taken, held, "the frame of token {n}, and nothing else");
        }
    }

    #[test]
    fn an_event_costs_its_data_and_sixteen_bytes() {
        let mut log = AnswerEventLog::default();
        (0..1_000).for_each(|_| log.push(&delta("word ")));
        log.close();
        let data = r#"{"text":"word "}"#.len();
        assert_eq!(log.memory_bytes(), 1_000 * (data + 16));
    }
}
