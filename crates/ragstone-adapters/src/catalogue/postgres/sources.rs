//! Sources, a row each.

use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::id::{SourceId, TenantId};
use ragstone_core::seam::catalogue::{CatalogueResult, Moment, Page, PageRequest};
use ragstone_core::seam::source::{Memory, SourcePatch, SourceRecord, SourceStore, SyncReport, TurnHolder};
use tokio_postgres::Row;
use uuid::Uuid;

use super::PostgresCatalogue;
use super::database::{Mode, Session, transact};
use super::error::Failure;
use super::row::{get, json};
use crate::catalogue::cursor::{begin_of_sources, page_of_sources};
use crate::catalogue::stored::{record_of, source_of};
use crate::catalogue::value::write_json;

#[async_trait]
impl SourceStore for PostgresCatalogue {
    async fn add_source(&self, source: SourceRecord) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Synced, |t| insert(&t, &source))?)
    }

    async fn source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Option<SourceRecord>> {
        let session = self.database.session().await?;
        let found = session
            .first(
                "select record, last_sync from sources where tenant = $1 and id = $2",
                &[&tenant.as_str(), &id.0],
            )
            .await?;
        Ok(found.as_ref().map(read).transpose()?)
    }

    async fn sources(&self, tenant: Option<&TenantId>, page: &PageRequest) -> CatalogueResult<Page<SourceRecord>> {
        let session = self.database.session().await?;
        Ok(list(&session, tenant, page).await?)
    }

    async fn change_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        patch: SourcePatch,
    ) -> CatalogueResult<Option<SourceRecord>> {
        Ok(transact!(self.database, Mode::Synced, |t| change(
            &t,
            tenant,
            id,
            patch.clone()
        ))?)
    }

    async fn note_sync(&self, tenant: &TenantId, id: SourceId, report: SyncReport) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Ordered, |t| note(
            &t, tenant, id, &report
        ))?)
    }

    async fn memory(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Memory> {
        let session = self.database.session().await?;
        let found = session
            .first(
                "select memory from sources where tenant = $1 and id = $2",
                &[&tenant.as_str(), &id.0],
            )
            .await?;
        Ok(found.map_or(Ok(Memory::new()), |row| json(&row, "memory"))?)
    }

    async fn remember(&self, tenant: &TenantId, id: SourceId, memory: Memory) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Ordered, |t| remember(
            &t, tenant, id, &memory
        ))?)
    }

    async fn take_turn(&self, id: SourceId, holder: TurnHolder, now: Moment) -> CatalogueResult<bool> {
        let now = self.moment(now).await?.steady;
        Ok(transact!(self.database, Mode::Ordered, |t| take_turn(
            &t, id, holder, now
        ))?)
    }

    async fn end_turn(&self, id: SourceId, process: Uuid) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Ordered, |t| end_turn(&t, id, process))?)
    }

    async fn remove_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Synced, |t| remove(&t, tenant, id))?)
    }
}

async fn take_turn(t: &Session, id: SourceId, holder: TurnHolder, now: Duration) -> Result<bool, Failure> {
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let rows = t
        .run(
            "insert into source_turns (source, process, until) values ($1, $2, $3)
             on conflict (source) do update set process = $2, until = $3
             where source_turns.process = $2 or source_turns.until <= $4",
            &[
                &id.0,
                &holder.process,
                &nanoseconds(now + holder.lasts),
                &nanoseconds(now),
            ],
        )
        .await?;
    Ok(rows == 1)
}

async fn end_turn(t: &Session, id: SourceId, process: Uuid) -> Result<(), Failure> {
    let end = "delete from source_turns where source = $1 and process = $2";
    t.run(end, &[&id.0, &process]).await.map(drop)
}

async fn insert(t: &Session, source: &SourceRecord) -> Result<bool, Failure> {
    let (record, last_sync) = record_of(source)?;
    let rows = t
        .run(
            "insert into sources (tenant, name, id, record, last_sync) values ($1, $2, $3, $4, $5)
             on conflict do nothing",
            &[
                &source.tenant.as_str(),
                &source.name.as_str(),
                &source.id.0,
                &record,
                &last_sync,
            ],
        )
        .await?;
    Ok(rows == 1)
}

async fn change(
    t: &Session,
    tenant: &TenantId,
    id: SourceId,
    patch: SourcePatch,
) -> Result<Option<SourceRecord>, Failure> {
    let found = t
        .first(
            "select record, last_sync from sources where tenant = $1 and id = $2 for update",
            &[&tenant.as_str(), &id.0],
        )
        .await?;
    let Some(row) = found else { return Ok(None) };
    let mut source = read(&row)?;
    patch.apply(&mut source);
    t.run(
        "update sources set record = $3 where tenant = $1 and id = $2",
        &[&tenant.as_str(), &id.0, &record_of(&source)?.0],
    )
    .await?;
    Ok(Some(source))
}

async fn note(t: &Session, tenant: &TenantId, id: SourceId, report: &SyncReport) -> Result<bool, Failure> {
    let rows = t
        .run(
            "update sources set last_sync = $3 where tenant = $1 and id = $2",
            &[&tenant.as_str(), &id.0, &write_json(report)?],
        )
        .await?;
    Ok(rows == 1)
}

async fn remember(t: &Session, tenant: &TenantId, id: SourceId, memory: &Memory) -> Result<bool, Failure> {
    let rows = t
        .run(
            "update sources set memory = $3 where tenant = $1 and id = $2",
            &[&tenant.as_str(), &id.0, &write_json(memory)?],
        )
        .await?;
    Ok(rows == 1)
}

async fn remove(t: &Session, tenant: &TenantId, id: SourceId) -> Result<bool, Failure> {
    let rows = t
        .run(
            "delete from sources where tenant = $1 and id = $2",
            &[&tenant.as_str(), &id.0],
        )
        .await?;
    Ok(rows == 1)
}

async fn list(c: &Session, tenant: Option<&TenantId>, page: &PageRequest) -> Result<Page<SourceRecord>, Failure> {
    let (of, name) = begin_of_sources(page)?;
    let limit = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
    let rows = c
        .all(
            "select record, last_sync from sources
             where ($1::text is null or tenant = $1) and (tenant, name) > ($2, $3)
             order by tenant, name limit $4",
            &[&tenant.map(TenantId::as_str), &of, &name, &limit],
        )
        .await?;
    let items = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(page_of_sources(items, page.limit))
}

fn read(row: &Row) -> Result<SourceRecord, Failure> {
    let last_sync: Option<&str> = get(row, "last_sync")?;
    Ok(source_of(get(row, "record")?, last_sync)?)
}
