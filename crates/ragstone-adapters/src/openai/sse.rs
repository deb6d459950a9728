//! Parser for server-sent events: bytes in chunks of any size to whole events, as lenient as senders require.
//!
//! Besides what the standard allows (any line end, comments, no space after the colon, a byte order mark), it
//! separates events that have only a single line end between them, and accepts a last event without a line end, as
//! long as each event's data is one whole JSON value or the end marker.

use memchr::memchr2;
use serde::de::IgnoredAny;

/// Most bytes of one event.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Most bytes of buffer that a reader retains after an event.
const KEPT_BYTES: usize = 4 << 10;

/// Data of the end marker, after the last event of a reply.
pub(crate) const DONE: &str = "[DONE]";

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A complete server-sent event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SseEvent<'a> {
    /// Whether the event's name is `error`.
    pub is_error: bool,
    /// Its data lines, joined; never blank.
    pub data: &'a str,
}

/// Collects bytes into events.
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    /// A line whose end has not arrived yet.
    line: Vec<u8>,
    /// Data lines of the event so far.
    data: String,
    has_data: bool,
    is_error: bool,
    /// The last byte was a carriage return: a line feed after it ends no further line.
    returned: bool,
    /// A line was read, so no byte order mark may follow.
    begun: bool,
}

/// Error: an event exceeds the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SseEventTooLong;

impl SseReader {
    /// Passes the events that `bytes` complete to `take`. Comments, other fields and events without data are skipped.
    pub fn push(&mut self, bytes: &[u8], mut take: impl FnMut(SseEvent<'_>)) -> Result<(), SseEventTooLong> {
        let mut rest = bytes;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let returned = std::mem::replace(&mut self.returned, rest[end] == b'\r');
            if !(end == 0 && returned && rest[end] == b'\n') {
                self.finish_line(&rest[..end], &mut take);
            }
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            self.returned = false;
            self.line.extend_from_slice(rest);
        }
        match self.line.len() + self.data.len() > MAX_EVENT_BYTES {
            true => Err(SseEventTooLong),
            false => Ok(()),
        }
    }

    /// Passes the event before the end of the stream to `take`, even without an empty line or line end after it.
    /// Incomplete data is dropped.
    pub fn finish(&mut self, mut take: impl FnMut(SseEvent<'_>)) {
        let mut take_whole = |event: SseEvent<'_>| {
            if event.is_error || is_complete_data(event.data) {
                take(event);
            }
        };
        self.finish_line(&[], &mut take_whole);
        self.finish_event(&mut take_whole);
    }

    /// Processes a line; `end` is the part of it that came last.
    fn finish_line(&mut self, end: &[u8], take: &mut impl FnMut(SseEvent<'_>)) {
        if self.line.is_empty() {
            return self.parse_line(end, take);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(end);
        self.parse_line(&line, take);
        if line.capacity() <= KEPT_BYTES {
            line.clear();
            self.line = line;
        }
    }

    fn parse_line(&mut self, line: &[u8], take: &mut impl FnMut(SseEvent<'_>)) {
        let line = match std::mem::replace(&mut self.begun, true) {
            true => line,
            false => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
        };
        if line.is_empty() {
            return self.finish_event(take);
        }
        let text = String::from_utf8_lossy(line);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => {
                // An event's name comes before its data: complete data belongs to an earlier event.
                self.finish_complete_event(take);
                self.is_error = value.trim() == "error";
            }
            "data" => {
                self.finish_complete_event(take);
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {}
        }
    }

    fn finish_event(&mut self, take: &mut impl FnMut(SseEvent<'_>)) {
        let is_error = std::mem::take(&mut self.is_error);
        if std::mem::take(&mut self.has_data) && !self.data.trim().is_empty() {
            take(SseEvent {
                is_error,
                data: &self.data,
            });
        }
        self.data.clear();
        self.data.shrink_to(KEPT_BYTES);
    }

    /// Ends the current event if its data is complete.
    fn finish_complete_event(&mut self, take: &mut impl FnMut(SseEvent<'_>)) {
        if self.has_data && is_complete_data(&self.data) {
            self.finish_event(take);
        }
    }
}

/// Whether `data` is the complete data of an event.
fn is_complete_data(data: &str) -> bool {
    data.trim() == DONE || serde_json::from_str::<IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &str, size: usize) -> Vec<String> {
        let mut reader = SseReader::default();
        let mut shown = Vec::new();
        let mut take = |event: SseEvent<'_>| {
            shown.push(match event.is_error {
                true => format!("error {}", event.data),
                false => event.data.to_owned(),
            });
        };
        for piece in stream.as_bytes().chunks(size) {
            reader.push(piece, &mut take).unwrap();
        }
        reader.finish(&mut take);
        shown
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
        let mut push = |bytes: &[u8]| reader.push(bytes, |_| {});
        assert!(push(&piece).is_ok() && push(&piece).is_ok());
        assert_eq!(push(b"x"), Err(SseEventTooLong));
    }
}
