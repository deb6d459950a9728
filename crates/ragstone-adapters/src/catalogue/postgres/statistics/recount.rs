//! Counting the statistics again from what each published generation adds.

use ragstone_core::id::TenantId;

use super::super::database::{Database, Mode, Session, transact};
use super::super::error::Failure;
use super::super::row::{get, name};
use super::{Held, Statistics, Tenants, begin_epoch, load, take_changes, write_totals};
use crate::catalogue::sums::{Sums, decode};

/// A generation that is not published, or not any more.
const STRAYS: &str = "delete from statistics where not exists (select 1 from documents d
    where d.id = statistics.document and d.published = statistics.generation and d.status <> 'deleting')";

/// Nobody publishes or deletes meanwhile, and what is read afterwards has all that they committed.
const ALONE: &str = "lock table statistics, statistics_changes in share row exclusive mode";

impl Statistics {
    /// The tenants whose sums, in the database or in this process's memory, are not those of their published
    /// generations.
    pub async fn miscounted(&self, database: &Database) -> Result<Vec<TenantId>, Failure> {
        // Held before the state is chosen that is compared, so memory is never ahead of it.
        let mut held = self.held.lock().await;
        transact!(database, Mode::Snapshot, |t| compare(&t, &mut held))
    }

    /// Puts the counted sums in the place of the totals; every process reads them anew.
    pub async fn recount(&self, database: &Database) -> Result<(), Failure> {
        transact!(database, Mode::Synced, |t| recount(&t))
    }
}

async fn compare(t: &Session, held: &mut Held) -> Result<Vec<TenantId>, Failure> {
    let expected = counted(t).await?;
    let stored = load(t).await?;
    let none = Sums::default();
    let is_off = |tenants: &Tenants, tenant: &TenantId| {
        tenants.get(tenant).unwrap_or(&none) != expected.get(tenant).unwrap_or(&none)
    };
    if held.epoch.is_none() || !take_changes(t, held).await? {
        *held = load(t).await?;
    }
    let all = [&expected, &stored.tenants, &held.tenants];
    let mut tenants: Vec<_> = all.into_iter().flat_map(|sums| sums.keys().cloned()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    tenants.retain(|tenant| is_off(&stored.tenants, tenant) || is_off(&held.tenants, tenant));
    Ok(tenants)
}

async fn recount(t: &Session) -> Result<(), Failure> {
    t.run("select epoch from statistics_epoch for update", &[]).await?;
    t.script(ALONE).await?;
    t.run(STRAYS, &[]).await?;
    let expected = counted(t).await?;
    t.run("delete from statistics_totals", &[]).await?;
    t.run("delete from statistics_changes", &[]).await?;
    write_totals(t, &expected).await?;
    begin_epoch(t).await
}

async fn counted(t: &Session) -> Result<Tenants, Failure> {
    let rows = t
        .all(
            "select s.tenant, s.delta from statistics s
             join documents d on d.id = s.document and d.published = s.generation and d.status <> 'deleting'",
            &[],
        )
        .await?;
    let mut tenants = Tenants::new();
    for row in rows {
        let delta = decode(get(&row, "delta")?)?;
        tenants.entry(name(&row, "tenant")?).or_default().add(1, &delta);
    }
    Ok(tenants)
}
