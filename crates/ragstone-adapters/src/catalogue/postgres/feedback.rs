//! Answers and the feedback on them, one row per answer.

use async_trait::async_trait;
use ragstone_core::id::{TenantId, TraceId};
use ragstone_core::seam::catalogue::{CatalogueResult, ListPage, PageRequest};
use ragstone_core::seam::feedback::{AnswerRating, AnsweredQuestion, FeedbackStore, RatedAnswer};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::PostgresCatalogue;
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::row::{get_instant, get_json, without_nul};
use crate::catalogue::cursor::{build_feedback_page, parse_feedback_cursor};
use crate::catalogue::value::{damaged_value, to_nanoseconds, write_json};

#[async_trait]
impl FeedbackStore for PostgresCatalogue {
    /// Not synced: the loss of an answer without feedback is acceptable.
    async fn save_answer(&self, tenant: &TenantId, answer: &AnsweredQuestion) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            save_answer(&t, tenant, answer)
        })?)
    }

    async fn rate_answer(
        &self,
        tenant: &TenantId,
        subject: &str,
        trace_id: TraceId,
        rating: AnswerRating,
        now: OffsetDateTime,
    ) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            rate_answer(&t, tenant, subject, trace_id, &rating, now)
        })?)
    }

    async fn list_rated_answers(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<RatedAnswer>> {
        let session = self.database.open_session().await?;
        Ok(list_rated_answers(&session, tenant, page).await?)
    }

    async fn remove_answer(
        &self,
        tenant: &TenantId,
        subject: Option<&str>,
        trace_id: TraceId,
    ) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            remove_answer(&t, tenant, subject, trace_id)
        })?)
    }

    async fn remove_old_answers(&self, before: OffsetDateTime, most: u64) -> CatalogueResult<u64> {
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            remove_old_answers(&t, before, most)
        })?)
    }
}

async fn save_answer(
    t: &PostgresSession,
    tenant: &TenantId,
    answer: &AnsweredQuestion,
) -> Result<(), PostgresTransactionError> {
    t.execute_statement(
        "insert into answers (tenant, trace, subject, asked_at, record) values ($1, $2, $3, $4, $5)
         on conflict (tenant, trace) do nothing",
        &[
            &tenant.as_str(),
            &answer.trace_id.0,
            &without_nul(&answer.subject),
            &to_nanoseconds(answer.asked_at)?,
            &write_json(answer)?,
        ],
    )
    .await
    .map(drop)
}

async fn rate_answer(
    t: &PostgresSession,
    tenant: &TenantId,
    subject: &str,
    trace_id: TraceId,
    rating: &AnswerRating,
    now: OffsetDateTime,
) -> Result<bool, PostgresTransactionError> {
    let rated = t
        .execute_statement(
            "update answers set rating = $4, rated_at = $5 where tenant = $1 and trace = $2 and subject = $3",
            &[
                &tenant.as_str(),
                &trace_id.0,
                &without_nul(subject),
                &write_json(rating)?,
                &to_nanoseconds(now)?,
            ],
        )
        .await?;
    Ok(rated > 0)
}

async fn remove_answer(
    t: &PostgresSession,
    tenant: &TenantId,
    subject: Option<&str>,
    trace_id: TraceId,
) -> Result<bool, PostgresTransactionError> {
    let subject = subject.map(without_nul);
    let removed = t
        .execute_statement(
            "delete from answers where tenant = $1 and trace = $2 and ($3::text is null or subject = $3)",
            &[&tenant.as_str(), &trace_id.0, &subject],
        )
        .await?;
    Ok(removed > 0)
}

async fn remove_old_answers(
    t: &PostgresSession,
    before: OffsetDateTime,
    most: u64,
) -> Result<u64, PostgresTransactionError> {
    // Rows that another process deletes at this moment are counted by that process.
    let old = t
        .execute_statement(
            "delete from answers where (tenant, trace) in (
               select tenant, trace from answers where asked_at < $1 for update skip locked)",
            &[&to_nanoseconds(before)?],
        )
        .await?;
    let beyond = t
        .execute_statement(
            "delete from answers where (tenant, trace) in (
               select tenant, trace from (
                 select tenant, trace,
                   row_number() over (partition by tenant order by asked_at desc, trace desc) as place
                 from answers) as placed
               where place > $1)",
            &[&i64::try_from(most).unwrap_or(i64::MAX)],
        )
        .await?;
    Ok(old + beyond)
}

async fn list_rated_answers(
    c: &PostgresSession,
    tenant: &TenantId,
    page: &PageRequest,
) -> Result<ListPage<RatedAnswer>, PostgresTransactionError> {
    let (rated_at, trace) = parse_feedback_cursor(page)?;
    let trace = match trace.is_empty() {
        true => Uuid::nil(),
        false => trace.parse().map_err(|error| damaged_value("trace", error))?,
    };
    let rows = c
        .query_all(
            "select record, rating, rated_at from answers
             where tenant = $1 and rated_at is not null and (rated_at, trace) > ($2, $3)
             order by rated_at, trace limit $4",
            &[&tenant.as_str(), &rated_at, &trace, &(page.limit as i64 + 1)],
        )
        .await?;
    let found = rows.iter().map(read_rated_answer).collect::<Result<_, _>>()?;
    Ok(build_feedback_page(found, page.limit)?)
}

fn read_rated_answer(row: &Row) -> Result<RatedAnswer, PostgresTransactionError> {
    Ok(RatedAnswer {
        answer: get_json(row, "record")?,
        rating: get_json(row, "rating")?,
        rated_at: get_instant(row, "rated_at")?,
    })
}
