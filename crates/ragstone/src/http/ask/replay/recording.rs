//! One answer stream: the answer while it runs, the log of its events, and its readers.
//!
//! The readers drive the answer: a reader that has read the whole log polls the answer and gets all ready events as one
//! write. So the answer is not polled faster than it is read, and a slow reader delays only itself. A resumable stream
//! has a background task that drives it as well.
//!
//! Invariant: a log ends with exactly one `done` or `failed`, and the answer is dropped as soon as that is logged.

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

use super::RetainedStreams;
use super::log::AnswerEventLog;
use crate::http::ShutdownSignal;
use crate::http::metrics::count_question;

/// Events after which a poll returns what it has, even if more are ready.
const MAX_EVENTS_AT_ONCE: usize = 128;

/// Detail of the `failed` event of a stream that ended without `done`.
const INTERRUPTED_DETAIL: &str = "the answer broke off before its end";

/// A stream with its log and its readers, shared by all readers.
pub(super) struct RecordedStream {
    pub trace_id: TraceId,
    pub principal: Principal,
    state: Mutex<RecordedStreamState>,
    /// The registry that keeps it after its end.
    kept: Weak<Mutex<RetainedStreams>>,
    /// For a resumable stream: how long it continues without a reader, and the number of readers, which the driver
    /// watches.
    readers: Option<(Duration, watch::Sender<usize>)>,
}

struct RecordedStreamState {
    log: AnswerEventLog,
    /// `None` once the stream has ended.
    answer: Option<BoxStream<'static, AnswerEvent>>,
    shutdown: ShutdownSignal,
    shutdown_over: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The waker that `shutdown_over` was last polled with.
    shutdown_waker: Option<Waker>,
    ended: Option<Instant>,
    /// Readers and the driver, by number, each with the waker to call when events arrive.
    waiting: Vec<(u64, Option<Waker>)>,
    next_number: u64,
}

/// What is needed to start a stream.
pub(in crate::http::ask) struct NewStream {
    pub trace_id: TraceId,
    /// The only principal that may resume it.
    pub principal: Principal,
    pub answer: BoxStream<'static, AnswerEvent>,
    /// How long it continues without a reader; `None` ends it with its last reader.
    pub resume_for: Option<Duration>,
    pub shutdown: ShutdownSignal,
}

/// State of a stream at one moment.
pub(super) struct StreamProgress {
    pub events: usize,
    pub ended: Option<Instant>,
    /// Bytes held in memory.
    #[cfg(test)]
    pub bytes: usize,
}

