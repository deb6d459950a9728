//! Recounts the statistics from what each published generation adds.

use ragstone_core::id::TenantId;

use super::super::database::{PostgresDatabase, PostgresSession, TransactionMode, transact};
use super::super::error::PostgresTransactionError;
use super::super::row::{get_name, get_value};
use super::{
    CachedStatistics, PostgresSumsByTenant, PostgresTermStatistics, apply_new_changes, begin_epoch, load_all_sums,
    write_totals,
};
use crate::catalogue::sums::{TermSums, decode_delta};

/// Deletes rows of generations that are not published.
const STRAYS: &str = "delete from statistics where not exists (select 1 from documents d
    where d.id = statistics.document and d.published = statistics.generation and d.status <> 'deleting')";

/// Blocks publishing and deletion meanwhile; later reads see everything that was committed before.
const ALONE: &str = "lock table statistics, statistics_changes in share row exclusive mode";

impl PostgresTermStatistics {
    /// Tenants whose sums, in the database or in this process's memory, differ from those of their published
    /// generations.
    pub async fn find_miscounted_tenants(
        &self,
        database: &PostgresDatabase,
    ) -> Result<Vec<TenantId>, PostgresTransactionError> {
        // Locked before the snapshot is taken that is compared, so the memory is never ahead of it.
        let mut held = self.held.lock().await;
        transact!(database, TransactionMode::Snapshot, |t| compare_sums(&t, &mut held))
    }

    /// Replaces the totals by recounted sums; every process reloads them.
    pub async fn recount_totals(&self, database: &PostgresDatabase) -> Result<(), PostgresTransactionError> {
        transact!(database, TransactionMode::Synced, |t| replace_totals(&t))
    }
}

async fn compare_sums(
    t: &PostgresSession,
    held: &mut CachedStatistics,
) -> Result<Vec<TenantId>, PostgresTransactionError> {
    let expected = count_expected(t).await?;
    let stored = load_all_sums(t).await?;
    let none = TermSums::default();
    let is_off = |tenants: &PostgresSumsByTenant, tenant: &TenantId| {
        tenants.get(tenant).unwrap_or(&none) != expected.get(tenant).unwrap_or(&none)
    };
    if held.epoch.is_none() || !apply_new_changes(t, held).await? {
        *held = load_all_sums(t).await?;
    }
    let all = [&expected, &stored.tenants, &held.tenants];
    let mut tenants: Vec<_> = all.into_iter().flat_map(|sums| sums.keys().cloned()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    tenants.retain(|tenant| is_off(&stored.tenants, tenant) || is_off(&held.tenants, tenant));
    Ok(tenants)
}

async fn replace_totals(t: &PostgresSession) -> Result<(), PostgresTransactionError> {
    t.execute_statement("select epoch from statistics_epoch for update", &[])
        .await?;
    t.run_script(ALONE).await?;
    t.execute_statement(STRAYS, &[]).await?;
    let expected = count_expected(t).await?;
    t.execute_statement("delete from statistics_totals", &[]).await?;
    t.execute_statement("delete from statistics_changes", &[]).await?;
    write_totals(t, &expected).await?;
    begin_epoch(t).await
}

async fn count_expected(t: &PostgresSession) -> Result<PostgresSumsByTenant, PostgresTransactionError> {
    let rows = t
        .query_all(
            "select s.tenant, s.delta from statistics s
             join documents d on d.id = s.document and d.published = s.generation and d.status <> 'deleting'",
            &[],
        )
        .await?;
    let mut tenants = PostgresSumsByTenant::new();
    for row in rows {
        let delta = decode_delta(get_value(&row, "delta")?)?;
        tenants
            .entry(get_name(&row, "tenant")?)
            .or_default()
            .add_delta(1, &delta);
    }
    Ok(tenants)
}
