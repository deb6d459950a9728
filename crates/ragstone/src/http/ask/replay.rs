//! Streams on their way and for a while after: what lets a reader come back without a lost or doubled byte.
//!
//! Invariant: a stream that nobody reads ends the model's call at once, or after `resume_for` where that was asked
//! for; a stream is replayed only to the principal who asked; each holds exactly one last frame.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_stream::stream;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use ragstone_core::access::Principal;
use ragstone_core::id::TraceId;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::http::metrics::asked;
use crate::http::{Shutdown, sse};

/// How long an ended stream can be replayed. Short: what it quotes may be withdrawn meanwhile.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Most streams that are kept.
const MAX_STREAMS: usize = 4_096;
/// Most bytes of ended streams that are kept.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The streams that can be resumed.
#[derive(Default)]
pub struct Replays(Mutex<HashMap<TraceId, Arc<Recording>>>);

/// What is left of a stream.
pub(super) enum Found {
    /// More is there or will come.
    Rest(Reading),
    /// All of it was delivered.
    Nothing,
    /// It is not kept, or not this caller's.
    Unknown,
}

/// The frames of a stream as far as they were told.
struct Recording {
    trace_id: TraceId,
    principal: Principal,
    told: Mutex<Told>,
    /// Changes with every frame.
    grown: watch::Sender<()>,
    /// How many read along.
    readers: watch::Sender<usize>,
}

#[derive(Default)]
struct Told {
    frames: Vec<Bytes>,
    bytes: usize,
    ended: Option<Instant>,
}

impl Replays {
    /// Records `events` in a task of their own, until they end or nobody reads them.
    pub(super) fn begin(
        &self,
        trace_id: TraceId,
        principal: Principal,
        events: BoxStream<'static, (&'static str, Value)>,
        resume_for: Option<Duration>,
        shutdown: Shutdown,
    ) -> Reading {
        let recording = Arc::new(Recording {
            trace_id,
            principal,
            told: Mutex::default(),
            grown: watch::Sender::default(),
            readers: watch::Sender::default(),
        });
        self.keep(recording.clone());
        let reading = Reading::of(recording.clone());
        tokio::spawn(record(recording, events, resume_for, shutdown));
        reading
    }

    /// What follows the `n`-th event of a stream.
    pub(super) fn find(&self, trace_id: TraceId, principal: &Principal, n: usize) -> Found {
        let kept = self.kept();
        let Some(recording) = kept.get(&trace_id).filter(|kept| kept.principal == *principal) else {
            return Found::Unknown;
        };
        let told = recording.told();
        let expired = told.ended.is_some_and(|ended| ended.elapsed() > KEPT_FOR);
        match n.cmp(&told.frames.len()) {
            _ if expired => Found::Unknown,
            std::cmp::Ordering::Greater => Found::Unknown,
            std::cmp::Ordering::Equal if told.ended.is_some() => Found::Nothing,
            _ => {
                drop(told);
                Found::Rest(Reading::of(recording.clone()))
            }
        }
    }

    /// Makes room first: expired streams go, then the oldest ended ones.
    fn keep(&self, recording: Arc<Recording>) {
        let mut kept = self.kept();
        kept.retain(|_, kept| kept.told().ended.is_none_or(|ended| ended.elapsed() <= KEPT_FOR));
        let mut bytes: usize = kept.values().map(|kept| kept.told().bytes).sum();
        while kept.len() >= MAX_STREAMS || bytes > MAX_BYTES {
            let ended = kept
                .values()
                .filter_map(|kept| Some((kept.told().ended?, kept.trace_id)));
            let Some((_, oldest)) = ended.min() else { break };
            let gone = kept.remove(&oldest);
            bytes -= gone.map_or(0, |gone| gone.told().bytes);
        }
        if kept.len() < MAX_STREAMS {
            kept.insert(recording.trace_id, recording);
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<TraceId, Arc<Recording>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropping the events, when they end or nobody reads them, ends the model's call.
async fn record(
    recording: Arc<Recording>,
    mut events: BoxStream<'static, (&'static str, Value)>,
    resume_for: Option<Duration>,
    shutdown: Shutdown,
) {
    let readers = recording.readers.subscribe();
    let tell = async {
        while let Some((event, data)) = events.next().await {
            recording.push(event, &data);
        }
    };
    tokio::select! {
        biased;
        () = tell => {}
        () = abandoned(readers, resume_for) => asked("abandoned"),
        () = shutdown.begun() => {
            asked("failed");
            recording.push("failed", &Shutdown::last_event());
        }
    }
    recording.push(
        "failed",
        &json!({"code": "interrupted", "detail": "the answer broke off before its end"}),
    );
}

/// Ends when nobody reads, and nobody came back in time.
async fn abandoned(mut readers: watch::Receiver<usize>, resume_for: Option<Duration>) {
    loop {
        if readers.wait_for(|readers| *readers == 0).await.is_err() {
            return;
        }
        let back = readers.wait_for(|readers| *readers > 0);
        match resume_for {
            Some(wait) if tokio::time::timeout(wait, back).await.is_ok() => {}
            _ => return,
        }
    }
}

impl Recording {
    /// Adds a frame, unless the last one was told.
    fn push(&self, event: &str, data: &Value) {
        let mut told = self.told();
        if told.ended.is_some() {
            return;
        }
        let id = format!("{}:{}", self.trace_id, told.frames.len() + 1);
        let frame = sse::frame(event, &id, data);
        told.bytes += frame.len();
        told.frames.push(frame);
        if matches!(event, "done" | "failed") {
            told.ended = Some(Instant::now());
        }
        drop(told);
        self.grown.send_replace(());
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frames from `from` on, and whether these are all.
    fn since(&self, from: usize) -> (Vec<Bytes>, bool) {
        let told = self.told();
        (
            told.frames.get(from..).unwrap_or_default().to_vec(),
            told.ended.is_some(),
        )
    }
}

/// A reader of a stream; while there is one, the answer goes on.
pub(super) struct Reading(Arc<Recording>);

impl Reading {
    fn of(recording: Arc<Recording>) -> Self {
        recording.readers.send_modify(|readers| *readers += 1);
        Self(recording)
    }

    /// The frames behind the first `from`, as they come.
    pub fn frames(self, from: usize) -> impl Stream<Item = Bytes> + Send + 'static {
        let mut grown = self.0.grown.subscribe();
        stream! {
            let mut at = from;
            loop {
                let (frames, ended) = self.0.since(at);
                at += frames.len();
                for frame in frames {
                    yield frame;
                }
                if ended || grown.changed().await.is_err() {
                    break;
                }
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.readers.send_modify(|readers| *readers -= 1);
    }
}
