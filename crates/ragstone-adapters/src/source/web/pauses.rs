//! Pauses that hosts ask for: `429 Too Many Requests` and `503 Service Unavailable` with `Retry-After`.
//!
//! Invariant: all requests to a host keep its pause; how long and how often one waits is bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::source::guard::{GuardError, GuardedResponse};

/// Times that a page is asked for in all, while its host asks to wait.
const TRIES: usize = 4;
/// The longest pause that is kept to; who asks for a longer one is not asked again.
const MAX_PAUSE: Duration = Duration::from_secs(120);
/// The pause after a 429 that does not say how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(2);

/// Before when each host is not to be asked.
#[derive(Default)]
pub(super) struct HostPauses(Mutex<HashMap<String, Instant>>);

impl HostPauses {
    /// The answer that `ask` gets once `host` does not ask to wait any more, or the last one that does.
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
        // It may be prolonged meanwhile.
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

/// How long to wait before asking again; none if the answer is to be taken as it is.
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
