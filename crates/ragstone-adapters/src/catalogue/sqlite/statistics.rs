//! Term statistics of each tenant: changes and totals in the database, sums in memory.
//!
//! Invariant: the sums are those of the generations in the table `statistics`. Removing a generation subtracts exactly
//! what it added, because the row retains it. Changes are commutative, so their order does not matter. The memory is
//! updated after a commit and before the next transaction begins, so the writer always sees both equal.

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

/// Number of changes after which they are folded into the totals.
const FOLD_AFTER: usize = 512;

/// Statistics of one generation, added or subtracted.
#[derive(Debug)]
pub struct StatisticsChange {
    tenant: TenantId,
    sign: i64,
    delta: StatisticsDelta,
}

/// Term statistics of all tenants.
#[derive(Debug, Default)]
pub struct SqliteTermStatistics {
    tenants: RwLock<HashMap<TenantId, TermSums>>,
    unfolded: AtomicUsize,
}

impl SqliteTermStatistics {
    /// Loads the sums from totals and changes.
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

    /// Applies committed changes to the sums.
    pub fn apply_changes(&self, changes: &[StatisticsChange]) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let sums = tenants.entry(change.tenant.clone()).or_default();
            sums.add_delta(change.sign, &change.delta);
        }
        self.unfolded.fetch_add(changes.len(), Ordering::Relaxed);
    }

    /// Folds the changes into the totals if there are many.
    pub async fn fold_if_due(&self, database: &SqliteDatabase) {
        let is_due = |unfolded: usize| (unfolded >= FOLD_AFTER).then_some(0);
        let due = self.unfolded.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due);
        // After an error the changes remain for the next attempt.
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

    /// Document frequencies of `pieces`, in the same order.
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

/// Adds the statistics of the lease's generation.
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

/// Subtracts the statistics of a generation, if they were added and not subtracted yet.
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
