//! Streams on their way and for a while after: what lets a reader come back without a lost or doubled byte.
//!
//! Invariant: a stream that nobody reads ends the model's call at once, or after `resume_for` where that was asked
//! for; a stream is replayed only to the principal who asked; each holds exactly one last event.

mod log;
mod recording;

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ragstone_core::access::Principal;
use ragstone_core::id::TraceId;
use tokio::time::Instant;

use recording::RecordedStream;

pub(super) use recording::{AnswerStreamReader, NewStream};

/// How long an ended stream can be replayed. Short: what it quotes may be withdrawn meanwhile.
const REPLAY_TTL: Duration = Duration::from_secs(60);
/// Most streams that are kept.
const MAX_STREAMS: usize = 4_096;
/// Most bytes of ended streams that are kept.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The streams that can be resumed.
#[derive(Default)]
pub struct ResumableStreams(Arc<Mutex<RetainedStreams>>);

/// What is left of a stream.
pub(super) enum ResumeOutcome {
    /// More is there or will come.
    Remaining(AnswerStreamReader),
    /// All of it was delivered.
    Delivered,
    /// It is not kept, or not this caller's.
    Unknown,
}

impl ResumableStreams {
    /// Begins a stream, and reads it from its first event on.
    pub(super) fn begin_stream(&self, stream: NewStream) -> AnswerStreamReader {
        let recording = Arc::new(RecordedStream::new(stream, Arc::downgrade(&self.0)));
        // Kept before it can end: what ends is forgotten after a while.
        self.lock_streams().insert(recording.clone());
        let reading = AnswerStreamReader::from_position(recording.clone(), 0);
        recording.spawn_driver();
        reading
    }

    /// What follows the `n`-th event of a stream.
    pub(super) fn find_stream(&self, trace_id: TraceId, principal: &Principal, n: usize) -> ResumeOutcome {
        let kept = self.lock_streams().streams.get(&trace_id).cloned();
        let Some(recording) = kept.filter(|kept| kept.principal == *principal) else {
            return ResumeOutcome::Unknown;
        };
        let progress = recording.progress();
        let is_expired = progress.ended.is_some_and(|ended| ended.elapsed() > REPLAY_TTL);
        match n.cmp(&progress.events) {
            _ if is_expired => ResumeOutcome::Unknown,
            Ordering::Greater => ResumeOutcome::Unknown,
            Ordering::Equal if progress.ended.is_some() => ResumeOutcome::Delivered,
            _ => ResumeOutcome::Remaining(AnswerStreamReader::from_position(recording, n)),
        }
    }

    fn lock_streams(&self) -> MutexGuard<'_, RetainedStreams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept, at a cost that does not grow with it.
#[derive(Default)]
struct RetainedStreams {
    streams: HashMap<TraceId, Arc<RecordedStream>>,
    /// Those that ended, in that order, with their bytes.
    ended: VecDeque<(Instant, TraceId, usize)>,
    /// The bytes of those.
    bytes: usize,
}

impl RetainedStreams {
    /// Keeps a stream if there is room, or can be made.
    fn insert(&mut self, recording: Arc<RecordedStream>) {
        self.make_room(1);
        if self.streams.len() < MAX_STREAMS {
            self.streams.insert(recording.trace_id, recording);
        }
    }

    fn record_end(&mut self, trace_id: TraceId, bytes: usize) {
        if self.streams.contains_key(&trace_id) {
            self.ended.push_back((Instant::now(), trace_id, bytes));
            self.bytes += bytes;
            self.make_room(0);
        }
    }

    /// Forgets streams that ended: expired ones, and the oldest where there is no room for so many more.
    fn make_room(&mut self, more: usize) {
        while let Some((ended, trace_id, bytes)) = self.ended.front().copied() {
            let is_full = self.streams.len() + more > MAX_STREAMS || self.bytes > MAX_BYTES;
            if !is_full && ended.elapsed() <= REPLAY_TTL {
                break;
            }
            self.ended.pop_front();
            self.streams.remove(&trace_id);
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests;
