//! Term statistics of each tenant: on disk as changes and totals, in memory as sums.
//!
//! Invariant: the sums are those of the generations in the table `statistics`. What a generation added is what its
//! removal takes away, because the row keeps it. Changes are sums too, so their order does not matter.

mod recount;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use ragstone_core::id::{DocumentId, Generation, TenantId};
use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::{Lease, StatisticsDelta};
use rusqlite::{Connection, OptionalExtension, params};

use super::Failure;
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

/// Sums of one tenant.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    chunks: i64,
    terms: HashMap<u32, i64>,
    pieces: HashMap<u32, i64>,
}

impl Sums {
    fn add(&mut self, sign: i64, delta: &StatisticsDelta) {
        self.chunks += sign * delta.chunks as i64;
        for (term, count) in &delta.terms {
            add(&mut self.terms, term.0, sign * i64::from(*count));
        }
        for (piece, count) in &delta.pieces {
            add(&mut self.pieces, *piece, sign * i64::from(*count));
        }
    }

    fn total(&self) -> StatisticsDelta {
        let counts = |sums: &HashMap<u32, i64>| {
            let mut counts: Vec<_> = sums
                .iter()
                .map(|(id, count)| (*id, clamp(*count) as u32))
                .collect();
            counts.sort_unstable();
            counts
        };
        let terms = counts(&self.terms);
        StatisticsDelta {
            chunks: clamp(self.chunks),
            terms: terms.into_iter().map(|(id, count)| (TermId(id), count)).collect(),
            pieces: counts(&self.pieces),
        }
    }
}

fn add(sums: &mut HashMap<u32, i64>, id: u32, count: i64) {
    let sum = sums.entry(id).or_default();
    *sum += count;
    if *sum == 0 {
        sums.remove(&id);
    }
}

/// A sum may be below zero for a moment, when two commits are followed in the other order.
fn clamp(sum: i64) -> u64 {
    sum.max(0).unsigned_abs()
}

/// Sums of every tenant.
#[derive(Debug, Default)]
pub struct Statistics {
    tenants: RwLock<HashMap<TenantId, Sums>>,
    unfolded: AtomicUsize,
    order: Mutex<()>,
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
            order: Mutex::default(),
        })
    }

    /// Held from before a change is committed until memory has followed it, so that whoever holds it finds both equal.
    pub fn in_order(&self) -> MutexGuard<'_, ()> {
        crate::sqlite::lock(&self.order)
    }

    /// Follows committed changes, and folds them now and then.
    pub fn follow(&self, database: &Database, changes: Vec<Change>) {
        {
            let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
            for change in &changes {
                let sums = tenants.entry(change.tenant.clone()).or_default();
                sums.add(change.sign, &change.delta);
            }
        }
        let unfolded = self.unfolded.fetch_add(changes.len(), Ordering::Relaxed) + changes.len();
        if unfolded >= FOLD_AFTER {
            self.unfolded.store(0, Ordering::Relaxed);
            // The changes stand where they are until the next attempt.
            if let Err(error) = database.write_blocking(Durability::Ordered, fold) {
                tracing::warn!(?error, "term statistics were not folded");
            }
        }
    }

    /// Document frequencies of `terms`.
    pub fn terms(&self, tenant: &TenantId, terms: &[TermId]) -> TermStatistics {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sums) = tenants.get(tenant) else {
            return TermStatistics::default();
        };
        let known = |term: &TermId| Some((*term, clamp(*sums.terms.get(&term.0)?)));
        TermStatistics {
            documents: clamp(sums.chunks),
            df: terms.iter().filter_map(known).collect(),
        }
    }

    /// Document frequencies of `pieces`, in order.
    pub fn pieces(&self, tenant: &TenantId, pieces: &[u32]) -> Vec<u64> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let sums = tenants.get(tenant);
        let count = |piece| {
            sums.and_then(|sums| sums.pieces.get(piece))
                .map_or(0, |sum| clamp(*sum))
        };
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
        sums.add(
            row.get(1)?,
            &decode(row.get_ref(2)?.as_blob().map_err(unreadable)?)?,
        );
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
pub fn contribute(
    t: &Connection,
    tenant: &TenantId,
    lease: &Lease,
    delta: StatisticsDelta,
) -> Result<Change, Failure> {
    let bytes = encode(&delta);
    t.prepare_cached("insert into statistics (document, generation, tenant, delta) values (?1, ?2, ?3, ?4)")?
        .execute(params![
            lease.document.0,
            lease.generation.0,
            tenant.as_str(),
            bytes
        ])?;
    note(t, tenant, 1, &bytes)?;
    Ok(Change {
        tenant: tenant.clone(),
        sign: 1,
        delta,
    })
}

