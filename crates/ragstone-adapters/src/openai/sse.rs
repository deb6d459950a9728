//! Server-sent events: bytes in whatever pieces to whole events, as leniently as their senders write them.
//!
//! Besides what the standard allows (any line end, comments, no space behind the colon, a byte order mark), events that
//! only a single line end separates are told apart, and the last one needs no line end at all, as long as each event's
//! data is one whole JSON value or the end marker.

use memchr::memchr2;
use serde::de::IgnoredAny;

/// Most bytes of one event.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Bytes that a reader keeps for the next event, at most, once it has read one.
const KEPT_BYTES: usize = 4 << 10;

/// What stands behind the last event of a reply.
pub(crate) const DONE: &str = "[DONE]";

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A whole event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SseEvent<'a> {
    /// Whether its sender called it `error`.
    pub is_error: bool,
    /// Its data lines, joined; never blank.
    pub data: &'a str,
}

/// Collects pieces until events are whole.
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data lines so far.
    data: String,
    has_data: bool,
    is_error: bool,
    /// The last byte was a carriage return: a line feed behind it ends no further line.
    returned: bool,
    /// A line was read, so no byte order mark may follow.
    begun: bool,
}

/// An event is longer than any of this API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SseEventTooLong;

impl SseReader {
    /// Gives the events that `bytes` complete. Comments, other fields and events without data are left out.
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

    /// Gives what was said before the stream ended without an empty line, or any line end, behind it. Half a value is
    /// nothing.
    pub fn finish(&mut self, mut take: impl FnMut(SseEvent<'_>)) {
        let mut take_whole = |event: SseEvent<'_>| {
            if event.is_error || is_complete_data(event.data) {
                take(event);
            }
        };
        self.finish_line(&[], &mut take_whole);
        self.finish_event(&mut take_whole);
    }

    /// Reads a line, of which `end` is what came last.
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
                // A name stands before its data: data that is whole belongs to an event before it.
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

    /// Ends the event so far, if nothing can be missing of it.
    fn finish_complete_event(&mut self, take: &mut impl FnMut(SseEvent<'_>)) {
        if self.has_data && is_complete_data(&self.data) {
            self.finish_event(take);
        }
    }
}

/// Whether `data` is all of an event's data by itself.
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
