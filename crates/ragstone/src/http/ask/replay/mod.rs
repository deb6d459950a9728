//! Answer streams in progress, and for a while after their end, so that a reader can resume without a lost or repeated
//! byte.
//!
//! Invariant: a stream without a reader ends the model's call at once, or after `resume_for` if it is resumable; a
//! stream is replayed only to the principal that asked; each log has exactly one last event.

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

/// How long an ended stream can be replayed. Short, because a document that it quotes may be withdrawn meanwhile.
const REPLAY_TTL: Duration = Duration::from_secs(60);
/// Maximum number of streams kept.
const MAX_STREAMS: usize = 4_096;
/// Maximum bytes of ended streams kept.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The streams that can be resumed, by trace id.
#[derive(Default)]
pub struct ResumableStreams(Arc<Mutex<RetainedStreams>>);

/// Result of looking up a stream to resume.
pub(super) enum ResumeOutcome {
    /// Events are left, or more will come.
    Remaining(AnswerStreamReader),
    /// The stream has ended and all of it was delivered.
    Delivered,
    /// The stream is not kept, or belongs to another caller.
    Unknown,
}

impl ResumableStreams {
    /// Registers a stream and returns a reader from its first event on.
    pub(super) fn begin_stream(&self, stream: NewStream) -> AnswerStreamReader {
        let recording = Arc::new(RecordedStream::new(stream, Arc::downgrade(&self.0)));
        // Inserted before the driver starts: a stream may end at once, and only an inserted one is evicted later.
        self.lock_streams().insert(recording.clone());
        let reading = AnswerStreamReader::from_position(recording.clone(), 0);
        recording.spawn_driver();
        reading
    }

    /// Looks up what follows the `n`-th event of a stream.
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

/// The registered streams. Eviction takes constant time per stream.
#[derive(Default)]
struct RetainedStreams {
    streams: HashMap<TraceId, Arc<RecordedStream>>,
    /// Ended streams, oldest first, with the bytes of each.
    ended: VecDeque<(Instant, TraceId, usize)>,
    /// Sum of the bytes in `ended`.
    bytes: usize,
}

impl RetainedStreams {
    /// Registers a stream if there is room, or room can be made; otherwise it cannot be resumed.
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

    /// Evicts ended streams: expired ones, and the oldest until there is room for `more` streams.
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