/// Takes away what a generation added, if it did and was not taken away yet.
pub fn withdraw(
    t: &Connection,
    document: DocumentId,
    generation: Generation,
) -> Result<Option<Change>, Failure> {
    let found: Option<(String, Vec<u8>)> = t
        .prepare_cached(
            "delete from statistics where document = ?1 and generation = ?2 returning tenant, delta",
        )?
        .query_row(params![document.0, generation.0], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
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

/// Little-endian: chunks (u64), terms (u32), their ids and counts (u32 each), then the pieces' ids and counts.
fn encode(delta: &StatisticsDelta) -> Vec<u8> {
    let pair = |id: u32, count: u32| [id.to_le_bytes(), count.to_le_bytes()].concat();
    let mut bytes = Vec::with_capacity(12 + 8 * (delta.terms.len() + delta.pieces.len()));
    bytes.extend(delta.chunks.to_le_bytes());
    bytes.extend((delta.terms.len() as u32).to_le_bytes());
    bytes.extend(delta.terms.iter().flat_map(|(term, count)| pair(term.0, *count)));
    bytes.extend(
        delta
            .pieces
            .iter()
            .flat_map(|(piece, count)| pair(*piece, *count)),
    );
    bytes
}

fn decode(bytes: &[u8]) -> Result<StatisticsDelta, Failure> {
    let read = || {
        let (chunks, rest) = bytes.split_first_chunk()?;
        let (terms, rest) = rest.split_first_chunk()?;
        let (pairs, rest) = rest.as_chunks::<8>();
        let terms = u32::from_le_bytes(*terms) as usize;
        (rest.is_empty() && terms <= pairs.len()).then_some(())?;
        let number = |half: &[u8]| {
            half.iter()
                .rev()
                .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte))
        };
        let pair = |pair: &[u8; 8]| (number(&pair[..4]), number(&pair[4..]));
        let (terms, pieces) = pairs.split_at(terms);
        let term = |(id, count)| (TermId(id), count);
        Some(StatisticsDelta {
            chunks: u64::from_le_bytes(*chunks),
            terms: terms.iter().map(pair).map(term).collect(),
            pieces: pieces.iter().map(pair).collect(),
        })
    };
    read().ok_or_else(|| DatabaseError::Damaged("statistics of a generation".into()).into())
}

fn parse_tenant(name: String) -> Result<TenantId, Failure> {
    name.try_into()
        .map_err(|error| DatabaseError::Damaged(format!("tenant: {error}")).into())
}

fn unreadable(error: rusqlite::types::FromSqlError) -> Failure {
    DatabaseError::Damaged(format!("statistics: {error}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_reads_back_and_a_cut_one_does_not() {
        let delta = StatisticsDelta {
            chunks: 3,
            terms: vec![(TermId(1), 2), (TermId(u32::MAX), 3)],
            pieces: vec![(7, 1)],
        };
        let bytes = encode(&delta);
        assert_eq!(decode(&bytes).unwrap(), delta);
        for end in [0, 4, 11, 13, 20, bytes.len() - 1] {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
        }
    }
}
