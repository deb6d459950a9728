//! Term statistics of each tenant: changes and totals in the database, sums in each process's memory.
//!
//! Invariant: the sums are those of the generations in the table `statistics`. Removing a generation subtracts exactly
//! what it added, because the row retains it. A reader sees every change that was committed before its call: the
//! memory applies changes by the transactions that wrote them, from the oldest one that was running at the last
//! refresh, and reloads the totals when the epoch shows that changes were folded into them.

mod recount;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ragstone_core::id::{DocumentId, Generation, TenantId};
use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::{JobLease, StatisticsDelta};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::Row;

use super::database::{PostgresDatabase, PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::row::{get_name, get_value, to_bigint};
use crate::catalogue::sums::{TermSums, decode_delta, encode_delta};

/// Changes by one process after which it folds all processes' changes into the totals.
const FOLD_AFTER: usize = 1_024;

/// Id of the oldest running transaction; all below it have ended and are visible.
const SETTLED: &str = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint";

type PostgresSumsByTenant = HashMap<TenantId, TermSums>;

/// Term statistics held in memory.
#[derive(Default)]
struct CachedStatistics {
    tenants: PostgresSumsByTenant,
    /// Epoch of the totals; `None` before the first load.
    epoch: Option<i64>,
    /// Every change of a transaction below this one is in the sums.
    settled: i64,
    /// Changes of other transactions that are in the sums: change number to transaction id.
    applied: HashMap<i64, i64>,
    /// Number of the refresh that loaded this state.
    refresh: u64,
}

/// Term statistics of all tenants.
#[derive(Default)]
pub struct PostgresTermStatistics {
    held: Mutex<CachedStatistics>,
    /// Number of refreshes so far.
    refreshes: AtomicU64,
    unfolded: AtomicUsize,
}

impl PostgresTermStatistics {
    /// Document frequencies of `terms`.
    pub async fn term_statistics(
        &self,
        database: &PostgresDatabase,
        tenant: &TenantId,
        terms: &[TermId],
    ) -> Result<TermStatistics, PostgresTransactionError> {
        let held = self.current_sums(database).await?;
        let sums = held.tenants.get(tenant);
        Ok(sums.map(|sums| sums.term_statistics(terms)).unwrap_or_default())
    }

    /// Document frequencies of `pieces`, in the same order.
    pub async fn piece_frequencies(
        &self,
        database: &PostgresDatabase,
        tenant: &TenantId,
        pieces: &[u32],
    ) -> Result<Vec<u64>, PostgresTransactionError> {
        let held = self.current_sums(database).await?;
        let sums = held.tenants.get(tenant);
        let count = |piece: &u32| sums.map_or(0, |sums| sums.piece_frequency(*piece));
        Ok(pieces.iter().map(count).collect())
    }

    /// The current sums. Callers that wait for a refresh share the next one, which starts after all of them called.
    async fn current_sums(
        &self,
        database: &PostgresDatabase,
    ) -> Result<MutexGuard<'_, CachedStatistics>, PostgresTransactionError> {
        let came = self.refreshes.load(Ordering::SeqCst);
        let mut held = self.held.lock().await;
        if held.refresh <= came {
            let look = self.refreshes.fetch_add(1, Ordering::SeqCst) + 1;
            refresh_cache(database, &mut held).await?;
            held.refresh = look;
        }
        Ok(held)
    }

    /// Counts committed changes, and folds them from time to time.
    pub async fn note_changes(&self, database: &PostgresDatabase, changes: usize) {
        let unfolded = self.unfolded.fetch_add(changes, Ordering::Relaxed) + changes;
        if unfolded < FOLD_AFTER {
            return;
        }
        self.unfolded.store(0, Ordering::Relaxed);
        // After an error the changes remain for the next attempt.
        if let Err(error) = fold_into_totals(database).await {
            tracing::warn!(?error, "term statistics were not folded");
        }
    }
}

/// Updates the memory to the committed state.
async fn refresh_cache(
    database: &PostgresDatabase,
    held: &mut CachedStatistics,
) -> Result<(), PostgresTransactionError> {
    let session = database.open_session().await?;
    if held.epoch.is_some() && apply_new_changes(&session, held).await? {
        return Ok(());
    }
    drop(session);
    *held = transact!(database, TransactionMode::Snapshot, |t| load_all_sums(&t))?;
    Ok(())
}

/// Applies new changes; returns false, without effect, if changes were folded into the totals meanwhile.
async fn apply_new_changes(c: &PostgresSession, held: &mut CachedStatistics) -> Result<bool, PostgresTransactionError> {
    let applied: Vec<i64> = held.applied.keys().copied().collect();
    let query = format!(
        "select e.epoch, {SETTLED} as settled, c.sequence, c.xact, c.tenant, c.sign, c.delta
         from statistics_epoch e left join statistics_changes c on c.xact >= $1 and c.sequence <> all($2)"
    );
    let rows = c.query_all(&query, &[&held.settled, &applied]).await?;
    let Some(first) = rows.first() else {
        return Ok(false);
    };
    if held.epoch != Some(get_value(first, "epoch")?) {
        return Ok(false);
    }
    let settled = get_value(first, "settled")?;
    for row in &rows {
        if let Some(sequence) = get_value::<Option<i64>>(row, "sequence")? {
            let (tenant, sign, delta) = read_change(row)?;
            held.tenants.entry(tenant).or_default().add_delta(sign, &delta);
            held.applied.insert(sequence, get_value(row, "xact")?);
        }
    }
    held.settled = settled;
    held.applied.retain(|_, transaction| *transaction >= settled);
    Ok(true)
}

