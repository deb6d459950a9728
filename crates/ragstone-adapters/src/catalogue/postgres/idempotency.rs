//! Responses to requests with an idempotency key, one row per key.

use async_trait::async_trait;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::idempotency::{
    IdempotencyStore, MAX_RESPONSES_PER_CALLER, RESPONSE_LIFETIME, RequestKey, StoredResponse,
};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalogue;
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::row::{get_hash, get_number, get_value, without_nul};
use crate::catalogue::value::to_nanoseconds;

/// Most expired responses that one write deletes.
const FORGOTTEN_AT_ONCE: i64 = 256;

#[async_trait]
impl IdempotencyStore for PostgresCatalogue {
    async fn find_response(&self, key: &RequestKey, now: OffsetDateTime) -> CatalogueResult<Option<StoredResponse>> {
        let session = self.database.open_session().await?;
        let since = to_nanoseconds(now - RESPONSE_LIFETIME).map_err(PostgresTransactionError::from)?;
        let found = session
            .query_first(
                "select fingerprint, status, body from answered_keys
                 where tenant = $1 and subject = $2 and key = $3 and answered_at > $4",
                &[
                    &key.tenant.as_str(),
                    &without_nul(&key.subject),
                    &without_nul(&key.key),
                    &since,
                ],
            )
            .await?;
        Ok(found.as_ref().map(read_response).transpose()?)
    }

    async fn save_response(
        &self,
        key: &RequestKey,
        answered: StoredResponse,
        now: OffsetDateTime,
    ) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            save_response(&t, key, &answered, now)
        })?)
    }
}

fn read_response(row: &Row) -> Result<StoredResponse, PostgresTransactionError> {
    Ok(StoredResponse {
        fingerprint: get_hash(row, "fingerprint")?,
        status: get_number(row, "status")?,
        body: get_value(row, "body")?,
    })
}

async fn save_response(
    t: &PostgresSession,
    key: &RequestKey,
    answered: &StoredResponse,
    now: OffsetDateTime,
) -> Result<(), PostgresTransactionError> {
    let (tenant, subject, key) = (key.tenant.as_str(), without_nul(&key.subject), without_nul(&key.key));
    // Rows that another writer has locked are deleted by that writer.
    t.execute_statement(
        "delete from answered_keys where (tenant, subject, key) in (
           select tenant, subject, key from answered_keys where answered_at <= $1 limit $2 for update skip locked)",
        &[&to_nanoseconds(now - RESPONSE_LIFETIME)?, &FORGOTTEN_AT_ONCE],
    )
    .await?;
    // An expired response that is still there is replaced.
    t.execute_statement(
        "insert into answered_keys (tenant, subject, key, fingerprint, status, body, answered_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant, subject, key) do update set
           fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
           answered_at = excluded.answered_at
         where answered_keys.answered_at <= $8",
        &[
            &tenant,
            &subject,
            &key,
            &answered.fingerprint.as_slice(),
            &i64::from(answered.status),
            &without_nul(&answered.body),
            &to_nanoseconds(now)?,
            &to_nanoseconds(now - RESPONSE_LIFETIME)?,
        ],
    )
    .await?;
    t.execute_statement(
        "delete from answered_keys where tenant = $1 and subject = $2 and (answered_at, sequence) <= (
           select answered_at, sequence from answered_keys where tenant = $1 and subject = $2
           order by answered_at desc, sequence desc offset $3 limit 1)",
        &[&tenant, &subject, &(MAX_RESPONSES_PER_CALLER as i64)],
    )
    .await
    .map(drop)
}
