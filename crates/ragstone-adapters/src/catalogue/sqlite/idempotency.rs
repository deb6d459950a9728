//! Responses to requests with an idempotency key, one row per key.

use async_trait::async_trait;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::idempotency::{
    IdempotencyStore, MAX_RESPONSES_PER_CALLER, RESPONSE_LIFETIME, RequestKey, StoredResponse,
};
use rusqlite::OptionalExtension;
use time::OffsetDateTime;

use super::SqliteCatalogue;
use crate::catalogue::value::to_nanoseconds;
use crate::sqlite::Durability;

#[async_trait]
impl IdempotencyStore for SqliteCatalogue {
    async fn find_response(&self, key: &RequestKey, now: OffsetDateTime) -> CatalogueResult<Option<StoredResponse>> {
        let key = key.clone();
        self.run_read(move |c| {
            let mut statement = c.prepare_cached(
                "select fingerprint, status, body from answered_keys
                 where tenant = ?1 and subject = ?2 and key = ?3 and answered_at > ?4",
            )?;
            let since = to_nanoseconds(now - RESPONSE_LIFETIME)?;
            let found = statement.query_row((key.tenant.as_str(), key.subject, key.key, since), |row| {
                Ok(StoredResponse {
                    fingerprint: row.get(0)?,
                    status: row.get(1)?,
                    body: row.get(2)?,
                })
            });
            Ok(found.optional()?)
        })
        .await
    }

    async fn save_response(
        &self,
        key: &RequestKey,
        answered: StoredResponse,
        now: OffsetDateTime,
    ) -> CatalogueResult<()> {
        let key = key.clone();
        self.run_write(Durability::Synced, move |t| {
            let caller = (key.tenant.as_str(), &key.subject);
            t.prepare_cached("delete from answered_keys where answered_at <= ?1")?
                .execute([to_nanoseconds(now - RESPONSE_LIFETIME)?])?;
            t.prepare_cached(
                "insert into answered_keys (tenant, subject, key, fingerprint, status, body, answered_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict do nothing",
            )?
            .execute((
                caller.0,
                caller.1,
                &key.key,
                answered.fingerprint,
                answered.status,
                answered.body,
                to_nanoseconds(now)?,
            ))?;
            t.prepare_cached(
                "delete from answered_keys where rowid in (
                     select rowid from answered_keys where tenant = ?1 and subject = ?2
                     order by answered_at desc, rowid desc limit -1 offset ?3)",
            )?
            .execute((caller.0, caller.1, MAX_RESPONSES_PER_CALLER))?;
            Ok(())
        })
        .await
    }
}
