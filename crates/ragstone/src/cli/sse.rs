//! Reader of server-sent events.

use async_stream::try_stream;
use axum::body::Body;
use futures::{Stream, StreamExt};
use serde_json::Value;

/// Longest event that is accepted, in bytes.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedEvent {
    /// Name of the event (`event:`).
    pub name: String,
    /// Data of the event (`data:`), parsed as JSON.
    pub data: Value,
}

/// Reads the events of a response.
pub fn read_events(body: Body) -> impl Stream<Item = anyhow::Result<ReceivedEvent>> {
    try_stream! {
        let mut bytes = body.into_data_stream();
        let mut waiting = Vec::new();
        while let Some(next) = bytes.next().await {
            waiting.extend_from_slice(&next?);
            while let Some(end) = find_event_end(&waiting) {
                let block: Vec<u8> = waiting.drain(..end).collect();
                if let Some(event) = parse_event(&String::from_utf8_lossy(&block))? {
                    yield event;
                }
            }
            if waiting.len() > MAX_EVENT_BYTES {
                Err(anyhow::anyhow!("an event of the stream is longer than {MAX_EVENT_BYTES} bytes"))?;
            }
        }
    }
}

/// End of the first event, after its blank line.
fn find_event_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2)
}

/// Parses the lines of an event; `None` for a comment.
fn parse_event(block: &str) -> anyhow::Result<Option<ReceivedEvent>> {
    let field = |name: &str| {
        let lines = block
            .split('\n')
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let lines: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    };
    let Some(data) = field("data") else {
        return Ok(None);
    };
    Ok(Some(ReceivedEvent {
        name: field("event").unwrap_or_else(|| "message".into()),
        data: serde_json::from_str(&data)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(pieces: &[&str], expected: &[(&str, Value)]) {
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            pieces.iter().map(|piece| Ok(piece.as_bytes().to_vec())).collect();
        let body = Body::from_stream(futures::stream::iter(pieces));
        let found: Vec<(String, Value)> = read_events(body)
            .map(|event| event.unwrap())
            .map(|event| (event.name, event.data))
            .collect()
            .await;
        let expected: Vec<(String, Value)> = expected
            .iter()
            .map(|(name, data)| ((*name).to_owned(), data.clone()))
            .collect();
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn events_arrive_in_any_pieces() {
        let text = "event: delta\nid: t:1\ndata: {\"text\":\"a\\nb \u{e9}\"}\n\n: still here\n\ndata:{}\n\n";
        let expected = [
            ("delta", serde_json::json!({"text": "a\nb é"})),
            ("message", serde_json::json!({})),
        ];
        check(&[text], &expected).await;
        let halves = text.split_inclusive(' ').collect::<Vec<_>>();
        check(&halves, &expected).await;
        check(&["event: delta\n"], &[]).await;
    }
}
