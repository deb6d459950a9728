//! Server-sent events: bytes in whatever pieces to whole events, as leniently as their senders write them.
//!
//! Besides what the standard allows (any line end, comments, no space behind the colon, a byte order mark), events that
//! only a single line end separates are told apart, and the last one needs no line end at all, as long as each event's
//! data is one whole JSON value or the end marker.

use serde::de::IgnoredAny;

/// Most bytes of one event.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// What stands behind the last event of a reply.
pub(crate) const DONE: &str = "[DONE]";

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A whole event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// Whether its sender called it `error`.
    pub is_error: bool,
    /// Its data lines, joined; never blank.
    pub data: String,
}

/// Collects pieces until events are whole.
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    line: Vec<u8>,
    data: Option<String>,
    is_error: bool,
    /// The last byte was a carriage return: a line feed behind it ends no further line.
    returned: bool,
    /// A line was read, so no byte order mark may follow.
    begun: bool,
}

/// An event is longer than any of this API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl SseReader {
    /// The events that `bytes` complete. Comments, other fields and events without data are left out.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let returned = std::mem::replace(&mut self.returned, byte == b'\r');
            match byte {
                b'\n' if returned => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                _ => self.line.push(byte),
            }
        }
        let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
        if held > MAX_EVENT_BYTES {
            Err(TooLong)
        } else {
            Ok(events)
        }
    }

    /// What was said before the stream ended without an empty line, or any line end, behind it. Half a value is nothing.
    pub fn finish(&mut self) -> Vec<SseEvent> {
        let mut events: Vec<SseEvent> = self.end_of_line().into_iter().collect();
        events.extend(self.end_of_event());
        events.retain(|event| event.is_error || is_whole(&event.data));
        events
    }

    fn end_of_line(&mut self) -> Option<SseEvent> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if line.is_empty() {
            return self.end_of_event();
        }
        let text = String::from_utf8_lossy(&line);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => {
                // A name stands before its data: data that is whole belongs to an event before it.
                let before = self.end_of_whole_event();
                self.is_error = value.trim() == "error";
                before
            }
            "data" => {
                let before = self.end_of_whole_event();
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.data = Some(value.to_owned()),
                }
                before
            }
            _ => None,
        }
    }

    fn end_of_event(&mut self) -> Option<SseEvent> {
        let is_error = std::mem::take(&mut self.is_error);
        let data = self.data.take()?;
        (!data.trim().is_empty()).then_some(SseEvent { is_error, data })
    }

    /// The event so far, if nothing can be missing of it.
    fn end_of_whole_event(&mut self) -> Option<SseEvent> {
        match &self.data {
            Some(data) if is_whole(data) => self.end_of_event(),
            _ => None,
        }
    }
}

/// Whether `data` is all of an event's data by itself.
fn is_whole(data: &str) -> bool {
    data.trim() == DONE || serde_json::from_str::<IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &str, size: usize) -> Vec<String> {
        let mut reader = SseReader::default();
        let mut events: Vec<SseEvent> = stream
            .as_bytes()
            .chunks(size)
            .flat_map(|piece| reader.push(piece).unwrap())
            .collect();
        events.extend(reader.finish());
        let shown = |event: SseEvent| match event.is_error {
            true => format!("error {}", event.data),
            false => event.data,
        };
        events.into_iter().map(shown).collect()
    }

    #[test]
    fn events_are_whole_however_they_arrive_and_are_written() {
        let check = |stream: &str, expected: &[&str]| {
            for size in 1..=stream.len() {
                assert_eq!(read(stream, size), expected, "{stream:?} in pieces of {size}");
            }
        };
        check(
            ": hi\ndata: {\"a\": \"é日\"}\r\n\r\nevent: x\ndata:one\ndata: two\n\n: ping\n\ndata: [DONE]\n",
            &["{\"a\": \"é日\"}", "one\ntwo", "[DONE]"],
        );
        check("\u{feff}data: 1\n\ndata: 2\n\n", &["1", "2"]);
        check(
            "data: {}\rdata: {\"a\":1}\rdata: [DONE]\r",
            &["{}", "{\"a\":1}", "[DONE]"],
        );
        check("data: {}\ndata: {}\ndata: [DONE]\n", &["{}", "{}", "[DONE]"]);
        check("data\n\ndata:\n\ndata: \n\ndata: {}\n\n", &["{}"]);
        check("data: {\"a\":\ndata: 1}\n\n", &["{\"a\":\n1}"]);
        check("data: {}", &["{}"]);
        check("data: [DONE]", &["[DONE]"]);
        check("data: {\"a\"", &[]);
        check(
            "data: {}\nevent: error\ndata: no\n\ndata: {}\n\n",
            &["{}", "error no", "{}"],
        );
        check("event: error\ndata: broken", &["error broken"]);
        check("id: 7\nretry: 10\nevent: message\ndata: {}\n\n", &["{}"]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = SseReader::default();
        let piece = vec![b'x'; MAX_EVENT_BYTES / 2];
        assert!(reader.push(&piece).is_ok() && reader.push(&piece).is_ok());
        assert_eq!(reader.push(b"x"), Err(TooLong));
    }
}
