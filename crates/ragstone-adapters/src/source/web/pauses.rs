//! Pauses that hosts ask for: `429 Too Many Requests` and `503 Service Unavailable` with `Retry-After`.
//!
//! Invariant: all requests to a host keep its pause; how long and how often one waits is bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::source::guard::{Answer, GuardError};

/// Times that a page is asked for in all, while its host asks to wait.
const TRIES: usize = 4;
/// The longest pause that is kept to; who asks for a longer one is not asked again.
const LONGEST: Duration = Duration::from_secs(120);
/// The pause after a 429 that does not say how long.
const UNSAID: Duration = Duration::from_secs(2);

/// Before when each host is not to be asked.
#[derive(Default)]
pub(super) struct Pauses(Mutex<HashMap<String, Instant>>);

impl Pauses {
    /// The answer that `ask` gets once `host` does not ask to wait any more, or the last one that does.
    pub async fn keep_to<F>(&self, host: &str, ask: impl Fn() -> F) -> Result<Answer, GuardError>
    where
        F: Future<Output = Result<Answer, GuardError>>,
    {
        for _ in 1..TRIES {
            self.wait(host).await;
            let answer = ask().await?;
            let Some(pause) = pause(answer.status, answer.retry_after()) else {
                return Ok(answer);
            };
            self.begin(host, pause);
        }
        self.wait(host).await;
        ask().await
    }

    async fn wait(&self, host: &str) {
        let until = |pauses: &Mutex<HashMap<String, Instant>>| {
            let pauses = pauses.lock().unwrap_or_else(PoisonError::into_inner);
            pauses.get(host).copied()
        };
        // It may be prolonged meanwhile.
        while let Some(until) = until(&self.0).filter(|until| *until > Instant::now()) {
            sleep_until(until).await;
        }
    }

    fn begin(&self, host: &str, pause: Duration) {
        let until = Instant::now() + pause;
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pauses.entry(host.to_owned()).or_insert(until);
        *known = until.max(*known);
    }
}

/// How long to wait before asking again; none if the answer is to be taken as it is.
fn pause(status: u16, said: Option<Duration>) -> Option<Duration> {
    let pause = match status {
        429 => said.unwrap_or(UNSAID),
        503 => said?,
        _ => return None,
    };
    (pause <= LONGEST).then_some(pause)
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
            (429, None, Some(UNSAID)),
            (503, None, None),
            (429, seconds(86_400), None),
            (200, seconds(7), None),
            (404, seconds(7), None),
            (500, seconds(7), None),
        ] {
            assert_eq!(pause(status, said), expected, "{status} {said:?}");
        }
    }
}
