//! Rows of API keys.

use std::path::Path;

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::{CatalogueError, CatalogueResult, ListPage, PageRequest};
use ragstone_core::seam::keys::{KeyHash, KeyId, KeyRecord, KeyStore, Pepper, RotationOutcome, StoredKey};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, named_params, params};
use time::OffsetDateTime;

use super::row::{damaged_row, get_enum, get_instant, get_json, get_name, optional_instant};
use super::{SqliteCatalogue, SqliteTransactionError};
use crate::catalogue::cursor::{build_key_page, parse_key_cursor};
use crate::catalogue::value::{PEPPER, to_nanoseconds, write_enum, write_json};
use crate::sqlite::{BUSY_TIMEOUT, Durability, SqliteError};

/// Whether the database file holds an API key; false if it does not exist. Changes nothing, and works beside a process
/// that has the database open.
pub fn file_has_keys(path: &Path) -> Result<bool, SqliteError> {
    if !path.exists() {
        return Ok(false);
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let has_table = "select exists (select 1 from sqlite_master where type = 'table' and name = 'api_keys')";
    match connection.query_row(has_table, [], |row| row.get(0))? {
        false => Ok(false),
        true => Ok(connection.query_row("select exists (select 1 from api_keys)", [], |row| row.get(0))?),
    }
}

#[async_trait]
impl KeyStore for SqliteCatalogue {
    async fn get_or_create_pepper(&self, fresh: Pepper) -> CatalogueResult<Pepper> {
        if let Some(kept) = self.run_read(load_pepper).await? {
            return Ok(kept);
        }
        self.run_write(Durability::Synced, move |t| {
            t.execute(
                "insert into settings (key, value) values (?1, ?2) on conflict do nothing",
                [PEPPER, fresh.to_hex().as_str()],
            )?;
            load_pepper(t)?.ok_or_else(|| damaged_row(PEPPER, "it was not kept"))
        })
        .await
    }

    async fn has_keys(&self) -> CatalogueResult<bool> {
        self.run_read(|c| {
            let mut statement = c.prepare_cached("select exists (select 1 from api_keys)")?;
            Ok(statement.query_row([], |row| row.get(0))?)
        })
        .await
    }

    async fn create_key(&self, key: StoredKey) -> CatalogueResult<bool> {
        self.run_write(Durability::Synced, move |t| insert_key(t, &key)).await
    }

    async fn find_key(&self, id: KeyId) -> CatalogueResult<Option<StoredKey>> {
        self.run_read(move |c| load_key(c, None, id)).await
    }

    async fn list_keys(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<ListPage<KeyRecord>> {
        let (tenant, page) = (tenant.cloned(), page.clone());
        self.run_read(move |c| list_keys(c, tenant.as_ref(), &page)).await
    }

    async fn rotate_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        successor: (KeyId, KeyHash),
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<RotationOutcome> {
        let tenant = tenant.cloned();
        self.run_write(Durability::Synced, move |t| {
            rotate_key(t, tenant.as_ref(), id, successor, until, now)
        })
        .await
    }

    async fn revoke_key(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<KeyRecord>> {
        let tenant = tenant.cloned();
        self.run_write(Durability::Synced, move |t| {
            let Some(mut stored) = load_key(t, tenant.as_ref(), id)? else {
                return Ok(None);
            };
            stored.key.revoked_at.get_or_insert(now);
            update_key(t, &stored.key)?;
            Ok(Some(stored.key))
        })
        .await
    }

    async fn record_key_use(&self, id: KeyId, at: OffsetDateTime) -> CatalogueResult<()> {
        self.run_write(Durability::Ordered, move |t| {
            t.execute(
                "update api_keys set last_used_at = max(?2, coalesce(last_used_at, ?2)) where id = ?1",
                params![id.to_string(), to_nanoseconds(at)?],
            )?;
            Ok(())
        })
        .await
    }
}

fn load_pepper(connection: &Connection) -> Result<Option<Pepper>, SqliteTransactionError> {
    let mut statement = connection.prepare_cached("select value from settings where key = ?1")?;
    let kept: Option<String> = statement.query_row([PEPPER], |row| row.get(0)).optional()?;
    let read = |text: String| Pepper::from_hex(&text).ok_or_else(|| damaged_row(PEPPER, "not 64 hexadecimal digits"));
    kept.map(read).transpose()
}

/// Inserts a key; returns false if the id exists.
fn insert_key(connection: &Connection, stored: &StoredKey) -> Result<bool, SqliteTransactionError> {
    let key = &stored.key;
    let rows = connection
        .prepare_cached(
            "insert into api_keys (id, hash, name, tenant, role, readers, subject, created_at, expires_at, revoked_at,
             last_used_at, successor)
             values (:id, :hash, :name, :tenant, :role, :readers, :subject, :created_at, :expires_at, :revoked_at,
             :last_used_at, :successor) on conflict do nothing",
        )?
        .execute(named_params! {
            ":id": key.id.to_string(),
            ":hash": stored.hash.as_bytes(),
            ":name": key.name,
            ":tenant": key.tenant.as_str(),
            ":role": write_enum(&key.role)?,
            ":readers": write_json(&key.readers)?,
            ":subject": key.subject,
            ":created_at": to_nanoseconds(key.created_at)?,
            ":expires_at": key.expires_at.map(to_nanoseconds).transpose()?,
            ":revoked_at": key.revoked_at.map(to_nanoseconds).transpose()?,
            ":last_used_at": key.last_used_at.map(to_nanoseconds).transpose()?,
            ":successor": key.successor.map(|id| id.to_string()),
        })?;
    Ok(rows == 1)
}

/// Updates the mutable fields of a key.
fn update_key(connection: &Connection, key: &KeyRecord) -> Result<(), SqliteTransactionError> {
    connection
        .prepare_cached("update api_keys set expires_at = ?2, revoked_at = ?3, successor = ?4 where id = ?1")?
        .execute(params![
            key.id.to_string(),
            key.expires_at.map(to_nanoseconds).transpose()?,
            key.revoked_at.map(to_nanoseconds).transpose()?,
            key.successor.map(|id| id.to_string()),
        ])?;
    Ok(())
}

fn load_key(
    connection: &Connection,
    tenant: Option<&TenantId>,
    id: KeyId,
) -> Result<Option<StoredKey>, SqliteTransactionError> {
    let mut statement =
        connection.prepare_cached("select * from api_keys where id = ?1 and (?2 is null or tenant = ?2)")?;
    let mut rows = statement.query(params![id.to_string(), tenant.map(TenantId::as_str)])?;
    rows.next()?.map(read_key).transpose()
}

fn rotate_key(
    connection: &Connection,
    tenant: Option<&TenantId>,
    id: KeyId,
    (successor, hash): (KeyId, KeyHash),
    until: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<RotationOutcome, SqliteTransactionError> {
    let Some(StoredKey { key: mut old, .. }) = load_key(connection, tenant, id)? else {
        return Ok(RotationOutcome::Unknown);
    };
    if !old.may_be_rotated(now) {
        return Ok(RotationOutcome::Ended);
    }
    let key = old.create_successor(successor, now, until);
    update_key(connection, &old)?;
    let stored = StoredKey { key, hash };
    match insert_key(connection, &stored)? {
        true => Ok(RotationOutcome::Done(stored.key)),
        false => Err(CatalogueError::Stale.into()),
    }
}

fn list_keys(
    connection: &Connection,
    tenant: Option<&TenantId>,
    page: &PageRequest,
) -> Result<ListPage<KeyRecord>, SqliteTransactionError> {
    let (at, id) = parse_key_cursor(page)?;
    let filter = match tenant {
        Some(_) => "tenant = ?1 and",
        None => "?1 is null and",
    };
    let mut statement = connection.prepare_cached(&format!(
        "select * from api_keys where {filter} (created_at, id) > (?2, ?3) order by created_at, id limit ?4"
    ))?;
    let mut rows = statement.query(params![tenant.map(TenantId::as_str), at, id, page.limit + 1])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(read_key(row)?.key);
    }
    Ok(build_key_page(items, page.limit)?)
}

fn read_key(row: &Row<'_>) -> Result<StoredKey, SqliteTransactionError> {
    let successor: Option<String> = row.get("successor")?;
    let successor = successor.map(|id| id.parse().map_err(|error| damaged_row("successor", error)));
    Ok(StoredKey {
        hash: KeyHash::from_bytes(row.get("hash")?),
        key: KeyRecord {
            id: get_name(row, "id")?,
            name: row.get("name")?,
            tenant: get_name(row, "tenant")?,
            role: get_enum(row, "role")?,
            readers: get_json(row, "readers")?,
            subject: row.get("subject")?,
            created_at: get_instant(row, "created_at")?,
            expires_at: optional_instant(row, "expires_at")?,
            revoked_at: optional_instant(row, "revoked_at")?,
            last_used_at: optional_instant(row, "last_used_at")?,
            successor: successor.transpose()?,
        },
    })
}
