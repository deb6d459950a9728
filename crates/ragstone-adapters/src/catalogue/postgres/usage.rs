//! What callers spent, a row a caller and day.

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::usage::{Spent, UsageStore};
use time::Date;

use super::PostgresCatalogue;
use super::database::{Mode, Session, transact};
use super::error::Failure;
use super::row::{number, plain};
use crate::catalogue::value::{KEPT_DAYS, day_number};

#[async_trait]
impl UsageStore for PostgresCatalogue {
    async fn spend(&self, tenant: &TenantId, subject: &str, day: Date, tokens: u64) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Ordered, |t| spend(
            &t, tenant, subject, day, tokens
        ))?)
    }

    async fn spent(&self, tenant: &TenantId, subject: &str, day: Date) -> CatalogueResult<Spent> {
        let session = self.database.session().await?;
        let row = session
            .one(
                "select coalesce(sum(tokens), 0)::bigint as tenant,
                   coalesce(sum(tokens) filter (where subject = $3), 0)::bigint as caller
                 from token_usage where tenant = $1 and day = $2",
                &[&tenant.as_str(), &day_number(day), &plain(subject)],
            )
            .await?;
        Ok(Spent {
            tenant: number(&row, "tenant")?,
            caller: number(&row, "caller")?,
        })
    }
}

async fn spend(t: &Session, tenant: &TenantId, subject: &str, day: Date, tokens: u64) -> Result<(), Failure> {
    // What another writer holds, it forgets itself.
    t.run(
        "delete from token_usage where (tenant, day, subject) in (
           select tenant, day, subject from token_usage where tenant = $1 and day < $2 for update skip locked)",
        &[&tenant.as_str(), &(day_number(day) - KEPT_DAYS)],
    )
    .await?;
    t.run(
        "insert into token_usage (tenant, day, subject, tokens) values ($1, $2, $3, $4)
         on conflict (tenant, day, subject) do update set tokens = token_usage.tokens + excluded.tokens",
        &[
            &tenant.as_str(),
            &day_number(day),
            &plain(subject),
            &i64::try_from(tokens).unwrap_or(i64::MAX),
        ],
    )
    .await
    .map(drop)
}
