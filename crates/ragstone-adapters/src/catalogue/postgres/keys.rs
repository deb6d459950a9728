//! API keys in rows.

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::{CatalogueError, CatalogueResult, Page, PageRequest};
use ragstone_core::seam::keys::{Key, KeyHash, KeyId, KeyStore, Pepper, Rotation, StoredKey};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalogue;
use super::database::{Mode, Session, transact};
use super::error::Failure;
use super::row::{Hold, get, hash, instant, json, name, optional_instant, plain, word};
use crate::catalogue::cursor::{begin_of_keys, page_of_keys};
use crate::catalogue::value::{PEPPER, damaged, nanoseconds, write_json, write_word};

const KEY: &str = "id, hash, name, tenant, role, readers, subject, created_at, expires_at, revoked_at, last_used_at,
    successor";

#[async_trait]
impl KeyStore for PostgresCatalogue {
    async fn pepper(&self, fresh: Pepper) -> CatalogueResult<Pepper> {
        let session = self.database.session().await?;
        if let Some(kept) = kept_pepper(&session).await? {
            return Ok(kept);
        }
        session
            .run(
                "insert into settings (key, value) values ($1, $2) on conflict (key) do nothing",
                &[&PEPPER, &fresh.write().as_str()],
            )
            .await?;
        let kept = kept_pepper(&session).await?;
        Ok(kept.ok_or_else(|| Failure::from(damaged(PEPPER, "it was not kept")))?)
    }

    async fn has_keys(&self) -> CatalogueResult<bool> {
        let session = self.database.session().await?;
        let row = session
            .one("select exists (select 1 from api_keys) as has_keys", &[])
            .await?;
        Ok(get(&row, "has_keys")?)
    }

    async fn create(&self, key: StoredKey) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Synced, |t| insert(&t, &key))?)
    }

    async fn find(&self, id: KeyId) -> CatalogueResult<Option<StoredKey>> {
        let session = self.database.session().await?;
        Ok(load(&session, None, id, Hold::No).await?)
    }

    async fn list(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<Page<Key>> {
        let session = self.database.session().await?;
        Ok(list(&session, tenant, page).await?)
    }

    async fn rotate(
        &self,
        tenant: Option<&TenantId>,
        id: KeyId,
        successor: (KeyId, KeyHash),
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<Rotation> {
        Ok(transact!(self.database, Mode::Synced, |t| rotate(
            &t, tenant, id, successor, until, now
        ))?)
    }

    async fn revoke(&self, tenant: Option<&TenantId>, id: KeyId, now: OffsetDateTime) -> CatalogueResult<Option<Key>> {
        Ok(transact!(self.database, Mode::Synced, |t| revoke(&t, tenant, id, now))?)
    }

    async fn used(&self, id: KeyId, at: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Ordered, |t| used(&t, id, at))?)
    }
}

async fn kept_pepper(c: &Session) -> Result<Option<Pepper>, Failure> {
    let kept = c.first("select value from settings where key = $1", &[&PEPPER]).await?;
    let Some(row) = kept else { return Ok(None) };
    let pepper = Pepper::read(get(&row, "value")?);
    Ok(Some(
        pepper.ok_or_else(|| damaged(PEPPER, "not 64 hexadecimal digits"))?,
    ))
}

