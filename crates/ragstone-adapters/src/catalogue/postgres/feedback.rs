//! Answers and what was said of them, a row an answer.

use async_trait::async_trait;
use ragstone_core::id::{TenantId, TraceId};
use ragstone_core::seam::catalogue::{CatalogueResult, Page, PageRequest};
use ragstone_core::seam::feedback::{AnsweredQuestion, Feedback, FeedbackStore, Rating};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::PostgresCatalogue;
use super::database::{Mode, Session, transact};
use super::error::Failure;
use super::row::{instant, json, plain};
use crate::catalogue::cursor::{begin_of_feedback, page_of_feedback};
use crate::catalogue::value::{damaged, nanoseconds, write_json};

#[async_trait]
impl FeedbackStore for PostgresCatalogue {
    /// An answer that nobody said anything of is no great loss: no disk write each.
    async fn keep_answer(&self, tenant: &TenantId, answer: &AnsweredQuestion) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Ordered, |t| keep(&t, tenant, answer))?)
    }

    async fn rate(
        &self,
        tenant: &TenantId,
        subject: &str,
        trace_id: TraceId,
        rating: Rating,
        now: OffsetDateTime,
    ) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Synced, |t| rate(
            &t, tenant, subject, trace_id, &rating, now
        ))?)
    }

    async fn feedback(&self, tenant: &TenantId, page: &PageRequest) -> CatalogueResult<Page<Feedback>> {
        let session = self.database.session().await?;
        Ok(list(&session, tenant, page).await?)
    }

    async fn remove_answer(
        &self,
        tenant: &TenantId,
        subject: Option<&str>,
        trace_id: TraceId,
    ) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Synced, |t| remove(
            &t, tenant, subject, trace_id
        ))?)
    }

    async fn forget_answers(&self, before: OffsetDateTime, most: u64) -> CatalogueResult<u64> {
        Ok(transact!(self.database, Mode::Ordered, |t| forget(&t, before, most))?)
    }
}

async fn keep(t: &Session, tenant: &TenantId, answer: &AnsweredQuestion) -> Result<(), Failure> {
    t.run(
        "insert into answers (tenant, trace, subject, asked_at, record) values ($1, $2, $3, $4, $5)
         on conflict (tenant, trace) do nothing",
        &[
            &tenant.as_str(),
            &answer.trace_id.0,
            &plain(&answer.subject),
            &nanoseconds(answer.asked_at)?,
            &write_json(answer)?,
        ],
    )
    .await
    .map(drop)
}

async fn rate(
    t: &Session,
    tenant: &TenantId,
    subject: &str,
    trace_id: TraceId,
    rating: &Rating,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let rated = t
        .run(
            "update answers set rating = $4, rated_at = $5 where tenant = $1 and trace = $2 and subject = $3",
            &[
                &tenant.as_str(),
                &trace_id.0,
                &plain(subject),
                &write_json(rating)?,
                &nanoseconds(now)?,
            ],
        )
        .await?;
    Ok(rated > 0)
}

async fn remove(t: &Session, tenant: &TenantId, subject: Option<&str>, trace_id: TraceId) -> Result<bool, Failure> {
    let subject = subject.map(plain);
    let removed = t
        .run(
            "delete from answers where tenant = $1 and trace = $2 and ($3::text is null or subject = $3)",
            &[&tenant.as_str(), &trace_id.0, &subject],
        )
        .await?;
    Ok(removed > 0)
}

async fn forget(t: &Session, before: OffsetDateTime, most: u64) -> Result<u64, Failure> {
    // What another process forgets at this moment, it counts itself.
    let old = t
        .run(
            "delete from answers where (tenant, trace) in (
               select tenant, trace from answers where asked_at < $1 for update skip locked)",
            &[&nanoseconds(before)?],
        )
        .await?;
    let beyond = t
        .run(
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

async fn list(c: &Session, tenant: &TenantId, page: &PageRequest) -> Result<Page<Feedback>, Failure> {
    let (rated_at, trace) = begin_of_feedback(page)?;
    let trace = match trace.is_empty() {
        true => Uuid::nil(),
        false => trace.parse().map_err(|error| damaged("trace", error))?,
    };
    let rows = c
        .all(
            "select record, rating, rated_at from answers
             where tenant = $1 and rated_at is not null and (rated_at, trace) > ($2, $3)
             order by rated_at, trace limit $4",
            &[&tenant.as_str(), &rated_at, &trace, &(page.limit as i64 + 1)],
        )
        .await?;
    let found = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(page_of_feedback(found, page.limit)?)
}

fn read(row: &Row) -> Result<Feedback, Failure> {
    Ok(Feedback {
        answer: json(row, "record")?,
        rating: json(row, "rating")?,
        rated_at: instant(row, "rated_at")?,
    })
}
