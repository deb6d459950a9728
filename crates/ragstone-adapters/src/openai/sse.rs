//! Server-sent events: bytes in whatever pieces to the data of whole events.

/// Most bytes of one event.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Collects pieces until events are whole.
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    line: Vec<u8>,
    data: Option<String>,
    /// The last byte was a carriage return: a line feed behind it ends no further line.
    returned: bool,
}

/// An event is longer than any of this API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl SseReader {
    /// The data of the events that `bytes` complete. Comments and other fields are left out.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
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

    /// What was said in whole lines before the stream ended without the empty line behind them.
    pub fn finish(&mut self) -> Option<String> {
        self.data.take()
    }

    fn end_of_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        let value = line.strip_prefix(b"data:")?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = String::from_utf8_lossy(value);
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(&text);
            }
            None => self.data = Some(text.into_owned()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_arrive() {
        let stream =
            ": hi\ndata: {\"a\": \"é日\"}\r\n\r\nevent: x\ndata:one\ndata: two\n\n: ping\n\ndata: [DONE]\n";
        for size in 1..stream.len() {
            let mut reader = SseReader::default();
            let mut events: Vec<String> = stream
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| reader.push(piece).unwrap())
                .collect();
            events.extend(reader.finish());
            assert_eq!(
                events,
                ["{\"a\": \"é日\"}", "one\ntwo", "[DONE]"],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = SseReader::default();
        let piece = vec![b'x'; MAX_EVENT_BYTES / 2];
        assert!(reader.push(&piece).is_ok() && reader.push(&piece).is_ok());
        assert_eq!(reader.push(b"x"), Err(TooLong));
    }
}
