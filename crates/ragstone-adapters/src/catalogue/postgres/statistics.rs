//! Term statistics of each tenant: in the database as changes and totals, in each process's memory as sums.
//!
//! Invariant: the sums are those of the generations in the table `statistics`. What a generation added is what its
//! removal takes away, because the row keeps it. Whoever asks gets every change that was committed before: memory follows
//! the changes by the transactions that wrote them, from the oldest one that still ran when it last looked, and begins
//! again from the totals when the epoch says that changes went into them.

mod recount;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ragstone_core::id::{DocumentId, Generation, TenantId};
use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::{Lease, StatisticsDelta};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::Row;

use super::database::{Database, Mode, Session, transact};
use super::error::Failure;
use super::row::{get, name, whole};
use crate::catalogue::sums::{Sums, decode, encode};

/// Changes by one process after which it folds those of all into the totals.
const FOLD_AFTER: usize = 1_024;

/// The oldest transaction that runs, as a number; all below it are done and seen.
const SETTLED: &str = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint";

type Tenants = HashMap<TenantId, Sums>;

/// What memory holds.
#[derive(Default)]
struct Held {
    tenants: Tenants,
    /// None before it was first read.
    epoch: Option<i64>,
    /// Every change of a transaction below this one is in the sums.
    settled: i64,
    /// The changes of other transactions that are in the sums: their numbers, and their transactions.
    applied: HashMap<i64, i64>,
    /// The look that brought it here.
    look: u64,
}

/// Sums of every tenant.
#[derive(Default)]
pub struct Statistics {
    held: Mutex<Held>,
    /// Looks at the changes so far.
    looks: AtomicU64,
    unfolded: AtomicUsize,
}

impl Statistics {
    /// Document frequencies of `terms`.
    pub async fn terms(
        &self,
        database: &Database,
        tenant: &TenantId,
        terms: &[TermId],
    ) -> Result<TermStatistics, Failure> {
        let held = self.current(database).await?;
        let sums = held.tenants.get(tenant);
        Ok(sums.map(|sums| sums.terms(terms)).unwrap_or_default())
    }

    /// Document frequencies of `pieces`, in order.
    pub async fn pieces(&self, database: &Database, tenant: &TenantId, pieces: &[u32]) -> Result<Vec<u64>, Failure> {
        let held = self.current(database).await?;
        let sums = held.tenants.get(tenant);
        let count = |piece: &u32| sums.map_or(0, |sums| sums.piece(*piece));
        Ok(pieces.iter().map(count).collect())
    }

    /// The sums as they are now. Callers that wait for a look share the next one: it begins after all of them came.
    async fn current(&self, database: &Database) -> Result<MutexGuard<'_, Held>, Failure> {
        let came = self.looks.load(Ordering::SeqCst);
        let mut held = self.held.lock().await;
        if held.look <= came {
            let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
            follow(database, &mut held).await?;
            held.look = look;
        }
        Ok(held)
    }

    /// Counts changes that were committed, and folds them now and then.
    pub async fn noted(&self, database: &Database, changes: usize) {
        let unfolded = self.unfolded.fetch_add(changes, Ordering::Relaxed) + changes;
        if unfolded < FOLD_AFTER {
            return;
        }
        self.unfolded.store(0, Ordering::Relaxed);
        // The changes stand where they are until the next attempt.
        if let Err(error) = folded(database).await {
            tracing::warn!(?error, "term statistics were not folded");
        }
    }
}

/// Brings memory to what is committed.
async fn follow(database: &Database, held: &mut Held) -> Result<(), Failure> {
    let session = database.session().await?;
    if held.epoch.is_some() && take_changes(&session, held).await? {
        return Ok(());
    }
    drop(session);
    *held = transact!(database, Mode::Snapshot, |t| load(&t))?;
    Ok(())
}

/// False if changes went into the totals meanwhile, and nothing was taken.
async fn take_changes(c: &Session, held: &mut Held) -> Result<bool, Failure> {
    let applied: Vec<i64> = held.applied.keys().copied().collect();
    let query = format!(
        "select e.epoch, {SETTLED} as settled, c.sequence, c.xact, c.tenant, c.sign, c.delta
         from statistics_epoch e left join statistics_changes c on c.xact >= $1 and c.sequence <> all($2)"
    );
    let rows = c.all(&query, &[&held.settled, &applied]).await?;
    let Some(first) = rows.first() else {
        return Ok(false);
    };
    if held.epoch != Some(get(first, "epoch")?) {
        return Ok(false);
    }
    let settled = get(first, "settled")?;
    for row in &rows {
        if let Some(sequence) = get::<Option<i64>>(row, "sequence")? {
            let (tenant, sign, delta) = read_change(row)?;
            held.tenants.entry(tenant).or_default().add(sign, &delta);
            held.applied.insert(sequence, get(row, "xact")?);
        }
    }
    held.settled = settled;
    held.applied.retain(|_, transaction| *transaction >= settled);
    Ok(true)
}

