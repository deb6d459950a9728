//! Rows of API keys.

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::{CatalogueError, CatalogueResult, ListPage, PageRequest};
use ragstone_core::seam::keys::{KeyHash, KeyId, KeyRecord, KeyStore, Pepper, RotationOutcome, StoredKey};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalogue;
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::row::{
    RowLock, get_enum, get_hash, get_instant, get_json, get_name, get_value, optional_instant, without_nul,
};
use crate::catalogue::cursor::{build_key_page, parse_key_cursor};
use crate::catalogue::value::{PEPPER, damaged_value, to_nanoseconds, write_enum, write_json};

const KEY: &str = "id, hash, name, tenant, role, readers, subject, created_at, expires_at, revoked_at, last_used_at,
    successor";

#[async_trait]
impl KeyStore for PostgresCatalogue {
    async fn get_or_create_pepper(&self, fresh: Pepper) -> CatalogueResult<Pepper> {
        let session = self.database.open_session().await?;
        if let Some(kept) = load_pepper(&session).await? {
            return Ok(kept);
        }
        session
            .execute_statement(
                "insert into settings (key, value) values ($1, $2) on conflict (key) do nothing",
                &[&PEPPER, &fresh.to_hex().as_str()],
            )
            .await?;
        let kept = load_pepper(&session).await?;
        Ok(kept.ok_or_else(|| PostgresTransactionError::from(damaged_value(PEPPER, "it was not kept")))?)
    }

    async fn has_keys(&self) -> CatalogueResult<bool> {
        let session = self.database.open_session().await?;
        let row = session
            .query_one("select exists (select 1 from api_keys) as has_keys", &[])
            .await?;
        Ok(get_value(&row, "has_keys")?)
    }

    async fn create_key(&self, key: StoredKey) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| insert_key(
            &t, &key
        ))?)
    }

    async fn find_key(&self, id: KeyId) -> CatalogueResult<Option<StoredKey>> {
        let session = self.database.open_session().await?;
        Ok(load_key(&session, None, id, RowLock::Unlocked).await?)
    }

    async fn list_keys(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<ListPage<KeyRecord>> {
        let session = self.database.open_session().await?;
        Ok(list_keys(&session, tenant, page).await?)
    }

    async fn rotate_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        successor: (KeyId, KeyHash),
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<RotationOutcome> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| rotate_key(
            &t, tenant, id, successor, until, now
        ))?)
    }

    async fn revoke_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<KeyRecord>> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| revoke_key(
            &t, tenant, id, now
        ))?)
    }

    async fn record_key_use(&self, id: KeyId, at: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            record_key_use(&t, id, at)
        })?)
    }
}

async fn load_pepper(c: &PostgresSession) -> Result<Option<Pepper>, PostgresTransactionError> {
    let kept = c
        .query_first("select value from settings where key = $1", &[&PEPPER])
        .await?;
    let Some(row) = kept else { return Ok(None) };
    let pepper = Pepper::from_hex(get_value(&row, "value")?);
    Ok(Some(
        pepper.ok_or_else(|| damaged_value(PEPPER, "not 64 hexadecimal digits"))?,
    ))
}