/// Loads all sums from one snapshot of the database.
async fn load_all_sums(t: &PostgresSession) -> Result<CachedStatistics, PostgresTransactionError> {
    let row = t
        .query_one(
            &format!("select epoch, {SETTLED} as settled from statistics_epoch"),
            &[],
        )
        .await?;
    let mut held = CachedStatistics {
        tenants: load_totals(t, None).await?,
        epoch: Some(get_value(&row, "epoch")?),
        settled: get_value(&row, "settled")?,
        ..CachedStatistics::default()
    };
    for row in load_changes(t).await? {
        let (tenant, sign, delta) = read_change(&row)?;
        held.tenants.entry(tenant).or_default().add_delta(sign, &delta);
        let transaction: i64 = get_value(&row, "xact")?;
        if transaction >= held.settled {
            held.applied.insert(get_value(&row, "sequence")?, transaction);
        }
    }
    Ok(held)
}

async fn load_changes(t: &PostgresSession) -> Result<Vec<Row>, PostgresTransactionError> {
    t.query_all(
        "select sequence, xact, tenant, sign, delta from statistics_changes",
        &[],
    )
    .await
}

/// Loads the totals of some tenants, or of all.
async fn load_totals(
    t: &PostgresSession,
    tenants: Option<Vec<&str>>,
) -> Result<PostgresSumsByTenant, PostgresTransactionError> {
    let query = "select tenant, total from statistics_totals where $1::text[] is null or tenant = any($1)";
    let mut found = PostgresSumsByTenant::new();
    for row in t.query_all(query, &[&tenants]).await? {
        let mut sums = TermSums::default();
        sums.add_delta(1, &decode_delta(get_value(&row, "total")?)?);
        found.insert(get_name(&row, "tenant")?, sums);
    }
    Ok(found)
}

fn read_change(row: &Row) -> Result<(TenantId, i64, StatisticsDelta), PostgresTransactionError> {
    Ok((
        get_name(row, "tenant")?,
        get_value(row, "sign")?,
        decode_delta(get_value(row, "delta")?)?,
    ))
}

/// Folds the changes into the totals, unless another process is doing so.
pub async fn fold_into_totals(database: &PostgresDatabase) -> Result<(), PostgresTransactionError> {
    transact!(database, TransactionMode::Synced, |t| fold_changes(&t))
}

async fn fold_changes(t: &PostgresSession) -> Result<(), PostgresTransactionError> {
    let epoch = "select epoch from statistics_epoch for update skip locked";
    if t.query_first(epoch, &[]).await?.is_none() {
        return Ok(());
    }
    let mut sequences: Vec<i64> = Vec::new();
    let mut read = Vec::new();
    for row in load_changes(t).await? {
        sequences.push(get_value(&row, "sequence")?);
        read.push(read_change(&row)?);
    }
    let touched: HashSet<&str> = read.iter().map(|(tenant, ..)| tenant.as_str()).collect();
    let mut tenants = load_totals(t, Some(touched.into_iter().collect())).await?;
    for (tenant, sign, delta) in &read {
        tenants.entry(tenant.clone()).or_default().add_delta(*sign, delta);
    }
    t.execute_statement("delete from statistics_changes where sequence = any($1)", &[&sequences])
        .await?;
    write_totals(t, &tenants).await?;
    begin_epoch(t).await
}

async fn write_totals(t: &PostgresSession, tenants: &PostgresSumsByTenant) -> Result<(), PostgresTransactionError> {
    for (tenant, sums) in tenants {
        t.execute_statement(
            "insert into statistics_totals (tenant, total) values ($1, $2)
             on conflict (tenant) do update set total = excluded.total",
            &[&tenant.as_str(), &encode_delta(&sums.to_delta())],
        )
        .await?;
    }
    Ok(())
}

async fn begin_epoch(t: &PostgresSession) -> Result<(), PostgresTransactionError> {
    t.execute_statement("update statistics_epoch set epoch = epoch + 1", &[])
        .await
        .map(drop)
}

/// Adds the statistics of the lease's generation.
pub async fn add_generation(
    t: &PostgresSession,
    tenant: &TenantId,
    lease: &JobLease,
    delta: &StatisticsDelta,
) -> Result<(), PostgresTransactionError> {
    let bytes = encode_delta(delta);
    t.execute_statement(
        "insert into statistics (document, generation, tenant, delta) values ($1, $2, $3, $4)",
        &[
            &lease.document.0,
            &to_bigint(lease.generation.0)?,
            &tenant.as_str(),
            &bytes,
        ],
    )
    .await?;
    insert_change(t, tenant.as_str(), 1, &bytes).await
}

/// Subtracts the statistics of a generation, if they were added and not subtracted yet.
pub async fn remove_generation(
    t: &PostgresSession,
    document: DocumentId,
    generation: Generation,
) -> Result<(), PostgresTransactionError> {
    let taken = "delete from statistics where document = $1 and generation = $2 returning tenant, delta";
    let Some(row) = t.query_first(taken, &[&document.0, &to_bigint(generation.0)?]).await? else {
        return Ok(());
    };
    insert_change(t, get_value(&row, "tenant")?, -1, get_value(&row, "delta")?).await
}

async fn insert_change(
    t: &PostgresSession,
    tenant: &str,
    sign: i64,
    delta: &[u8],
) -> Result<(), PostgresTransactionError> {
    t.execute_statement(
        "insert into statistics_changes (tenant, sign, delta) values ($1, $2, $3)",
        &[&tenant, &sign, &delta],
    )
    .await
    .map(drop)
}
