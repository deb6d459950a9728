//! Sources, one row each.

use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::id::{SourceId, TenantId};
use ragstone_core::seam::catalogue::{CatalogueResult, ClockReading, ListPage, PageRequest};
use ragstone_core::seam::source::{ItemStates, SourcePatch, SourceRecord, SourceStore, SyncLease, SyncReport};
use tokio_postgres::Row;
use uuid::Uuid;

use super::PostgresCatalogue;
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::row::{get_json, get_value};
use crate::catalogue::cursor::{build_source_page, parse_source_cursor};
use crate::catalogue::stored::{decode_source, encode_source};
use crate::catalogue::value::write_json;

#[async_trait]
impl SourceStore for PostgresCatalogue {
    async fn add_source(&self, source: SourceRecord) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            insert_source(&t, &source)
        })?)
    }

    async fn get_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<Option<SourceRecord>> {
        let session = self.database.open_session().await?;
        let found = session
            .query_first(
                "select record, last_sync from sources where tenant = $1 and id = $2",
                &[&tenant.as_str(), &id.0],
            )
            .await?;
        Ok(found.as_ref().map(read_source).transpose()?)
    }

    async fn list_sources(
        &self,
        tenant: Option<&TenantId>,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<SourceRecord>> {
        let session = self.database.open_session().await?;
        Ok(list_sources(&session, tenant, page).await?)
    }

    async fn patch_source(
        &self,
        tenant: &TenantId,
        id: SourceId,
        patch: SourcePatch,
    ) -> CatalogueResult<Option<SourceRecord>> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            patch_source(&t, tenant, id, patch.clone())
        })?)
    }

    async fn save_sync_report(&self, tenant: &TenantId, id: SourceId, report: SyncReport) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            save_sync_report(&t, tenant, id, &report)
        })?)
    }

    async fn load_item_states(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<ItemStates> {
        let session = self.database.open_session().await?;
        let found = session
            .query_first(
                "select memory from sources where tenant = $1 and id = $2",
                &[&tenant.as_str(), &id.0],
            )
            .await?;
        Ok(found.map_or(Ok(ItemStates::new()), |row| get_json(&row, "memory"))?)
    }

    async fn save_item_states(&self, tenant: &TenantId, id: SourceId, memory: ItemStates) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            save_item_states(&t, tenant, id, &memory)
        })?)
    }

    async fn acquire_sync_lease(&self, id: SourceId, holder: SyncLease, now: ClockReading) -> CatalogueResult<bool> {
        let now = self.current_moment(now).await?.steady;
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            acquire_sync_lease(&t, id, holder, now)
        })?)
    }

    async fn release_sync_lease(&self, id: SourceId, process: Uuid) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            release_sync_lease(&t, id, process)
        })?)
    }

    async fn remove_source(&self, tenant: &TenantId, id: SourceId) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            remove_source(&t, tenant, id)
        })?)
    }
}

async fn acquire_sync_lease(
    t: &PostgresSession,
    id: SourceId,
    holder: SyncLease,
    now: Duration,
) -> Result<bool, PostgresTransactionError> {
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let rows = t
        .execute_statement(
            "insert into source_turns (source, process, until) values ($1, $2, $3)
             on conflict (source) do update set process = $2, until = $3
             where source_turns.process = $2 or source_turns.until <= $4",
            &[
                &id.0,
                &holder.process,
                &nanoseconds(now + holder.duration),
                &nanoseconds(now),
            ],
        )
        .await?;
    Ok(rows == 1)
}

async fn release_sync_lease(t: &PostgresSession, id: SourceId, process: Uuid) -> Result<(), PostgresTransactionError> {
    let end = "delete from source_turns where source = $1 and process = $2";
    t.execute_statement(end, &[&id.0, &process]).await.map(drop)
}

async fn insert_source(t: &PostgresSession, source: &SourceRecord) -> Result<bool, PostgresTransactionError> {
    let (record, last_sync) = encode_source(source)?;
    let rows = t
        .execute_statement(
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

async fn patch_source(
    t: &PostgresSession,
    tenant: &TenantId,
    id: SourceId,
    patch: SourcePatch,
) -> Result<Option<SourceRecord>, PostgresTransactionError> {
    let found = t
        .query_first(
            "select record, last_sync from sources where tenant = $1 and id = $2 for update",
            &[&tenant.as_str(), &id.0],
        )
        .await?;
    let Some(row) = found else { return Ok(None) };
    let mut source = read_source(&row)?;
    patch.apply_to_record(&mut source);
    t.execute_statement(
        "update sources set record = $3 where tenant = $1 and id = $2",
        &[&tenant.as_str(), &id.0, &encode_source(&source)?.0],
    )
    .await?;
    Ok(Some(source))
}

async fn save_sync_report(
    t: &PostgresSession,
    tenant: &TenantId,
    id: SourceId,
    report: &SyncReport,
) -> Result<bool, PostgresTransactionError> {
    let rows = t
        .execute_statement(
            "update sources set last_sync = $3 where tenant = $1 and id = $2",
            &[&tenant.as_str(), &id.0, &write_json(report)?],
        )
        .await?;
    Ok(rows == 1)
}

async fn save_item_states(
    t: &PostgresSession,
    tenant: &TenantId,
    id: SourceId,
    memory: &ItemStates,
) -> Result<bool, PostgresTransactionError> {
    let rows = t
        .execute_statement(
            "update sources set memory = $3 where tenant = $1 and id = $2",
            &[&tenant.as_str(), &id.0, &write_json(memory)?],
        )
        .await?;
    Ok(rows == 1)
}

async fn remove_source(t: &PostgresSession, tenant: &TenantId, id: SourceId) -> Result<bool, PostgresTransactionError> {
    let rows = t
        .execute_statement(
            "delete from sources where tenant = $1 and id = $2",
            &[&tenant.as_str(), &id.0],
        )
        .await?;
    Ok(rows == 1)
}

async fn list_sources(
    c: &PostgresSession,
    tenant: Option<&TenantId>,
    page: &PageRequest,
) -> Result<ListPage<SourceRecord>, PostgresTransactionError> {
    let (of, name) = parse_source_cursor(page)?;
    let limit = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
    let rows = c
        .query_all(
            "select record, last_sync from sources
             where ($1::text is null or tenant = $1) and (tenant, name) > ($2, $3)
             order by tenant, name limit $4",
            &[&tenant.map(TenantId::as_str), &of, &name, &limit],
        )
        .await?;
    let items = rows.iter().map(read_source).collect::<Result<_, _>>()?;
    Ok(build_source_page(items, page.limit))
}

fn read_source(row: &Row) -> Result<SourceRecord, PostgresTransactionError> {
    let last_sync: Option<&str> = get_value(row, "last_sync")?;
    Ok(decode_source(get_value(row, "record")?, last_sync)?)
}
