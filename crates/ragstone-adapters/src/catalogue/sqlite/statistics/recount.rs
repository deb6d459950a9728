//! Recounts the statistics from what each published generation adds.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use ragstone_core::id::TenantId;
use rusqlite::{Connection, Transaction, params};

use super::super::SqliteTransactionError;
use super::{SqliteTermStatistics, add_changes, load_totals, parse_tenant, unreadable_error};
use crate::catalogue::sums::{TermSums, decode_delta, encode_delta};
use crate::sqlite::{Durability, SqliteDatabase};

/// Rows of generations that are not published.
const STRAYS: &str = "from statistics where not exists (select 1 from documents d
    where d.id = statistics.document and d.published = statistics.generation and d.status <> 'deleting')";

type SqliteSumsByTenant = HashMap<TenantId, TermSums>;

impl SqliteTermStatistics {
    /// Tenants whose sums, in the database or in memory, differ from those of their published generations.
    pub fn find_miscounted_tenants(&self, database: &SqliteDatabase) -> Result<Vec<TenantId>, SqliteTransactionError> {
        // Run as a write, though it changes nothing: rows and memory are equal only while no other write runs.
        database.write_blocking(Durability::Ordered, |t| {
            let mut stored = load_totals(t)?;
            add_changes(t, &mut stored)?;
            Ok(self.find_differing(&count_expected(t)?, &stored))
        })
    }

    /// Tenants whose sums in the database or in memory differ from the `expected` ones.
    fn find_differing(&self, expected: &SqliteSumsByTenant, stored: &SqliteSumsByTenant) -> Vec<TenantId> {
        let held = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let mut tenants: Vec<_> = expected
            .keys()
            .chain(stored.keys())
            .chain(held.keys())
            .cloned()
            .collect();
        tenants.sort_unstable();
        tenants.dedup();
        let none = TermSums::default();
        let of = |sums: &SqliteSumsByTenant, tenant: &TenantId| {
            sums.get(tenant).unwrap_or(&none) == expected.get(tenant).unwrap_or(&none)
        };
        tenants.retain(|tenant| !of(stored, tenant) || !of(&held, tenant));
        tenants
    }

    /// Replaces the current sums by recounted ones.
    pub fn recount_totals(&self, database: &SqliteDatabase) -> Result<(), SqliteTransactionError> {
        let count = |t: &Transaction<'_>| {
            t.execute(&format!("delete {STRAYS}"), [])?;
            let expected = count_expected(t)?;
            t.execute("delete from statistics_totals", [])?;
            t.execute("delete from statistics_changes", [])?;
            let mut insert = t.prepare("insert into statistics_totals (tenant, total) values (?1, ?2)")?;
            for (tenant, sums) in &expected {
                insert.execute(params![tenant.as_str(), encode_delta(&sums.to_delta())])?;
            }
            Ok::<_, SqliteTransactionError>(expected)
        };
        let follow = |expected: &mut SqliteSumsByTenant| {
            *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = std::mem::take(expected);
            self.unfolded.store(0, Ordering::Relaxed);
        };
        database
            .write_blocking_then(Durability::Synced, count, follow)
            .map(drop)
    }
}

fn count_expected(c: &Connection) -> Result<SqliteSumsByTenant, SqliteTransactionError> {
    let mut statement = c.prepare(
        "select s.tenant, s.delta from statistics s
         join documents d on d.id = s.document and d.published = s.generation and d.status <> 'deleting'",
    )?;
    let mut rows = statement.query([])?;
    let mut tenants = SqliteSumsByTenant::new();
    while let Some(row) = rows.next()? {
        let delta = decode_delta(row.get_ref(1)?.as_blob().map_err(unreadable_error)?)?;
        tenants
            .entry(parse_tenant(row.get(0)?)?)
            .or_default()
            .add_delta(1, &delta);
    }
    Ok(tenants)
}
