//! A manual clock for tests.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use time::OffsetDateTime;

use super::lock;
use crate::ingest::TimeProvider;

/// Manual clock for tests: `turn` advances it and wakes every sleeper that is due.
#[derive(Debug, Default)]
pub struct Hands {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Duration,
    sleepers: Vec<Waker>,
}

impl Hands {
    /// Advances the clock by `seconds`.
    pub fn turn(&self, seconds: u64) {
        let mut state = lock(&self.state);
        state.now += Duration::from_secs(seconds);
        let sleepers = std::mem::take(&mut state.sleepers);
        drop(state);
        sleepers.into_iter().for_each(Waker::wake);
    }

    /// Number of tasks that wait for the clock to advance.
    pub fn sleepers(&self) -> usize {
        lock(&self.state).sleepers.len()
    }

    /// What this clock tells.
    pub fn time(self: &Arc<Self>) -> TimeProvider {
        let (wall, steady, sleep) = (self.clone(), self.clone(), self.clone());
        TimeProvider {
            wall: Arc::new(move || OffsetDateTime::UNIX_EPOCH + wall.now()),
            steady: Arc::new(move || steady.now()),
            sleep: Arc::new(move |time| {
                let (hands, until) = (sleep.clone(), sleep.now() + time);
                poll_fn(move |context| {
                    let mut state = lock(&hands.state);
                    if state.now >= until {
                        return Poll::Ready(());
                    }
                    state.sleepers.push(context.waker().clone());
                    Poll::Pending
                })
                .boxed()
            }),
        }
    }

    fn now(&self) -> Duration {
        lock(&self.state).now
    }
}