/// Inserts a key; returns false if the id exists.
async fn insert_key(t: &PostgresSession, stored: &StoredKey) -> Result<bool, PostgresTransactionError> {
    let key = &stored.key;
    let at = |at: Option<OffsetDateTime>| at.map(to_nanoseconds).transpose();
    let rows = t
        .execute_statement(
            "insert into api_keys (id, hash, name, tenant, role, readers, subject, created_at, expires_at, revoked_at,
             last_used_at, successor)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (id) do nothing",
            &[
                &key.id.to_string(),
                &stored.hash.as_bytes().as_slice(),
                &without_nul(&key.name),
                &key.tenant.as_str(),
                &write_enum(&key.role)?,
                &write_json(&key.readers)?,
                &without_nul(&key.subject),
                &to_nanoseconds(key.created_at)?,
                &at(key.expires_at)?,
                &at(key.revoked_at)?,
                &at(key.last_used_at)?,
                &key.successor.map(|id| id.to_string()),
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// Updates the mutable fields of a key.
async fn update_key(t: &PostgresSession, key: &KeyRecord) -> Result<(), PostgresTransactionError> {
    t.execute_statement(
        "update api_keys set expires_at = $2, revoked_at = $3, successor = $4 where id = $1",
        &[
            &key.id.to_string(),
            &key.expires_at.map(to_nanoseconds).transpose()?,
            &key.revoked_at.map(to_nanoseconds).transpose()?,
            &key.successor.map(|id| id.to_string()),
        ],
    )
    .await
    .map(drop)
}

async fn load_key(
    c: &PostgresSession,
    tenant: Option<&TenantId>,
    id: KeyId,
    hold: RowLock,
) -> Result<Option<StoredKey>, PostgresTransactionError> {
    let hold = match hold {
        RowLock::Unlocked => "",
        RowLock::ForUpdate => "for update",
    };
    let query = format!("select {KEY} from api_keys where id = $1 and ($2::text is null or tenant = $2) {hold}");
    let tenant = tenant.map(TenantId::as_str);
    let found = c.query_first(&query, &[&id.to_string(), &tenant]).await?;
    found.as_ref().map(read_key).transpose()
}

async fn rotate_key(
    t: &PostgresSession,
    tenant: Option<&TenantId>,
    id: KeyId,
    (successor, hash): (KeyId, KeyHash),
    until: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<RotationOutcome, PostgresTransactionError> {
    let Some(StoredKey { key: mut old, .. }) = load_key(t, tenant, id, RowLock::ForUpdate).await? else {
        return Ok(RotationOutcome::Unknown);
    };
    if !old.may_be_rotated(now) {
        return Ok(RotationOutcome::Ended);
    }
    let key = old.create_successor(successor, now, until);
    update_key(t, &old).await?;
    let stored = StoredKey { key, hash };
    match insert_key(t, &stored).await? {
        true => Ok(RotationOutcome::Done(stored.key)),
        false => Err(CatalogueError::Stale.into()),
    }
}

async fn revoke_key(
    t: &PostgresSession,
    tenant: Option<&TenantId>,
    id: KeyId,
    now: OffsetDateTime,
) -> Result<Option<KeyRecord>, PostgresTransactionError> {
    let Some(mut stored) = load_key(t, tenant, id, RowLock::ForUpdate).await? else {
        return Ok(None);
    };
    stored.key.revoked_at.get_or_insert(now);
    update_key(t, &stored.key).await?;
    Ok(Some(stored.key))
}

async fn record_key_use(t: &PostgresSession, id: KeyId, at: OffsetDateTime) -> Result<(), PostgresTransactionError> {
    t.execute_statement(
        "update api_keys set last_used_at = $2 where id = $1 and (last_used_at is null or last_used_at < $2)",
        &[&id.to_string(), &to_nanoseconds(at)?],
    )
    .await
    .map(drop)
}

async fn list_keys(
    c: &PostgresSession,
    tenant: Option<&TenantId>,
    page: &PageRequest,
) -> Result<ListPage<KeyRecord>, PostgresTransactionError> {
    let (at, id) = parse_key_cursor(page)?;
    let filter = match tenant {
        Some(_) => "tenant = $1 and",
        None => "$1::text is null and",
    };
    let query = format!(
        "select {KEY} from api_keys where {filter} (created_at, id) > ($2, $3) order by created_at, id limit $4"
    );
    let limit = page.limit as i64 + 1;
    let rows = c
        .query_all(&query, &[&tenant.map(TenantId::as_str), &at, &id, &limit])
        .await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in &rows {
        items.push(read_key(row)?.key);
    }
    Ok(build_key_page(items, page.limit)?)
}

fn read_key(row: &Row) -> Result<StoredKey, PostgresTransactionError> {
    let successor: Option<String> = get_value(row, "successor")?;
    let successor = successor.map(|id| id.parse().map_err(|error| damaged_value("successor", error)));
    Ok(StoredKey {
        hash: KeyHash::from_bytes(get_hash(row, "hash")?),
        key: KeyRecord {
            id: get_name(row, "id")?,
            name: get_value(row, "name")?,
            tenant: get_name(row, "tenant")?,
            role: get_enum(row, "role")?,
            readers: get_json(row, "readers")?,
            subject: get_value(row, "subject")?,
            created_at: get_instant(row, "created_at")?,
            expires_at: optional_instant(row, "expires_at")?,
            revoked_at: optional_instant(row, "revoked_at")?,
            last_used_at: optional_instant(row, "last_used_at")?,
            successor: successor.transpose()?,
        },
    })
}
