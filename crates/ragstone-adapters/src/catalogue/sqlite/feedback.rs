//! Answers and the feedback on them, one row per answer.

use async_trait::async_trait;
use ragstone_core::id::{TenantId, TraceId};
use ragstone_core::seam::catalogue::{CatalogueResult, ListPage, PageRequest};
use ragstone_core::seam::feedback::{AnswerRating, AnsweredQuestion, FeedbackStore, RatedAnswer};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use super::row::{get_instant, get_json};
use super::{SqliteCatalogue, SqliteTransactionError};
use crate::catalogue::cursor::{build_feedback_page, parse_feedback_cursor};
use crate::catalogue::value::{to_nanoseconds, write_json};
use crate::sqlite::Durability;

#[async_trait]
impl FeedbackStore for SqliteCatalogue {
    /// Not synced: the loss of an answer without feedback is acceptable.
    async fn save_answer(&self, tenant: &TenantId, answer: &AnsweredQuestion) -> CatalogueResult<()> {
        let (tenant, answer) = (tenant.as_str().to_owned(), answer.clone());
        self.run_write(Durability::Ordered, move |t| {
            t.prepare_cached(
                "insert into answers (tenant, trace, subject, asked_at, record) values (?1, ?2, ?3, ?4, ?5)
                 on conflict do nothing",
            )?
            .execute(params![
                tenant,
                answer.trace_id.to_string(),
                answer.subject,
                to_nanoseconds(answer.asked_at)?,
                write_json(&answer)?,
            ])?;
            Ok(())
        })
        .await
    }

    async fn rate_answer(
        &self,
        tenant: &TenantId,
        subject: &str,
        trace_id: TraceId,
        rating: AnswerRating,
        now: OffsetDateTime,
    ) -> CatalogueResult<bool> {
        let (tenant, subject) = (tenant.as_str().to_owned(), subject.to_owned());
        self.run_write(Durability::Synced, move |t| {
            let rated = t.execute(
                "update answers set rating = ?4, rated_at = ?5 where tenant = ?1 and trace = ?2 and subject = ?3",
                params![
                    tenant,
                    trace_id.to_string(),
                    subject,
                    write_json(&rating)?,
                    to_nanoseconds(now)?
                ],
            )?;
            Ok(rated > 0)
        })
        .await
    }

    async fn list_rated_answers(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<RatedAnswer>> {
        let (tenant, limit) = (tenant.as_str().to_owned(), page.limit);
        let begin = parse_feedback_cursor(page)?;
        self.run_read(move |c| list_rated_answers(c, &tenant, begin, limit))
            .await
    }

    async fn remove_answer(
        &self,
        tenant: &TenantId,
        subject: Option<&str>,
        trace_id: TraceId,
    ) -> CatalogueResult<bool> {
        let (tenant, subject) = (tenant.as_str().to_owned(), subject.map(str::to_owned));
        self.run_write(Durability::Synced, move |t| {
            let removed = t.execute(
                "delete from answers where tenant = ?1 and trace = ?2 and (?3 is null or subject = ?3)",
                params![tenant, trace_id.to_string(), subject],
            )?;
            Ok(removed > 0)
        })
        .await
    }

    async fn remove_old_answers(&self, before: OffsetDateTime, most: u64) -> CatalogueResult<u64> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.run_write(Durability::Ordered, move |t| {
            let old = t.execute(
                "delete from answers where (tenant, trace) in (
                   select tenant, trace from answers where asked_at < ?1)",
                [to_nanoseconds(before)?],
            )?;
            let beyond = t.execute(
                "delete from answers where (tenant, trace) in (
                   select tenant, trace from (
                     select tenant, trace,
                       row_number() over (partition by tenant order by asked_at desc, trace desc) as place
                     from answers)
                   where place > ?1)",
                [most],
            )?;
            Ok((old + beyond) as u64)
        })
        .await
    }
}

fn list_rated_answers(
    connection: &Connection,
    tenant: &str,
    (rated_at, trace): (i64, String),
    limit: usize,
) -> Result<ListPage<RatedAnswer>, SqliteTransactionError> {
    let mut statement = connection.prepare_cached(
        "select record, rating, rated_at from answers
         where tenant = ?1 and rated_at is not null and (rated_at, trace) > (?2, ?3)
         order by rated_at, trace limit ?4",
    )?;
    let mut rows = statement.query(params![tenant, rated_at, trace, limit as i64 + 1])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read_rated_answer(row)?);
    }
    Ok(build_feedback_page(found, limit)?)
}

fn read_rated_answer(row: &Row<'_>) -> Result<RatedAnswer, SqliteTransactionError> {
    Ok(RatedAnswer {
        answer: get_json(row, "record")?,
        rating: get_json(row, "rating")?,
        rated_at: get_instant(row, "rated_at")?,
    })
}
