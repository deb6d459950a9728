//! Token usage, one row per caller and day.

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::usage::{DailyUsage, UsageStore};
use time::Date;

use super::PostgresCatalogue;
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::row::{get_number, without_nul};
use crate::catalogue::value::{KEPT_DAYS, day_number};

#[async_trait]
impl UsageStore for PostgresCatalogue {
    async fn add_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date, tokens: u64) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            add_daily_usage(&t, tenant, subject, day, tokens)
        })?)
    }

    async fn get_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date) -> CatalogueResult<DailyUsage> {
        let session = self.database.open_session().await?;
        let row = session
            .query_one(
                "select coalesce(sum(tokens), 0)::bigint as tenant,
                   coalesce(sum(tokens) filter (where subject = $3), 0)::bigint as caller
                 from token_usage where tenant = $1 and day = $2",
                &[&tenant.as_str(), &day_number(day), &without_nul(subject)],
            )
            .await?;
        Ok(DailyUsage {
            tenant: get_number(&row, "tenant")?,
            caller: get_number(&row, "caller")?,
        })
    }
}

async fn add_daily_usage(
    t: &PostgresSession,
    tenant: &TenantId,
    subject: &str,
    day: Date,
    tokens: u64,
) -> Result<(), PostgresTransactionError> {
    // Rows that another writer has locked are deleted by that writer.
    t.execute_statement(
        "delete from token_usage where (tenant, day, subject) in (
           select tenant, day, subject from token_usage where tenant = $1 and day < $2 for update skip locked)",
        &[&tenant.as_str(), &(day_number(day) - KEPT_DAYS)],
    )
    .await?;
    t.execute_statement(
        "insert into token_usage (tenant, day, subject, tokens) values ($1, $2, $3, $4)
         on conflict (tenant, day, subject) do update set tokens = token_usage.tokens + excluded.tokens",
        &[
            &tenant.as_str(),
            &day_number(day),
            &without_nul(subject),
            &i64::try_from(tokens).unwrap_or(i64::MAX),
        ],
    )
    .await
    .map(drop)
}
