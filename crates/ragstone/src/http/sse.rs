//! Server-sent events: frames with `event:`, `id:` and one JSON object in `data:`, and comments during pauses.
//!
//! Invariant: serialised JSON contains no line break, so data cannot end a frame early.

use std::fmt::Display;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use tokio::time::{Instant, Sleep};

/// Comment sent during pauses, so that proxies keep the connection open.
const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");

/// One frame with `data` as JSON.
pub(super) fn event_frame(event: &str, id: &str, data: &impl Serialize) -> Bytes {
    let json = serde_json::to_vec(data).expect("what is sent is made of text and numbers");
    let mut frame = Vec::with_capacity(frame_bytes(event, id.len(), json.len()));
    write_frame(&mut frame, event, id, &json);
    Bytes::from(frame)
}

/// Appends a frame whose data is already JSON.
pub(super) fn write_frame(frames: &mut Vec<u8>, event: &str, id: impl Display, json: &[u8]) {
    write!(frames, "event: {event}\nid: {id}\ndata: ").expect("a vector takes all");
    frames.extend_from_slice(json);
    frames.extend_from_slice(b"\n\n");
}

/// Length in bytes of a frame whose id and data have the given lengths.
pub(super) const fn frame_bytes(event: &str, id: usize, data: usize) -> usize {
    "event: \nid: \ndata: \n\n".len() + event.len() + id + data
}

/// The streaming response for `frames`. It ends with them, and drops them when the client disconnects.
pub(super) fn sse_response(frames: impl Stream<Item = Bytes> + Send + 'static, heartbeat: Duration) -> Response {
    let kept_alive = KeepAliveStream {
        frames: Box::pin(frames),
        heartbeat,
        last: Instant::now(),
        timer: Box::pin(tokio::time::sleep(heartbeat)),
    };
    let head = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        ("x-accel-buffering", "no"),
    ];
    (head, Body::from_stream(kept_alive)).into_response()
}

/// Adds a comment after each `heartbeat` without a frame. The timer is reset when it fires and not with every frame.
struct KeepAliveStream<S> {
    frames: Pin<Box<S>>,
    heartbeat: Duration,
    /// When a frame or a comment was last sent.
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S: Stream<Item = Bytes>> Stream for KeepAliveStream<S> {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(frame) = self.frames.as_mut().poll_next(context) {
            self.last = Instant::now();
            return Poll::Ready(frame.map(Ok));
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            let (now, due) = (Instant::now(), self.last + self.heartbeat);
            if due > now {
                self.timer.as_mut().reset(due);
                continue;
            }
            self.last = now;
            let next = now + self.heartbeat;
            self.timer.as_mut().reset(next);
            return Poll::Ready(Some(Ok(HEARTBEAT)));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_frame_is_three_lines_whatever_its_text() {
        let frame = event_frame("delta", "t:1", &json!({"text": "a\nb\r\n\u{2028}ü 日本"}));
        let text = std::str::from_utf8(&frame).unwrap();
        assert_eq!(text.matches('\n').count(), 4);
        assert!(text.starts_with("event: delta\nid: t:1\ndata: {") && text.ends_with("}\n\n"));
        let data = text.lines().nth(2).unwrap().strip_prefix("data: ").unwrap();
        let json: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(json["text"], "a\nb\r\n\u{2028}ü 日本");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_filled_with_comments() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let frames = futures::stream::once(async move {
            receiver.await.unwrap();
            Bytes::from_static(b"end")
        });
        let answer = sse_response(frames, Duration::from_secs(15));
        let mut body = answer.into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), HEARTBEAT);
        assert_eq!(body.next().await.unwrap().unwrap(), HEARTBEAT);
        sender.send(()).unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), "end");
        assert!(body.next().await.is_none());
    }
}
