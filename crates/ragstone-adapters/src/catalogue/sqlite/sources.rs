//! Sources, a row each.

use async_trait::async_trait;
use ragstone_core::id::{SourceId, TenantId};
use ragstone_core::seam::catalogue::{CatalogueResult, Moment, Page, PageRequest};
use ragstone_core::seam::source::{Memory, SourcePatch, SourceRecord, SourceStore, SyncReport, TurnHolder};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{Failure, SqliteCatalogue};
use crate::catalogue::cursor::{begin_of_sources, page_of_sources};
use crate::catalogue::stored::{record_of, source_of};
use crate::catalogue::value::{read_json, write_json};
use crate::sqlite::Durability;

#[async_trait]
impl SourceStore for SqliteCatalogue {
    async fn add_source(&self, source: SourceRecord) -> CatalogueResult<bool> {
        self.write(Durability::Synced, move |t| {
            let (record, last_sync) = record_of(&source)?;
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

    async fn source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Option<SourceRecord>> {
        let tenant = tenant.clone();
        self.read(move |c| load(c, &tenant, id)).await
    }

    async fn sources(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<Page<SourceRecord>> {
        let (tenant, page) = (tenant.cloned(), page.clone());
        self.read(move |c| list(c, tenant.as_ref(), &page)).await
    }

    async fn change_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        patch: SourcePatch,
    ) -> CatalogueResult<Option<SourceRecord>> {
        let tenant = tenant.clone();
        self.write(Durability::Synced, move |t| {
            let Some(mut source) = load(t, &tenant, id)? else {
                return Ok(None);
            };
            patch.apply(&mut source);
            t.execute(
                "update sources set record = ?3 where tenant = ?1 and id = ?2",
                params![tenant.as_str(), id.0, record_of(&source)?.0],
            )?;
            Ok(Some(source))
        })
        .await
    }

    async fn note_sync(&self, tenant: &TenantId, id: SourceId, report: SyncReport) -> CatalogueResult<bool> {
        let tenant = tenant.clone();
        self.write(Durability::Ordered, move |t| {
            let rows = t.execute(
                "update sources set last_sync = ?3 where tenant = ?1 and id = ?2",
                params![tenant.as_str(), id.0, write_json(&report)?],
            )?;
            Ok(rows == 1)
        })
        .await
    }

    async fn memory(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Memory> {
        let tenant = tenant.clone();
        self.read(move |c| {
            let mut statement = c.prepare_cached("select memory from sources where tenant = ?1 and id = ?2")?;
            let found: Option<String> = statement
                .query_row(params![tenant.as_str(), id.0], |row| row.get(0))
                .optional()?;
            Ok::<_, Failure>(found.map_or(Ok(Memory::new()), |text| read_json(&text, "memory"))?)
        })
        .await
    }

    async fn remember(&self, tenant: &TenantId, id: SourceId, memory: Memory) -> CatalogueResult<bool> {
        let tenant = tenant.clone();
        self.write(Durability::Ordered, move |t| {
            let rows = t.execute(
                "update sources set memory = ?3 where tenant = ?1 and id = ?2",
                params![tenant.as_str(), id.0, write_json(&memory)?],
            )?;
            Ok(rows == 1)
        })
        .await
    }

    async fn take_turn(&self, id: SourceId, holder: TurnHolder, now: Moment) -> CatalogueResult<bool> {
        Ok(self.turns.take(id, holder, now.steady))
    }

    async fn end_turn(&self, id: SourceId, process: Uuid) -> CatalogueResult<()> {
        self.turns.end(id, process);
        Ok(())
    }

    async fn remove_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<bool> {
        let tenant = tenant.clone();
        self.write(Durability::Synced, move |t| {
            let rows = t.execute(
                "delete from sources where tenant = ?1 and id = ?2",
                params![tenant.as_str(), id.0],
            )?;
            Ok(rows == 1)
        })
        .await
    }
}

fn load(connection: &Connection, tenant: &TenantId, id: SourceId) -> Result<Option<SourceRecord>, Failure> {
    let mut statement =
        connection.prepare_cached("select record, last_sync from sources where tenant = ?1 and id = ?2")?;
    let mut rows = statement.query(params![tenant.as_str(), id.0])?;
    rows.next()?.map(read).transpose()
}

fn list(connection: &Connection, tenant: Option<&TenantId>, page: &PageRequest) -> Result<Page<SourceRecord>, Failure> {
    let (of, name) = begin_of_sources(page)?;
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
        items.push(read(row)?);
    }
    Ok(page_of_sources(items, page.limit))
}

fn read(row: &Row<'_>) -> Result<SourceRecord, Failure> {
    let (record, last_sync): (String, Option<String>) = (row.get("record")?, row.get("last_sync")?);
    Ok(source_of(&record, last_sync.as_deref())?)
}