/// Reads everything, in one state of the database.
async fn load(t: &Session) -> Result<Held, Failure> {
    let row = t
        .one(
            &format!("select epoch, {SETTLED} as settled from statistics_epoch"),
            &[],
        )
        .await?;
    let mut held = Held {
        tenants: totals(t, None).await?,
        epoch: Some(get(&row, "epoch")?),
        settled: get(&row, "settled")?,
        ..Held::default()
    };
    for row in changes(t).await? {
        let (tenant, sign, delta) = read_change(&row)?;
        held.tenants.entry(tenant).or_default().add(sign, &delta);
        let transaction: i64 = get(&row, "xact")?;
        if transaction >= held.settled {
            held.applied.insert(get(&row, "sequence")?, transaction);
        }
    }
    Ok(held)
}

async fn changes(t: &Session) -> Result<Vec<Row>, Failure> {
    t.all(
        "select sequence, xact, tenant, sign, delta from statistics_changes",
        &[],
    )
    .await
}

/// The totals of some tenants, or of all.
async fn totals(t: &Session, tenants: Option<Vec<&str>>) -> Result<Tenants, Failure> {
    let query = "select tenant, total from statistics_totals where $1::text[] is null or tenant = any($1)";
    let mut found = Tenants::new();
    for row in t.all(query, &[&tenants]).await? {
        let mut sums = Sums::default();
        sums.add(1, &decode(get(&row, "total")?)?);
        found.insert(name(&row, "tenant")?, sums);
    }
    Ok(found)
}

fn read_change(row: &Row) -> Result<(TenantId, i64, StatisticsDelta), Failure> {
    Ok((name(row, "tenant")?, get(row, "sign")?, decode(get(row, "delta")?)?))
}

/// Puts the changes into the totals, unless somebody else does.
pub async fn folded(database: &Database) -> Result<(), Failure> {
    transact!(database, Mode::Synced, |t| fold(&t))
}

async fn fold(t: &Session) -> Result<(), Failure> {
    let epoch = "select epoch from statistics_epoch for update skip locked";
    if t.first(epoch, &[]).await?.is_none() {
        return Ok(());
    }
    let mut sequences: Vec<i64> = Vec::new();
    let mut read = Vec::new();
    for row in changes(t).await? {
        sequences.push(get(&row, "sequence")?);
        read.push(read_change(&row)?);
    }
    let touched: HashSet<&str> = read.iter().map(|(tenant, ..)| tenant.as_str()).collect();
    let mut tenants = totals(t, Some(touched.into_iter().collect())).await?;
    for (tenant, sign, delta) in &read {
        tenants.entry(tenant.clone()).or_default().add(*sign, delta);
    }
    t.run("delete from statistics_changes where sequence = any($1)", &[&sequences])
        .await?;
    write_totals(t, &tenants).await?;
    begin_epoch(t).await
}

async fn write_totals(t: &Session, tenants: &Tenants) -> Result<(), Failure> {
    for (tenant, sums) in tenants {
        t.run(
            "insert into statistics_totals (tenant, total) values ($1, $2)
             on conflict (tenant) do update set total = excluded.total",
            &[&tenant.as_str(), &encode(&sums.total())],
        )
        .await?;
    }
    Ok(())
}

async fn begin_epoch(t: &Session) -> Result<(), Failure> {
    t.run("update statistics_epoch set epoch = epoch + 1", &[])
        .await
        .map(drop)
}

/// Writes what the lease's generation adds.
pub async fn contribute(t: &Session, tenant: &TenantId, lease: &Lease, delta: &StatisticsDelta) -> Result<(), Failure> {
    let bytes = encode(delta);
    t.run(
        "insert into statistics (document, generation, tenant, delta) values ($1, $2, $3, $4)",
        &[&lease.document.0, &whole(lease.generation.0)?, &tenant.as_str(), &bytes],
    )
    .await?;
    note(t, tenant.as_str(), 1, &bytes).await
}

/// Takes away what a generation added, if it did and was not taken away yet.
pub async fn withdraw(t: &Session, document: DocumentId, generation: Generation) -> Result<(), Failure> {
    let taken = "delete from statistics where document = $1 and generation = $2 returning tenant, delta";
    let Some(row) = t.first(taken, &[&document.0, &whole(generation.0)?]).await? else {
        return Ok(());
    };
    note(t, get(&row, "tenant")?, -1, get(&row, "delta")?).await
}

async fn note(t: &Session, tenant: &str, sign: i64, delta: &[u8]) -> Result<(), Failure> {
    t.run(
        "insert into statistics_changes (tenant, sign, delta) values ($1, $2, $3)",
        &[&tenant, &sign, &delta],
    )
    .await
    .map(drop)
}
