//! One stream: its answer as long as that goes on, what was told of it, and who reads.
//!
//! Whoever reads drives: a reader that has everything takes what is ready from the answer, and all of it goes out as one
//! piece. So nothing is told faster than it is read, and a reader that is slow holds up nobody but himself. A stream
//! that may be left for a while has a task that drives it too.
//!
//! Invariant: a log ends with exactly one `done` or `failed`, and the answer is dropped as soon as it does.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use ragstone_core::access::Principal;
use ragstone_core::ask::AnswerEvent;
use ragstone_core::id::TraceId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Kept;
use super::log::Log;
use crate::http::Shutdown;
use crate::http::metrics::asked;

/// Events after which a reader is given what there is, although more may be ready.
const MAX_EVENTS_AT_ONCE: usize = 128;

/// What the readers of a stream without an end are told.
const BROKE_OFF: &str = "the answer broke off before its end";

/// See the module.
pub(super) struct Recording {
    pub trace_id: TraceId,
    pub principal: Principal,
    state: Mutex<State>,
    /// Where it is kept once it ended.
    kept: Weak<Mutex<Kept>>,
    /// For the task that drives a stream that may be left: for how long, and how many read.
    readers: Option<(Duration, watch::Sender<usize>)>,
}

struct State {
    log: Log,
    /// None once it ended.
    answer: Option<BoxStream<'static, AnswerEvent>>,
    shutdown: Shutdown,
    shutdown_over: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Who is woken by that.
    shutdown_waker: Option<Waker>,
    ended: Option<Instant>,
    /// Who reads or drives, by number, with what wakes it.
    waiting: Vec<(u64, Option<Waker>)>,
    next_number: u64,
}

/// A stream that begins.
pub(in crate::http::ask) struct NewStream {
    pub trace_id: TraceId,
    /// Who may come back to it.
    pub principal: Principal,
    pub answer: BoxStream<'static, AnswerEvent>,
    /// How long it goes on without a reader; none ends it with its last one.
    pub resume_for: Option<Duration>,
    pub shutdown: Shutdown,
}

/// How far a stream has come.
pub(super) struct Progress {
    pub events: usize,
    pub ended: Option<Instant>,
    /// What it holds in memory.
    #[cfg(test)]
    pub bytes: usize,
}

impl Recording {
    pub fn new(stream: NewStream, kept: Weak<Mutex<Kept>>) -> Self {
        let shutdown = stream.shutdown.clone();
        let state = State {
            log: Log::default(),
            answer: Some(stream.answer),
            shutdown: stream.shutdown,
            shutdown_over: Box::pin(async move { shutdown.over().await }),
            shutdown_waker: None,
            ended: None,
            waiting: Vec::new(),
            next_number: 0,
        };
        Self {
            trace_id: stream.trace_id,
            principal: stream.principal,
            state: Mutex::new(state),
            kept,
            readers: stream.resume_for.map(|wait| (wait, watch::Sender::default())),
        }
    }

    /// Begins a task for a stream that may be left.
    pub fn go_on(self: &Arc<Self>) {
        if let Some((wait, readers)) = &self.readers {
            tokio::spawn(keep_going(self.clone(), readers.subscribe(), *wait));
        }
    }

