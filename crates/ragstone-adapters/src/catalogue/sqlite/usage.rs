//! Token usage, one row per caller and day.

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::usage::{DailyUsage, UsageStore};
use rusqlite::named_params;
use time::Date;

use super::{SqliteCatalogue, SqliteTransactionError};
use crate::catalogue::value::{KEPT_DAYS, day_number};
use crate::sqlite::Durability;

#[async_trait]
impl UsageStore for SqliteCatalogue {
    async fn add_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date, tokens: u64) -> CatalogueResult<()> {
        let (tenant, subject, day) = (tenant.as_str().to_owned(), subject.to_owned(), day_number(day));
        self.run_write(Durability::Ordered, move |t| {
            t.prepare_cached("delete from token_usage where tenant = ?1 and day < ?2")?
                .execute((&tenant, day - KEPT_DAYS))?;
            t.prepare_cached(
                "insert into token_usage (tenant, day, subject, tokens) values (?1, ?2, ?3, ?4)
                 on conflict do update set tokens = tokens + excluded.tokens",
            )?
            .execute((&tenant, day, &subject, tokens))?;
            Ok(())
        })
        .await
    }

    async fn get_daily_usage(&self, tenant: &TenantId, subject: &str, day: Date) -> CatalogueResult<DailyUsage> {
        let (tenant, subject, day) = (tenant.as_str().to_owned(), subject.to_owned(), day_number(day));
        self.run_read(move |c| {
            let mut statement = c.prepare_cached(
                "select coalesce(sum(tokens), 0), coalesce(sum(tokens) filter (where subject = :subject), 0)
                 from token_usage where tenant = :tenant and day = :day",
            )?;
            let parameters = named_params! {":tenant": tenant, ":day": day, ":subject": subject};
            Ok::<_, SqliteTransactionError>(statement.query_row(parameters, |row| {
                Ok(DailyUsage {
                    tenant: row.get(0)?,
                    caller: row.get(1)?,
                })
            })?)
        })
        .await
    }
}