impl RecordedStream {
    pub fn new(stream: NewStream, kept: Weak<Mutex<RetainedStreams>>) -> Self {
        let shutdown = stream.shutdown.clone();
        let state = RecordedStreamState {
            log: AnswerEventLog::default(),
            answer: Some(stream.answer),
            shutdown: stream.shutdown,
            shutdown_over: Box::pin(async move { shutdown.wait_over().await }),
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

    /// Starts the driver task of a resumable stream.
    pub fn spawn_driver(self: &Arc<Self>) {
        if let Some((wait, readers)) = &self.readers {
            tokio::spawn(drive_stream(self.clone(), readers.subscribe(), *wait));
        }
    }

    pub fn progress(&self) -> StreamProgress {
        let state = self.lock_state();
        StreamProgress {
            events: state.log.len(),
            ended: state.ended,
            #[cfg(test)]
            bytes: state.log.memory_bytes(),
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, RecordedStreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a reader or the driver, and returns its number.
    fn register_waiter(&self) -> u64 {
        let mut state = self.lock_state();
        let number = state.next_number;
        state.next_number += 1;
        state.waiting.push((number, None));
        number
    }

    /// Frames after the first `at` events, and the number of the last event included; `None` at the end.
    fn poll_frames(&self, number: u64, at: usize, context: &mut Context<'_>) -> Poll<Option<(Bytes, usize)>> {
        let mut state = self.lock_state();
        if at >= state.log.len() {
            state = self.poll_answer(state, number, context);
        }
        match (at < state.log.len(), state.ended) {
            (true, _) => Poll::Ready(Some(state.log.frames_from(at, self.trace_id))),
            (false, Some(_)) => Poll::Ready(None),
            (false, None) => Poll::Pending,
        }
    }

    /// Polls the answer until it has ended.
    fn poll_end(&self, number: u64, context: &mut Context<'_>) -> Poll<()> {
        let state = self.poll_answer(self.lock_state(), number, context);
        match state.ended {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }

    /// Appends the events that are ready; if none is, `context` is woken when the next one is.
    fn poll_answer<'a>(
        &'a self,
        mut state: MutexGuard<'a, RecordedStreamState>,
        number: u64,
        context: &mut Context<'_>,
    ) -> MutexGuard<'a, RecordedStreamState> {
        let before = state.log.len();
        let ended = state.take_ready_events(context);
        if ended || state.log.len() > before {
            state.wake_others(number);
        }
        state.set_waker(number, context.waker());
        match ended {
            true => self.end_stream(state),
            false => state,
        }
    }

    /// Ends a stream that has no reader, unless it has ended already.
    fn abandon_stream(&self, mut state: MutexGuard<'_, RecordedStreamState>) {
        if state.ended.is_none() {
            count_question("abandoned");
            state.log.push_failed("interrupted", INTERRUPTED_DETAIL);
            drop(self.end_stream(state));
        }
    }

    /// Called after the last event was logged: drops the answer and hands the stream to the registry.
    fn end_stream<'a>(&'a self, mut state: MutexGuard<'a, RecordedStreamState>) -> MutexGuard<'a, RecordedStreamState> {
        state.ended = Some(Instant::now());
        state.log.close();
        state.wake_others(u64::MAX);
        let (answer, bytes) = (state.answer.take(), state.log.memory_bytes());
        drop(state);
        drop(answer);
        if let Some(kept) = self.kept.upgrade() {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.record_end(self.trace_id, bytes);
        }
        self.lock_state()
    }

    /// Removes a reader. A stream that is not resumable ends with its last reader.
    fn remove_waiter(&self, number: u64) {
        let mut state = self.lock_state();
        state.waiting.retain(|(other, _)| *other != number);
        // Other readers may have relied on this reader's poll to wake them.
        state.wake_others(number);
        match &self.readers {
            Some((_, readers)) => readers.send_modify(|readers| *readers -= 1),
            None if state.waiting.is_empty() => self.abandon_stream(state),
            None => {}
        }
    }
}

impl RecordedStreamState {
    /// Appends the ready events; returns true if the last of them ended the stream.
    fn take_ready_events(&mut self, context: &mut Context<'_>) -> bool {
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
                    self.log.push_failed("interrupted", INTERRUPTED_DETAIL);
                    return true;
                }
                Poll::Pending => return self.is_shut_down(context),
            }
        }
        context.waker().wake_by_ref();
        false
    }

    /// Whether the shutdown ended before the answer did; then logs `failed` for the readers.
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
        count_question("failed");
        let (code, detail) = ShutdownSignal::failure_parts();
        self.log.push_failed(code, detail);
        true
    }

    fn set_waker(&mut self, number: u64, waker: &Waker) {
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

/// Drives a stream until it ends, or until no reader came back in time.
async fn drive_stream(recording: Arc<RecordedStream>, readers: watch::Receiver<usize>, resume_for: Duration) {
    let number = recording.register_waiter();
    let end = poll_fn(|context| recording.poll_end(number, context));
    tokio::select! {
        biased;
        () = end => {}
        () = wait_until_abandoned(readers, resume_for) => recording.abandon_stream(recording.lock_state()),
    }
}

/// Returns once there has been no reader for `resume_for`.
async fn wait_until_abandoned(mut readers: watch::Receiver<usize>, resume_for: Duration) {
    while readers.wait_for(|readers| *readers == 0).await.is_ok() {
        let back = readers.wait_for(|readers| *readers > 0);
        if tokio::time::timeout(resume_for, back).await.is_err() {
            return;
        }
    }
}

/// A reader of a stream: yields its frames as they become available.
pub(in crate::http::ask) struct AnswerStreamReader {
    recording: Arc<RecordedStream>,
    number: u64,
    at: usize,
}

impl AnswerStreamReader {
    /// A reader of what follows the first `at` events.
    pub(super) fn from_position(recording: Arc<RecordedStream>, at: usize) -> Self {
        if let Some((_, readers)) = &recording.readers {
            readers.send_modify(|readers| *readers += 1);
        }
        Self {
            number: recording.register_waiter(),
            recording,
            at,
        }
    }
}

impl Stream for AnswerStreamReader {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let frames = ready!(self.recording.poll_frames(self.number, self.at, context));
        Poll::Ready(frames.map(|(frames, at)| {
            self.at = at;
            frames
        }))
    }
}

impl Drop for AnswerStreamReader {
    fn drop(&mut self) {
        self.recording.remove_waiter(self.number);
    }
}
