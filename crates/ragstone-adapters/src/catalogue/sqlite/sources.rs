//! Sources, one row each.

use async_trait::async_trait;
use ragstone_core::id::{SourceId, TenantId};
use ragstone_core::seam::catalogue::{CatalogueResult, ClockReading, ListPage, PageRequest};
use ragstone_core::seam::source::{ItemStates, SourcePatch, SourceRecord, SourceStore, SyncLease, SyncReport};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{SqliteCatalogue, SqliteTransactionError};
use crate::catalogue::cursor::{build_source_page, parse_source_cursor};
use crate::catalogue::stored::{decode_source, encode_source};
use crate::catalogue::value::{read_json, write_json};
use crate::sqlite::Durability;

#[async_trait]
impl SourceStore for SqliteCatalogue {
    async fn add_source(&self, source: SourceRecord) -> CatalogueResult<bool> {
        self.run_write(Durability::Synced, move |t| {
            let (record, last_sync) = encode_source(&source)?;
            let rows = t.execute(
                "insert into sources (tenant, name, id, record, last_sync) values (?1, ?2, ?3, ?4, ?5)
                 on conflict do nothing",
                params![
                    source.tenant.as_str(),
                    source.name.as_str(),
                    source.id.0,
                    record,
                    last_sync
                ],
            )?;
            Ok(rows == 1)
        })
        .await
    }

    async fn get_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Option<SourceRecord>> {
        let tenant = tenant.clone();
        self.run_read(move |c| load_source(c, &tenant, id)).await
    }

    async fn list_sources(
        &self,
        tenant: Option<&TenantId>,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<SourceRecord>> {
        let (tenant, page) = (tenant.cloned(), page.clone());
        self.run_read(move |c| list_sources(c, tenant.as_ref(), &page)).await
    }

    async fn patch_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        patch: SourcePatch,
    ) -> CatalogueResult<Option<SourceRecord>> {
        let tenant = tenant.clone();
        self.run_write(Durability::Synced, move |t| {
            let Some(mut source) = load_source(t, &tenant, id)? else {
                return Ok(None);
            };
            patch.apply_to_record(&mut source);
            t.execute(
                "update sources set record = ?3 where tenant = ?1 and id = ?2",
                params![tenant.as_str(), id.0, encode_source(&source)?.0],
            )?;
            Ok(Some(source))
        })
        .await
    }

    async fn save_sync_report(&self, tenant: &TenantId, id: SourceId, report: SyncReport) -> CatalogueResult<bool> {
        let tenant = tenant.clone();
        self.run_write(Durability::Ordered, move |t| {
            let rows = t.execute(
                "update sources set last_sync = ?3 where tenant = ?1 and id = ?2",
                params![tenant.as_str(), id.0, write_json(&report)?],
            )?;
            Ok(rows == 1)
        })
        .await
    }

    async fn load_item_states(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<ItemStates> {
        let tenant = tenant.clone();
        self.run_read(move |c| {
            let mut statement = c.prepare_cached("select memory from sources where tenant = ?1 and id = ?2")?;
            let found: Option<String> = statement
                .query_row(params![tenant.as_str(), id.0], |row| row.get(0))
                .optional()?;
            Ok::<_, SqliteTransactionError>(found.map_or(Ok(ItemStates::new()), |text| read_json(&text, "memory"))?)
        })
        .await
    }

    async fn save_item_states(&self, tenant: &TenantId, id: SourceId, memory: ItemStates) -> CatalogueResult<bool> {
        let tenant = tenant.clone();
        self.run_write(Durability::Ordered, move |t| {
            let rows = t.execute(
                "update sources set memory = ?3 where tenant = ?1 and id = ?2",
                params![tenant.as_str(), id.0, write_json(&memory)?],
            )?;
            Ok(rows == 1)
        })
        .await
    }

    async fn acquire_sync_lease(&self, id: SourceId, holder: SyncLease, now: ClockReading) -> CatalogueResult<bool> {
        Ok(self.turns.acquire(id, holder, now.steady))
    }

    async fn release_sync_lease(&self, id: SourceId, process: Uuid) -> CatalogueResult<()> {
        self.turns.release(id, process);
        Ok(())
    }

    async fn remove_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<bool> {
        let tenant = tenant.clone();
        self.run_write(Durability::Synced, move |t| {
            let rows = t.execute(
                "delete from sources where tenant = ?1 and id = ?2",
                params![tenant.as_str(), id.0],
            )?;
            Ok(rows == 1)
        })
        .await
    }
}

fn load_source(
    connection: &Connection,
    tenant: &TenantId,
    id: SourceId,
) -> Result<Option<SourceRecord>, SqliteTransactionError> {
    let mut statement =
        connection.prepare_cached("select record, last_sync from sources where tenant = ?1 and id = ?2")?;
    let mut rows = statement.query(params![tenant.as_str(), id.0])?;
    rows.next()?.map(read_source).transpose()
}

fn list_sources(
    connection: &Connection,
    tenant: Option<&TenantId>,
    page: &PageRequest,
) -> Result<ListPage<SourceRecord>, SqliteTransactionError> {
    let (of, name) = parse_source_cursor(page)?;
    let filter = match tenant {
        Some(_) => "tenant = ?1 and",
        None => "?1 is null and",
    };
    let mut statement = connection.prepare_cached(&format!(
        "select record, last_sync from sources where {filter} (tenant, name) > (?2, ?3)
         order by tenant, name limit ?4"
    ))?;
    let mut rows = statement.query(params![tenant.map(TenantId::as_str), of, name, page.limit + 1])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(read_source(row)?);
    }
    Ok(build_source_page(items, page.limit))
}

fn read_source(row: &Row<'_>) -> Result<SourceRecord, SqliteTransactionError> {
    let (record, last_sync): (String, Option<String>) = (row.get("record")?, row.get("last_sync")?);
    Ok(decode_source(&record, last_sync.as_deref())?)
}
