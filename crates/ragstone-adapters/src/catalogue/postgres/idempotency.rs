//! What requests with an idempotency key were answered, a row a key.

use async_trait::async_trait;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::idempotency::{Answered, IdempotencyStore, KEPT_FOR, MAX_KEPT, RequestKey};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalogue;
use super::database::{Mode, Session, transact};
use super::error::Failure;
use super::row::{get, hash, number, plain};
use crate::catalogue::value::nanoseconds;

/// Answers that are too old which one writer forgets.
const FORGOTTEN_AT_ONCE: i64 = 256;

#[async_trait]
impl IdempotencyStore for PostgresCatalogue {
    async fn answered(&self, key: &RequestKey, now: OffsetDateTime) -> CatalogueResult<Option<Answered>> {
        let session = self.database.session().await?;
        let since = nanoseconds(now - KEPT_FOR).map_err(Failure::from)?;
        let found = session
            .first(
                "select fingerprint, status, body from answered_keys
                 where tenant = $1 and subject = $2 and key = $3 and answered_at > $4",
                &[&key.tenant.as_str(), &plain(&key.subject), &plain(&key.key), &since],
            )
            .await?;
        Ok(found.as_ref().map(read).transpose()?)
    }

    async fn keep(&self, key: &RequestKey, answered: Answered, now: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Synced, |t| keep(
            &t, key, &answered, now
        ))?)
    }
}

fn read(row: &Row) -> Result<Answered, Failure> {
    Ok(Answered {
        fingerprint: hash(row, "fingerprint")?,
        status: number(row, "status")?,
        body: get(row, "body")?,
    })
}

async fn keep(t: &Session, key: &RequestKey, answered: &Answered, now: OffsetDateTime) -> Result<(), Failure> {
    let (tenant, subject, key) = (key.tenant.as_str(), plain(&key.subject), plain(&key.key));
    // What another writer holds, it forgets itself.
    t.run(
        "delete from answered_keys where (tenant, subject, key) in (
           select tenant, subject, key from answered_keys where answered_at <= $1 limit $2 for update skip locked)",
        &[&nanoseconds(now - KEPT_FOR)?, &FORGOTTEN_AT_ONCE],
    )
    .await?;
    // One that is too old and was not forgotten just now gives its place up.
    t.run(
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
            &plain(&answered.body),
            &nanoseconds(now)?,
            &nanoseconds(now - KEPT_FOR)?,
        ],
    )
    .await?;
    t.run(
        "delete from answered_keys where tenant = $1 and subject = $2 and (answered_at, sequence) <= (
           select answered_at, sequence from answered_keys where tenant = $1 and subject = $2
           order by answered_at desc, sequence desc offset $3 limit 1)",
        &[&tenant, &subject, &(MAX_KEPT as i64)],
    )
    .await
    .map(drop)
}
