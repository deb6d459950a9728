//! Term statistics of each tenant: on disk as changes and totals, in memory as sums.
//!
//! Invariant: the sums are those of the generations in the table `statistics`. What a generation added is what its
//! removal takes away, because the row keeps it. Changes are sums too, so their order does not matter. Memory follows a
//! commit before the next transaction begins, so whoever has the writer finds both equal.

mod recount;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use ragstone_core::id::{DocumentId, Generation, TenantId};
use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::{JobLease, StatisticsDelta};
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteTransactionError;
use crate::catalogue::sums::{TermSums, decode_delta, encode_delta};
use crate::sqlite::{Durability, SqliteDatabase, SqliteError};

/// Changes after which they are folded into the totals.
const FOLD_AFTER: usize = 512;

/// One generation's worth of statistics, added or taken away.
#[derive(Debug)]
pub struct StatisticsChange {
    tenant: TenantId,
    sign: i64,
    delta: StatisticsDelta,
}

/// Sums of every tenant.
#[derive(Debug, Default)]
pub struct SqliteTermStatistics {
    tenants: RwLock<HashMap<TenantId, TermSums>>,
    unfolded: AtomicUsize,
}

impl SqliteTermStatistics {
    /// Reads the sums from totals and changes.
    pub fn load_sums(database: &SqliteDatabase) -> Result<Self, SqliteTransactionError> {
        let (tenants, unfolded) = database.read_blocking(|c| {
            let mut tenants = load_totals(c)?;
            let unfolded = add_changes(c, &mut tenants)?;
            Ok::<_, SqliteTransactionError>((tenants, unfolded))
        })?;
        Ok(Self {
            tenants: RwLock::new(tenants),
            unfolded: AtomicUsize::new(unfolded),
        })
    }

    /// Follows committed changes.
    pub fn apply_changes(&self, changes: &[StatisticsChange]) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let sums = tenants.entry(change.tenant.clone()).or_default();
            sums.add_delta(change.sign, &change.delta);
        }
        self.unfolded.fetch_add(changes.len(), Ordering::Relaxed);
    }

    /// Folds the changes into the totals, if there are many.
    pub async fn fold_if_due(&self, database: &SqliteDatabase) {
        let is_due = |unfolded: usize| (unfolded >= FOLD_AFTER).then_some(0);
        let due = self.unfolded.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due);
        // The changes stand where they are until the next attempt.
        if due.is_ok()
            && let Err(error) = database.write(Durability::Ordered, fold_changes).await
        {
            tracing::warn!(?error, "term statistics were not folded");
        }
    }

    /// Document frequencies of `terms`.
    pub fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> TermStatistics {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sums) = tenants.get(tenant) else {
            return TermStatistics::default();
        };
        sums.term_statistics(terms)
    }

    /// Document frequencies of `pieces`, in order.
    pub fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> Vec<u64> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let sums = tenants.get(tenant);
        let count = |piece: &u32| sums.map_or(0, |sums| sums.piece_frequency(*piece));
        pieces.iter().map(count).collect()
    }
}

fn load_totals(c: &Connection) -> Result<HashMap<TenantId, TermSums>, SqliteTransactionError> {
    let mut tenants = HashMap::new();
    let mut statement = c.prepare("select tenant, total from statistics_totals")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut sums = TermSums::default();
        sums.add_delta(1, &decode_delta(row.get_ref(1)?.as_blob().map_err(unreadable_error)?)?);
        tenants.insert(parse_tenant(row.get(0)?)?, sums);
    }
    Ok(tenants)
}

fn add_changes(c: &Connection, tenants: &mut HashMap<TenantId, TermSums>) -> Result<usize, SqliteTransactionError> {
    let mut statement = c.prepare("select tenant, sign, delta from statistics_changes")?;
    let mut rows = statement.query([])?;
    let mut changes = 0;
    while let Some(row) = rows.next()? {
        let sums = tenants.entry(parse_tenant(row.get(0)?)?).or_default();
        sums.add_delta(
            row.get(1)?,
            &decode_delta(row.get_ref(2)?.as_blob().map_err(unreadable_error)?)?,
        );
        changes += 1;
    }
    Ok(changes)
}

fn fold_changes(t: &rusqlite::Transaction<'_>) -> Result<(), SqliteTransactionError> {
    let mut tenants = load_totals(t)?;
    add_changes(t, &mut tenants)?;
    t.execute("delete from statistics_totals", [])?;
    t.execute("delete from statistics_changes", [])?;
    let mut insert = t.prepare("insert into statistics_totals (tenant, total) values (?1, ?2)")?;
    for (tenant, sums) in &tenants {
        insert.execute(params![tenant.as_str(), encode_delta(&sums.to_delta())])?;
    }
    Ok(())
}

/// Writes what the lease's generation adds.
pub fn add_generation(
    t: &Connection,
    tenant: &TenantId,
    lease: &JobLease,
    delta: StatisticsDelta,
) -> Result<StatisticsChange, SqliteTransactionError> {
    let bytes = encode_delta(&delta);
    t.prepare_cached("insert into statistics (document, generation, tenant, delta) values (?1, ?2, ?3, ?4)")?
        .execute(params![lease.document.0, lease.generation.0, tenant.as_str(), bytes])?;
    insert_change(t, tenant, 1, &bytes)?;
    Ok(StatisticsChange {
        tenant: tenant.clone(),
        sign: 1,
        delta,
    })
}

/// Takes away what a generation added, if it did and was not taken away yet.
pub fn remove_generation(
    t: &Connection,
    document: DocumentId,
    generation: Generation,
) -> Result<Option<StatisticsChange>, SqliteTransactionError> {
    let found: Option<(String, Vec<u8>)> = t
        .prepare_cached("delete from statistics where document = ?1 and generation = ?2 returning tenant, delta")?
        .query_row(params![document.0, generation.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((tenant, bytes)) = found else {
        return Ok(None);
    };
    let tenant = parse_tenant(tenant)?;
    insert_change(t, &tenant, -1, &bytes)?;
    Ok(Some(StatisticsChange {
        tenant,
        sign: -1,
        delta: decode_delta(&bytes)?,
    }))
}

fn insert_change(t: &Connection, tenant: &TenantId, sign: i64, bytes: &[u8]) -> Result<(), SqliteTransactionError> {
    t.prepare_cached("insert into statistics_changes (tenant, sign, delta) values (?1, ?2, ?3)")?
        .execute(params![tenant.as_str(), sign, bytes])?;
    Ok(())
}

fn parse_tenant(name: String) -> Result<TenantId, SqliteTransactionError> {
    name.try_into()
        .map_err(|error| SqliteError::Damaged(format!("tenant: {error}")).into())
}

fn unreadable_error(error: rusqlite::types::FromSqlError) -> SqliteTransactionError {
    SqliteError::Damaged(format!("statistics: {error}")).into()
}
