//! API keys in rows.

use std::path::Path;

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::{CatalogueError, CatalogueResult, Page, PageRequest};
use ragstone_core::seam::keys::{Key, KeyHash, KeyId, KeyStore, Pepper, Rotation, StoredKey};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, named_params, params};
use time::OffsetDateTime;

use super::row::{damaged, instant, json, name, optional_instant, word};
use super::{Failure, SqliteCatalogue};
use crate::catalogue::cursor::{begin_of_keys, page_of_keys};
use crate::catalogue::value::{PEPPER, nanoseconds, write_json, write_word};
use crate::sqlite::{BUSY_TIMEOUT, DatabaseError, Durability};

/// Whether the database file holds an API key; one that does not exist holds none. Changes nothing, and works beside a
/// process that has the database open.
pub fn file_has_keys(path: &Path) -> Result<bool, DatabaseError> {
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
    async fn pepper(&self, fresh: Pepper) -> CatalogueResult<Pepper> {
        if let Some(kept) = self.read(kept_pepper).await? {
            return Ok(kept);
        }
        self.write(Durability::Synced, move |t| {
            t.execute(
                "insert into settings (key, value) values (?1, ?2) on conflict do nothing",
                [PEPPER, fresh.write().as_str()],
            )?;
            kept_pepper(t)?.ok_or_else(|| damaged(PEPPER, "it was not kept"))
        })
        .await
    }

    async fn has_keys(&self) -> CatalogueResult<bool> {
        self.read(|c| {
            let mut statement = c.prepare_cached("select exists (select 1 from api_keys)")?;
            Ok(statement.query_row([], |row| row.get(0))?)
        })
        .await
    }

    async fn create(&self, key: StoredKey) -> CatalogueResult<bool> {
        self.write(Durability::Synced, move |t| insert(t, &key)).await
    }

    async fn find(&self, id: KeyId) -> CatalogueResult<Option<StoredKey>> {
        self.read(move |c| load(c, None, id)).await
    }

    async fn list(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<Page<Key>> {
        let (tenant, page) = (tenant.cloned(), page.clone());
        self.read(move |c| list(c, tenant.as_ref(), &page)).await
    }

    async fn rotate(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        successor: (KeyId, KeyHash),
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<Rotation> {
        let tenant = tenant.cloned();
        self.write(Durability::Synced, move |t| {
            rotate(t, tenant.as_ref(), id, successor, until, now)
        })
        .await
    }

    async fn revoke(&self, tenant: Option<&TenantId>, id: KeyId, now: OffsetDateTime) -> CatalogueResult<Option<Key>> {
        let tenant = tenant.cloned();
        self.write(Durability::Synced, move |t| {
            let Some(mut stored) = load(t, tenant.as_ref(), id)? else {
                return Ok(None);
            };
            stored.key.revoked_at.get_or_insert(now);
            update(t, &stored.key)?;
            Ok(Some(stored.key))
        })
        .await
    }

    async fn used(&self, id: KeyId, at: OffsetDateTime) -> CatalogueResult<()> {
        self.write(Durability::Ordered, move |t| {
            t.execute(
                "update api_keys set last_used_at = max(?2, coalesce(last_used_at, ?2)) where id = ?1",
                params![id.to_string(), nanoseconds(at)?],
            )?;
            Ok(())
        })
        .await
    }
}

fn kept_pepper(connection: &Connection) -> Result<Option<Pepper>, Failure> {
    let mut statement = connection.prepare_cached("select value from settings where key = ?1")?;
    let kept: Option<String> = statement.query_row([PEPPER], |row| row.get(0)).optional()?;
    let read = |text: String| Pepper::read(&text).ok_or_else(|| damaged(PEPPER, "not 64 hexadecimal digits"));
    kept.map(read).transpose()
}

/// False if the id is taken.
fn insert(connection: &Connection, stored: &StoredKey) -> Result<bool, Failure> {
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
            ":role": write_word(&key.role)?,
            ":readers": write_json(&key.readers)?,
            ":subject": key.subject,
            ":created_at": nanoseconds(key.created_at)?,
            ":expires_at": key.expires_at.map(nanoseconds).transpose()?,
            ":revoked_at": key.revoked_at.map(nanoseconds).transpose()?,
            ":last_used_at": key.last_used_at.map(nanoseconds).transpose()?,
            ":successor": key.successor.map(|id| id.to_string()),
        })?;
    Ok(rows == 1)
}

/// Writes what may change of a key.
fn update(connection: &Connection, key: &Key) -> Result<(), Failure> {
    connection
        .prepare_cached("update api_keys set expires_at = ?2, revoked_at = ?3, successor = ?4 where id = ?1")?
        .execute(params![
            key.id.to_string(),
            key.expires_at.map(nanoseconds).transpose()?,
            key.revoked_at.map(nanoseconds).transpose()?,
            key.successor.map(|id| id.to_string()),
        ])?;
    Ok(())
}

fn load(connection: &Connection, tenant: Option<&TenantId>, id: KeyId) -> Result<Option<StoredKey>, Failure> {
    let mut statement =
        connection.prepare_cached("select * from api_keys where id = ?1 and (?2 is null or tenant = ?2)")?;
    let mut rows = statement.query(params![id.to_string(), tenant.map(TenantId::as_str)])?;
    rows.next()?.map(read).transpose()
}

fn rotate(
    connection: &Connection,
    tenant: Option<&TenantId>,
    id: KeyId,
    (successor, hash): (KeyId, KeyHash),
    until: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Rotation, Failure> {
    let Some(StoredKey { key: mut old, .. }) = load(connection, tenant, id)? else {
        return Ok(Rotation::Unknown);
    };
    if !old.may_be_rotated(now) {
        return Ok(Rotation::Ended);
    }
    let key = old.give_place(successor, now, until);
    update(connection, &old)?;
    let stored = StoredKey { key, hash };
    match insert(connection, &stored)? {
        true => Ok(Rotation::Done(stored.key)),
        false => Err(CatalogueError::Stale.into()),
    }
}

fn list(connection: &Connection, tenant: Option<&TenantId>, page: &PageRequest) -> Result<Page<Key>, Failure> {
    let (at, id) = begin_of_keys(page)?;
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
        items.push(read(row)?.key);
    }
    Ok(page_of_keys(items, page.limit)?)
}

fn read(row: &Row<'_>) -> Result<StoredKey, Failure> {
    let successor: Option<String> = row.get("successor")?;
    let successor = successor.map(|id| id.parse().map_err(|error| damaged("successor", error)));
    Ok(StoredKey {
        hash: KeyHash::from_bytes(row.get("hash")?),
        key: Key {
            id: name(row, "id")?,
            name: row.get("name")?,
            tenant: name(row, "tenant")?,
            role: word(row, "role")?,
            readers: json(row, "readers")?,
            subject: row.get("subject")?,
            created_at: instant(row, "created_at")?,
            expires_at: optional_instant(row, "expires_at")?,
            revoked_at: optional_instant(row, "revoked_at")?,
            last_used_at: optional_instant(row, "last_used_at")?,
            successor: successor.transpose()?,
        },
    })
}
