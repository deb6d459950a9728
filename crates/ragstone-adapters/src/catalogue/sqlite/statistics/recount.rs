//! Counting the statistics again from what each published generation adds.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use ragstone_core::id::TenantId;
use rusqlite::{Connection, Transaction, params};

use super::super::Failure;
use super::{Statistics, add_changes, parse_tenant, totals, unreadable};
use crate::catalogue::sums::{Sums, decode, encode};
use crate::sqlite::{Database, Durability};

/// A generation that is not published, or not any more.
const STRAYS: &str = "from statistics where not exists (select 1 from documents d
    where d.id = statistics.document and d.published = statistics.generation and d.status <> 'deleting')";

type Tenants = HashMap<TenantId, Sums>;

impl Statistics {
    /// The tenants whose sums, on disk or in memory, are not those of their published generations.
    pub fn miscounted(&self, database: &Database) -> Result<Vec<TenantId>, Failure> {
        // As a write, though it changes nothing: rows and memory are equal while no other write runs.
        database.write_blocking(Durability::Ordered, |t| {
            let mut stored = totals(t)?;
            add_changes(t, &mut stored)?;
            Ok(self.differing(&counted(t)?, &stored))
        })
    }

    /// The tenants whose sums on disk or in memory are not the `expected` ones.
    fn differing(&self, expected: &Tenants, stored: &Tenants) -> Vec<TenantId> {
        let held = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let mut tenants: Vec<_> = expected
            .keys()
            .chain(stored.keys())
            .chain(held.keys())
            .cloned()
            .collect();
        tenants.sort_unstable();
        tenants.dedup();
        let none = Sums::default();
        let of = |sums: &Tenants, tenant: &TenantId| {
            sums.get(tenant).unwrap_or(&none) == expected.get(tenant).unwrap_or(&none)
        };
        tenants.retain(|tenant| !of(stored, tenant) || !of(&held, tenant));
        tenants
    }

    /// Puts the counted sums in the place of the held ones.
    pub fn recount(&self, database: &Database) -> Result<(), Failure> {
        let count = |t: &Transaction<'_>| {
            t.execute(&format!("delete {STRAYS}"), [])?;
            let expected = counted(t)?;
            t.execute("delete from statistics_totals", [])?;
            t.execute("delete from statistics_changes", [])?;
            let mut insert = t.prepare("insert into statistics_totals (tenant, total) values (?1, ?2)")?;
            for (tenant, sums) in &expected {
                insert.execute(params![tenant.as_str(), encode(&sums.total())])?;
            }
            Ok::<_, Failure>(expected)
        };
        let follow = |expected: &mut Tenants| {
            *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = std::mem::take(expected);
            self.unfolded.store(0, Ordering::Relaxed);
        };
        database
            .write_blocking_then(Durability::Synced, count, follow)
            .map(drop)
    }
}

fn counted(c: &Connection) -> Result<Tenants, Failure> {
    let mut statement = c.prepare(
        "select s.tenant, s.delta from statistics s
         join documents d on d.id = s.document and d.published = s.generation and d.status <> 'deleting'",
    )?;
    let mut rows = statement.query([])?;
    let mut tenants = Tenants::new();
    while let Some(row) = rows.next()? {
        let delta = decode(row.get_ref(1)?.as_blob().map_err(unreadable)?)?;
        tenants.entry(parse_tenant(row.get(0)?)?).or_default().add(1, &delta);
    }
    Ok(tenants)
}
