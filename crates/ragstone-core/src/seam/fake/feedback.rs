//! Feedback in a map.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::lock;
use crate::id::{TenantId, TraceId};
use crate::seam::catalogue::{CatalogueError, CatalogueResult, ListPage, PageRequest};
use crate::seam::feedback::{AnswerRating, AnsweredQuestion, FeedbackStore, RatedAnswer};

type Row = (AnsweredQuestion, Option<(AnswerRating, OffsetDateTime)>);

/// Answers and feedback in memory.
#[derive(Debug, Default)]
pub struct MemoryFeedback(Mutex<BTreeMap<(TenantId, TraceId), Row>>);

#[async_trait]
impl FeedbackStore for MemoryFeedback {
    async fn save_answer(&self, tenant: &TenantId, answer: &AnsweredQuestion) -> CatalogueResult<()> {
        let key = (tenant.clone(), answer.trace_id);
        lock(&self.0).entry(key).or_insert_with(|| (answer.clone(), None));
        Ok(())
    }

    async fn rate_answer(
        &self,
        tenant: &TenantId,
        subject: &str,
        trace_id: TraceId,
        rating: AnswerRating,
        now: OffsetDateTime,
    ) -> CatalogueResult<bool> {
        let mut rows = lock(&self.0);
        let row = rows.get_mut(&(tenant.clone(), trace_id));
        let own = row.filter(|(answer, _)| answer.subject == subject);
        Ok(own.map(|(_, rated)| *rated = Some((rating, now))).is_some())
    }

    async fn list_rated_answers(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<RatedAnswer>> {
        let mut all: Vec<RatedAnswer> = lock(&self.0)
            .iter()
            .filter(|((of, _), _)| of == tenant)
            .filter_map(|(_, (answer, rated))| {
                let (rating, rated_at) = rated.clone()?;
                Some(RatedAnswer {
                    answer: answer.clone(),
                    rating,
                    rated_at,
                })
            })
            .collect();
        all.sort_by_key(|feedback| (feedback.rated_at, feedback.answer.trace_id));
        let cursor = page.cursor.as_deref().map(str::parse::<usize>).transpose();
        let from = cursor.map_err(|_| CatalogueError::BadCursor)?.unwrap_or_default();
        let more = all.len() > from + page.limit;
        Ok(ListPage {
            items: all.into_iter().skip(from).take(page.limit).collect(),
            next_cursor: more.then(|| (from + page.limit).to_string()),
        })
    }

    async fn remove_answer(
        &self,
        tenant: &TenantId,
        subject: Option<&str>,
        trace_id: TraceId,
    ) -> CatalogueResult<bool> {
        let key = (tenant.clone(), trace_id);
        let mut rows = lock(&self.0);
        let is_meant = |(answer, _): &Row| subject.is_none_or(|subject| answer.subject == subject);
        Ok(rows.get(&key).is_some_and(is_meant) && rows.remove(&key).is_some())
    }

    async fn remove_old_answers(&self, before: OffsetDateTime, most: u64) -> CatalogueResult<u64> {
        let mut rows = lock(&self.0);
        let all = rows.len();
        rows.retain(|_, (answer, _)| answer.asked_at >= before);
        let mut by_age: Vec<_> = rows
            .iter()
            .map(|((tenant, trace), (answer, _))| (tenant.clone(), answer.asked_at, *trace))
            .collect();
        by_age.sort();
        let mut kept = BTreeMap::<TenantId, u64>::new();
        for (tenant, _, trace) in by_age.into_iter().rev() {
            let kept = kept.entry(tenant.clone()).or_default();
            *kept += 1;
            if *kept > most {
                rows.remove(&(tenant, trace));
            }
        }
        Ok((all - rows.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::feedback_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        feedback_contract(|| async { Arc::new(MemoryFeedback::default()) as Arc<dyn FeedbackStore> }).await;
    }
}