    pub fn progress(&self) -> Progress {
        let state = self.state();
        Progress {
            events: state.log.len(),
            ended: state.ended,
            #[cfg(test)]
            bytes: state.log.bytes(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for somebody who reads or drives.
    fn enter(&self) -> u64 {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        state.waiting.push((number, None));
        number
    }

    /// The frames behind the first `at` events, and how many events there are with them; none at the end.
    fn poll_frames(&self, number: u64, at: usize, context: &mut Context<'_>) -> Poll<Option<(Bytes, usize)>> {
        let mut state = self.state();
        if at >= state.log.len() {
            state = self.advance(state, number, context);
        }
        match (at < state.log.len(), state.ended) {
            (true, _) => Poll::Ready(Some(state.log.frames(at, self.trace_id))),
            (false, Some(_)) => Poll::Ready(None),
            (false, None) => Poll::Pending,
        }
    }

    /// Drives the answer to its end.
    fn poll_end(&self, number: u64, context: &mut Context<'_>) -> Poll<()> {
        let state = self.advance(self.state(), number, context);
        match state.ended {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }

    /// Takes what is ready from the answer; where nothing more is, `context` is woken when there is.
    fn advance<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        number: u64,
        context: &mut Context<'_>,
    ) -> MutexGuard<'a, State> {
        let before = state.log.len();
        let ended = state.take_ready(context);
        if ended || state.log.len() > before {
            state.wake_others(number);
        }
        state.register(number, context.waker());
        match ended {
            true => self.end(state),
            false => state,
        }
    }

    /// Ends a stream that nobody reads, unless it has its end.
    fn abandon(&self, mut state: MutexGuard<'_, State>) {
        if state.ended.is_none() {
            asked("abandoned");
            state.log.push_failed("interrupted", BROKE_OFF);
            drop(self.end(state));
        }
    }

    /// The last event was told: the answer goes, and the stream is kept for a while.
    fn end<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.ended = Some(Instant::now());
        state.log.close();
        state.wake_others(u64::MAX);
        let (answer, bytes) = (state.answer.take(), state.log.bytes());
        drop(state);
        drop(answer);
        if let Some(kept) = self.kept.upgrade() {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.note_end(self.trace_id, bytes);
        }
        self.state()
    }

    /// Somebody reads no more. The last one takes the answer along, unless it goes on by itself.
    fn leave(&self, number: u64) {
        let mut state = self.state();
        state.waiting.retain(|(other, _)| *other != number);
        // Whoever else reads may have relied on being woken through this reader.
        state.wake_others(number);
        match &self.readers {
            Some((_, readers)) => readers.send_modify(|readers| *readers -= 1),
            None if state.waiting.is_empty() => self.abandon(state),
            None => {}
        }
    }
}

impl State {
    /// Adds the events that are ready; says whether the last of them is the end.
    fn take_ready(&mut self, context: &mut Context<'_>) -> bool {
        let Some(answer) = &mut self.answer else {
            return false;
        };
        for _ in 0..MAX_EVENTS_AT_ONCE {
            match answer.as_mut().poll_next(context) {
                Poll::Ready(Some(event)) => {
                    self.log.push(&event);
                    if matches!(event, AnswerEvent::Done(_) | AnswerEvent::Failed { .. }) {
                        return true;
                    }
                }
                Poll::Ready(None) => {
                    self.log.push_failed("interrupted", BROKE_OFF);
                    return true;
                }
                Poll::Pending => return self.is_shut_down(context),
            }
        }
        context.waker().wake_by_ref();
        false
    }

    /// Whether the server ends before the answer does; the readers are told.
    fn is_shut_down(&mut self, context: &mut Context<'_>) -> bool {
        let is_watched = self
            .shutdown_waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()));
        if is_watched && !self.shutdown.is_over() {
            return false;
        }
        self.shutdown_waker = Some(context.waker().clone());
        if self.shutdown_over.as_mut().poll(context).is_pending() {
            return false;
        }
        asked("failed");
        let (code, detail) = Shutdown::failure();
        self.log.push_failed(code, detail);
        true
    }

    fn register(&mut self, number: u64, waker: &Waker) {
        let own = self.waiting.iter_mut().find(|(other, _)| *other == number);
        if let Some((_, own)) = own
            && own.as_ref().is_none_or(|own| !own.will_wake(waker))
        {
            *own = Some(waker.clone());
        }
    }

    fn wake_others(&mut self, number: u64) {
        let others = self.waiting.iter_mut().filter(|(other, _)| *other != number);
        others.filter_map(|(_, waker)| waker.take()).for_each(Waker::wake);
    }
}

/// Drives a stream, whether or not somebody reads it, until it ends, or nobody came back in time.
async fn keep_going(recording: Arc<Recording>, readers: watch::Receiver<usize>, resume_for: Duration) {
    let number = recording.enter();
    let end = poll_fn(|context| recording.poll_end(number, context));
    tokio::select! {
        biased;
        () = end => {}
        () = left(readers, resume_for) => recording.abandon(recording.state()),
    }
}

/// Ends when nobody reads, and nobody came back in time.
async fn left(mut readers: watch::Receiver<usize>, resume_for: Duration) {
    while readers.wait_for(|readers| *readers == 0).await.is_ok() {
        let back = readers.wait_for(|readers| *readers > 0);
        if tokio::time::timeout(resume_for, back).await.is_err() {
            return;
        }
    }
}

/// A reader of a stream: its frames, as they come.
pub(in crate::http::ask) struct Reading {
    recording: Arc<Recording>,
    number: u64,
    at: usize,
}

impl Reading {
    /// Reads what follows the first `at` events.
    pub(super) fn begin(recording: Arc<Recording>, at: usize) -> Self {
        if let Some((_, readers)) = &recording.readers {
            readers.send_modify(|readers| *readers += 1);
        }
        Self {
            number: recording.enter(),
            recording,
            at,
        }
    }
}

impl Stream for Reading {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let frames = ready!(self.recording.poll_frames(self.number, self.at, context));
        Poll::Ready(frames.map(|(frames, at)| {
            self.at = at;
            frames
        }))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.recording.leave(self.number);
    }
}