/// False if the id is taken.
async fn insert(t: &Session, stored: &StoredKey) -> Result<bool, Failure> {
    let key = &stored.key;
    let at = |at: Option<OffsetDateTime>| at.map(nanoseconds).transpose();
    let rows = t
        .run(
            "insert into api_keys (id, hash, name, tenant, role, readers, subject, created_at, expires_at, revoked_at,
             last_used_at, successor)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (id) do nothing",
            &[
                &key.id.to_string(),
                &stored.hash.as_bytes().as_slice(),
                &plain(&key.name),
                &key.tenant.as_str(),
                &write_word(&key.role)?,
                &write_json(&key.readers)?,
                &plain(&key.subject),
                &nanoseconds(key.created_at)?,
                &at(key.expires_at)?,
                &at(key.revoked_at)?,
                &at(key.last_used_at)?,
                &key.successor.map(|id| id.to_string()),
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// Writes what may change of a key.
async fn update(t: &Session, key: &Key) -> Result<(), Failure> {
    t.run(
        "update api_keys set expires_at = $2, revoked_at = $3, successor = $4 where id = $1",
        &[
            &key.id.to_string(),
            &key.expires_at.map(nanoseconds).transpose()?,
            &key.revoked_at.map(nanoseconds).transpose()?,
            &key.successor.map(|id| id.to_string()),
        ],
    )
    .await
    .map(drop)
}

async fn load(c: &Session, tenant: Option<&TenantId>, id: KeyId, hold: Hold) -> Result<Option<StoredKey>, Failure> {
    let hold = match hold {
        Hold::No => "",
        Hold::Row => "for update",
    };
    let query = format!("select {KEY} from api_keys where id = $1 and ($2::text is null or tenant = $2) {hold}");
    let tenant = tenant.map(TenantId::as_str);
    let found = c.first(&query, &[&id.to_string(), &tenant]).await?;
    found.as_ref().map(read).transpose()
}

async fn rotate(
    t: &Session,
    tenant: Option<&TenantId>,
    id: KeyId,
    (successor, hash): (KeyId, KeyHash),
    until: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Rotation, Failure> {
    let Some(StoredKey { key: mut old, .. }) = load(t, tenant, id, Hold::Row).await? else {
        return Ok(Rotation::Unknown);
    };
    if !old.may_be_rotated(now) {
        return Ok(Rotation::Ended);
    }
    let key = old.give_place(successor, now, until);
    update(t, &old).await?;
    let stored = StoredKey { key, hash };
    match insert(t, &stored).await? {
        true => Ok(Rotation::Done(stored.key)),
        false => Err(CatalogueError::Stale.into()),
    }
}

async fn revoke(
    t: &Session,
    tenant: Option<&TenantId>,
    id: KeyId,
    now: OffsetDateTime,
) -> Result<Option<Key>, Failure> {
    let Some(mut stored) = load(t, tenant, id, Hold::Row).await? else {
        return Ok(None);
    };
    stored.key.revoked_at.get_or_insert(now);
    update(t, &stored.key).await?;
    Ok(Some(stored.key))
}

async fn used(t: &Session, id: KeyId, at: OffsetDateTime) -> Result<(), Failure> {
    t.run(
        "update api_keys set last_used_at = $2 where id = $1 and (last_used_at is null or last_used_at < $2)",
        &[&id.to_string(), &nanoseconds(at)?],
    )
    .await
    .map(drop)
}

async fn list(c: &Session, tenant: Option<&TenantId>, page: &PageRequest) -> Result<Page<Key>, Failure> {
    let (at, id) = begin_of_keys(page)?;
    let filter = match tenant {
        Some(_) => "tenant = $1 and",
        None => "$1::text is null and",
    };
    let query = format!(
        "select {KEY} from api_keys where {filter} (created_at, id) > ($2, $3) order by created_at, id limit $4"
    );
    let limit = page.limit as i64 + 1;
    let rows = c
        .all(&query, &[&tenant.map(TenantId::as_str), &at, &id, &limit])
        .await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in &rows {
        items.push(read(row)?.key);
    }
    Ok(page_of_keys(items, page.limit)?)
}

fn read(row: &Row) -> Result<StoredKey, Failure> {
    let successor: Option<String> = get(row, "successor")?;
    let successor = successor.map(|id| id.parse().map_err(|error| damaged("successor", error)));
    Ok(StoredKey {
        hash: KeyHash::from_bytes(hash(row, "hash")?),
        key: Key {
            id: name(row, "id")?,
            name: get(row, "name")?,
            tenant: name(row, "tenant")?,
            role: word(row, "role")?,
            readers: json(row, "readers")?,
            subject: get(row, "subject")?,
            created_at: instant(row, "created_at")?,
            expires_at: optional_instant(row, "expires_at")?,
            revoked_at: optional_instant(row, "revoked_at")?,
            last_used_at: optional_instant(row, "last_used_at")?,
            successor: successor.transpose()?,
        },
    })
}
