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
use ragstone_core::seam::catalogue::{Lease, StatisticsDelta};
use rusqlite::{Connection, OptionalExtension, params};

use super::Failure;
use crate::catalogue::sums::{Sums, decode, encode};
use crate::sqlite::{Database, DatabaseError, Durability};

/// Changes after which they are folded into the totals.
const FOLD_AFTER: usize = 512;

/// One generation's worth of statistics, added or taken away.
#[derive(Debug)]
pub struct Change {
    tenant: TenantId,
    sign: i64,
    delta: StatisticsDelta,
}

/// Sums of every tenant.
#[derive(Debug, Default)]
pub struct Statistics {
    tenants: RwLock<HashMap<TenantId, Sums>>,
    unfolded: AtomicUsize,
}

impl Statistics {
    /// Reads the sums from totals and changes.
    pub fn load(database: &Database) -> Result<Self, Failure> {
        let (tenants, unfolded) = database.read_blocking(|c| {
            let mut tenants = totals(c)?;
            let unfolded = add_changes(c, &mut tenants)?;
            Ok::<_, Failure>((tenants, unfolded))
        })?;
        Ok(Self {
            tenants: RwLock::new(tenants),
            unfolded: AtomicUsize::new(unfolded),
        })
    }

    /// Follows committed changes.
    pub fn follow(&self, changes: &[Change]) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let sums = tenants.entry(change.tenant.clone()).or_default();
            sums.add(change.sign, &change.delta);
        }
        self.unfolded.fetch_add(changes.len(), Ordering::Relaxed);
    }

    /// Folds the changes into the totals, if there are many.
    pub async fn fold_if_due(&self, database: &Database) {
        let is_due = |unfolded: usize| (unfolded >= FOLD_AFTER).then_some(0);
        let due = self.unfolded.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due);
        // The changes stand where they are until the next attempt.
        if due.is_ok()
            && let Err(error) = database.write(Durability::Ordered, fold).await
        {
            tracing::warn!(?error, "term statistics were not folded");
        }
    }

    /// Document frequencies of `terms`.
    pub fn terms(&self, tenant: &TenantId, terms: &[TermId]) -> TermStatistics {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sums) = tenants.get(tenant) else {
            return TermStatistics::default();
        };
        sums.terms(terms)
    }

    /// Document frequencies of `pieces`, in order.
    pub fn pieces(&self, tenant: &TenantId, pieces: &[u32]) -> Vec<u64> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let sums = tenants.get(tenant);
        let count = |piece: &u32| sums.map_or(0, |sums| sums.piece(*piece));
        pieces.iter().map(count).collect()
    }
}

fn totals(c: &Connection) -> Result<HashMap<TenantId, Sums>, Failure> {
    let mut tenants = HashMap::new();
    let mut statement = c.prepare("select tenant, total from statistics_totals")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut sums = Sums::default();
        sums.add(1, &decode(row.get_ref(1)?.as_blob().map_err(unreadable)?)?);
        tenants.insert(parse_tenant(row.get(0)?)?, sums);
    }
    Ok(tenants)
}

fn add_changes(c: &Connection, tenants: &mut HashMap<TenantId, Sums>) -> Result<usize, Failure> {
    let mut statement = c.prepare("select tenant, sign, delta from statistics_changes")?;
    let mut rows = statement.query([])?;
    let mut changes = 0;
    while let Some(row) = rows.next()? {
        let sums = tenants.entry(parse_tenant(row.get(0)?)?).or_default();
        sums.add(row.get(1)?, &decode(row.get_ref(2)?.as_blob().map_err(unreadable)?)?);
        changes += 1;
    }
    Ok(changes)
}

fn fold(t: &rusqlite::Transaction<'_>) -> Result<(), Failure> {
    let mut tenants = totals(t)?;
    add_changes(t, &mut tenants)?;
    t.execute("delete from statistics_totals", [])?;
    t.execute("delete from statistics_changes", [])?;
    let mut insert = t.prepare("insert into statistics_totals (tenant, total) values (?1, ?2)")?;
    for (tenant, sums) in &tenants {
        insert.execute(params![tenant.as_str(), encode(&sums.total())])?;
    }
    Ok(())
}

/// Writes what the lease's generation adds.
pub fn contribute(t: &Connection, tenant: &TenantId, lease: &Lease, delta: StatisticsDelta) -> Result<Change, Failure> {
    let bytes = encode(&delta);
    t.prepare_cached("insert into statistics (document, generation, tenant, delta) values (?1, ?2, ?3, ?4)")?
        .execute(params![lease.document.0, lease.generation.0, tenant.as_str(), bytes])?;
    note(t, tenant, 1, &bytes)?;
    Ok(Change {
        tenant: tenant.clone(),
        sign: 1,
        delta,
    })
}

/// Takes away what a generation added, if it did and was not taken away yet.
pub fn withdraw(t: &Connection, document: DocumentId, generation: Generation) -> Result<Option<Change>, Failure> {
    let found: Option<(String, Vec<u8>)> = t
        .prepare_cached("delete from statistics where document = ?1 and generation = ?2 returning tenant, delta")?
        .query_row(params![document.0, generation.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((tenant, bytes)) = found else {
        return Ok(None);
    };
    let tenant = parse_tenant(tenant)?;
    note(t, &tenant, -1, &bytes)?;
    Ok(Some(Change {
        tenant,
        sign: -1,
        delta: decode(&bytes)?,
    }))
}

fn note(t: &Connection, tenant: &TenantId, sign: i64, bytes: &[u8]) -> Result<(), Failure> {
    t.prepare_cached("insert into statistics_changes (tenant, sign, delta) values (?1, ?2, ?3)")?
        .execute(params![tenant.as_str(), sign, bytes])?;
    Ok(())
}

fn parse_tenant(name: String) -> Result<TenantId, Failure> {
    name.try_into()
        .map_err(|error| DatabaseError::Damaged(format!("tenant: {error}")).into())
}

fn unreadable(error: rusqlite::types::FromSqlError) -> Failure {
    DatabaseError::Damaged(format!("statistics: {error}")).into()
}
