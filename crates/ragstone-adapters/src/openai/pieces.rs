//! Reads a streamed reply in chunks of bytes, with an idle timeout.
//!
//! Invariant: the timeout runs only while a read is waiting, so a slow consumer never finds it expired.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Instant, Sleep, sleep_until};

use super::client::OpenAiClient;
use super::fault::ServiceError;

/// Reads a reply chunk by chunk. One timer serves all reads: it is reset when it expires, not at every read.
pub(crate) struct ReplyBodyReader<'a> {
    client: &'a OpenAiClient,
    reply: &'a mut Response,
    /// Longest silence after the first bytes.
    idle: Duration,
    /// Time by which the first bytes have to arrive; `None` afterwards.
    opening: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<'a> ReplyBodyReader<'a> {
    /// The first bytes have to arrive before `opening`, if that is given, and all others within the idle limit of the
    /// connection.
    pub fn new(client: &'a OpenAiClient, reply: &'a mut Response, opening: Option<Instant>) -> Self {
        let idle = client.limits().idle;
        Self {
            client,
            reply,
            idle,
            opening,
            timer: Box::pin(sleep_until(opening.unwrap_or_else(|| Instant::now() + idle))),
        }
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ServiceError> {
        let (opening, idle) = (self.opening, self.idle);
        let timer = &mut self.timer;
        let mut due = opening;
        let mut chunk = pin!(self.reply.chunk());
        let piece = std::future::poll_fn(|context| {
            if let Poll::Ready(piece) = chunk.as_mut().poll(context) {
                return Poll::Ready(Some(piece));
            }
            let due = *due.get_or_insert_with(|| Instant::now() + idle);
            // The timer is usually set to an earlier time; only the first limit may be longer.
            if timer.deadline() > due {
                timer.as_mut().reset(due);
            }
            while timer.as_mut().poll(context).is_ready() {
                if timer.deadline() >= due {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(due);
            }
            Poll::Pending
        });
        let Some(piece) = piece.await else {
            return Err(ServiceError::broken(match opening {
                Some(_) => "it began its answer and said nothing in time".to_owned(),
                None => format!("it sent nothing for {idle:?}"),
            }));
        };
        self.opening = None;
        piece.map_err(|error| self.client.transport_error(error))
    }
}
