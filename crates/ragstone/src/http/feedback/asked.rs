//! Recent answers, kept in memory so that their askers can rate them.
//!
//! Invariant: bounded by number, bytes and age; nothing survives the process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ragstone_core::access::Principal;
use ragstone_core::id::{TenantId, TraceId};
use ragstone_core::seam::feedback::AnsweredQuestion;
use tokio::time::Instant;

/// Maximum number of answers in memory.
const MAX_ANSWERS: usize = 16_384;
/// Maximum bytes of questions, answers and citations in memory.
const MAX_BYTES: usize = 32 << 20;

type TenantAnswer = (TenantId, Arc<AnsweredQuestion>);

/// The recent answers of this process.
pub(in crate::http) struct RecentAnswers {
    remember_for: Duration,
    inner: Mutex<RecentAnswersState>,
}

#[derive(Default)]
struct RecentAnswersState {
    answers: HashMap<TraceId, TenantAnswer>,
    /// Insertion time, id and bytes of each answer, oldest first.
    order: VecDeque<(Instant, TraceId, usize)>,
    bytes: usize,
}

impl RecentAnswers {
    pub fn new(remember_for: Duration) -> Self {
        Self {
            remember_for,
            inner: Mutex::default(),
        }
    }

    /// Inserts an answer; evicts the oldest ones if there is no room.
    pub fn insert_answer(&self, tenant: &TenantId, answer: Arc<AnsweredQuestion>) {
        if self.remember_for.is_zero() {
            return;
        }
        let (now, trace_id, bytes) = (Instant::now(), answer.trace_id, answer_bytes(&answer));
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.evict_while(|inner, at| {
            let is_full = inner.answers.len() >= MAX_ANSWERS || inner.bytes + bytes > MAX_BYTES;
            is_full || now.duration_since(at) >= self.remember_for
        });
        if inner.answers.insert(trace_id, (tenant.clone(), answer)).is_none() {
            inner.order.push_back((now, trace_id, bytes));
            inner.bytes += bytes;
        }
    }

    /// The answer with this id, if `asker` asked for it and it has not expired.
    pub fn find_answer(&self, asker: &Principal, trace_id: TraceId) -> Option<Arc<AnsweredQuestion>> {
        let now = Instant::now();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.evict_while(|_, at| now.duration_since(at) >= self.remember_for);
        let (tenant, answer) = inner.answers.get(&trace_id)?;
        let is_own = tenant == asker.tenant() && answer.subject == asker.subject();
        is_own.then(|| answer.clone())
    }
}

impl RecentAnswersState {
    /// Evicts the oldest answers while `must` is true.
    fn evict_while(&mut self, must: impl Fn(&Self, Instant) -> bool) {
        while let Some((at, trace_id, bytes)) = self.order.front().copied() {
            if !must(self, at) {
                break;
            }
            self.order.pop_front();
            self.answers.remove(&trace_id);
            self.bytes -= bytes;
        }
    }
}

fn answer_bytes(answer: &AnsweredQuestion) -> usize {
    let cited: usize = answer.cited.iter().map(|place| place.uri.len() + 16).sum();
    let readers = answer.readers.iter().flatten().map(|_| 64).sum::<usize>();
    512 + answer.question.len() + answer.answer.len() + cited + readers
}

#[cfg(test)]
mod tests {
    use ragstone_core::access::Role;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::http::test_app::caller;

    fn answer(n: u128, bytes: usize) -> Arc<AnsweredQuestion> {
        Arc::new(AnsweredQuestion {
            trace_id: TraceId(Uuid::from_u128(n)),
            subject: "u".into(),
            readers: None,
            asked_at: OffsetDateTime::UNIX_EPOCH,
            question: "q".repeat(bytes),
            answer: String::new(),
            answered: true,
            cited: vec![],
            model: "m".into(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_remembered_for_its_asker_and_for_a_while() {
        let asked = RecentAnswers::new(Duration::from_secs(60));
        let (own, other) = (caller("a", &[], Role::Reader), caller("b", &[], Role::Admin));
        let trace = |n| TraceId(Uuid::from_u128(n));
        asked.insert_answer(own.tenant(), answer(1, 5));
        tokio::time::advance(Duration::from_secs(59)).await;
        asked.insert_answer(own.tenant(), answer(2, 5));
        assert!(asked.find_answer(&own, trace(1)).is_some() && asked.find_answer(&other, trace(1)).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(asked.find_answer(&own, trace(1)).is_none() && asked.find_answer(&own, trace(2)).is_some());
        let none = RecentAnswers::new(Duration::ZERO);
        none.insert_answer(own.tenant(), answer(1, 5));
        assert!(none.find_answer(&own, trace(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_by_number_and_by_bytes() {
        let own = caller("a", &[], Role::Reader);
        for (number, bytes, kept) in [(MAX_ANSWERS + 10, 1, MAX_ANSWERS), (40, 1 << 20, 31)] {
            let asked = RecentAnswers::new(Duration::from_secs(60));
            (0..number as u128).for_each(|n| asked.insert_answer(own.tenant(), answer(n, bytes)));
            let inner = asked.inner.lock().unwrap();
            assert_eq!((inner.answers.len(), inner.order.len()), (kept, kept));
            assert!(inner.bytes <= MAX_BYTES);
        }
    }
}
