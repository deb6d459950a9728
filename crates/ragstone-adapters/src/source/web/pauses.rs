//! Pauses that hosts request: `429 Too Many Requests` and `503 Service Unavailable` with `Retry-After`.
//!
//! Invariant: all requests to a host respect its pause; the length and the number of waits are bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::source::guard::{GuardError, GuardedResponse};

/// Most attempts to fetch a page while its host asks for pauses.
const TRIES: usize = 4;
/// Longest pause that is respected; an answer that asks for a longer one is final.
const MAX_PAUSE: Duration = Duration::from_secs(120);
/// Pause after a 429 without `Retry-After`.
const DEFAULT_PAUSE: Duration = Duration::from_secs(2);

/// For each host, the moment before which no request is sent.
#[derive(Default)]
pub(super) struct HostPauses(Mutex<HashMap<String, Instant>>);

impl HostPauses {
    /// Sends a request until `host` no longer asks for a pause; returns that answer, or the one to the last attempt.
    pub async fn send_after_pause<F>(&self, host: &str, ask: impl Fn() -> F) -> Result<GuardedResponse, GuardError>
    where
        F: Future<Output = Result<GuardedResponse, GuardError>>,
    {
        for _ in 1..TRIES {
            self.wait_for_pause(host).await;
            let answer = ask().await?;
            let Some(pause) = pause_duration(answer.status, answer.retry_after()) else {
                return Ok(answer);
            };
            self.begin_pause(host, pause);
        }
        self.wait_for_pause(host).await;
        ask().await
    }

    async fn wait_for_pause(&self, host: &str) {
        let until = |pauses: &Mutex<HashMap<String, Instant>>| {
            let pauses = pauses.lock().unwrap_or_else(PoisonError::into_inner);
            pauses.get(host).copied()
        };
        // Another request may have extended the pause in the meantime.
        while let Some(until) = until(&self.0).filter(|until| *until > Instant::now()) {
            sleep_until(until).await;
        }
    }

    fn begin_pause(&self, host: &str, pause: Duration) {
        let until = Instant::now() + pause;
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pauses.entry(host.to_owned()).or_insert(until);
        *known = until.max(*known);
    }
}

/// Pause before the next attempt; `None` if the answer is final.
fn pause_duration(status: u16, said: Option<Duration>) -> Option<Duration> {
    let pause = match status {
        429 => said.unwrap_or(DEFAULT_PAUSE),
        503 => said?,
        _ => return None,
    };
    (pause <= MAX_PAUSE).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_to_wait_is_waited_for_within_bounds() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (status, said, expected) in [
            (429, seconds(7), seconds(7)),
            (503, seconds(7), seconds(7)),
            (429, None, Some(DEFAULT_PAUSE)),
            (503, None, None),
            (429, seconds(86_400), None),
            (200, seconds(7), None),
            (404, seconds(7), None),
            (500, seconds(7), None),
        ] {
            assert_eq!(pause_duration(status, said), expected, "{status} {said:?}");
        }
    }
}
