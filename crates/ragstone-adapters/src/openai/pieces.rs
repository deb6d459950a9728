//! The pieces of a streamed reply, with a limit to the silence between them.
//!
//! Invariant: silence counts from when a piece is waited for, so a reader that comes late finds nothing expired.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Instant, Sleep, sleep_until};

use super::client::OpenAiClient;
use super::fault::ServiceError;

/// Reads a reply piece by piece. One timer serves all of them: it is set anew when it ends, not with every piece.
pub(crate) struct ReplyBodyReader<'a> {
    client: &'a OpenAiClient,
    reply: &'a mut Response,
    /// Longest silence behind the first piece.
    idle: Duration,
    /// When the first piece has to be there, until it is.
    opening: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<'a> ReplyBodyReader<'a> {
    /// The first piece has to come before `opening`, if that is given, and each other one within the limit of the
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

    /// The next piece; none at the end.
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
            // It usually stands at the end of an earlier silence; that of the first one may be longer.
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
