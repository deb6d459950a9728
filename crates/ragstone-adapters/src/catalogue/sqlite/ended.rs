//! Removal of jobs that ended long ago.

use std::sync::LazyLock;

use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::SqliteTransactionError;
use crate::catalogue::ended::{HAS_ENDED, IS_NEEDED};
use crate::catalogue::value::to_nanoseconds;

/// Batches whose children have all ended before ?1 and are not needed.
static BATCHES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "delete from jobs where kind = 'batch' and sequence in (
           select b.sequence from jobs b where b.kind = 'batch' and b.created_at < ?1 and not exists (
             select 1 from jobs j where j.parent = b.id
               and (not {HAS_ENDED} or j.updated_at >= ?1 or ({IS_NEEDED})))
           order by b.created_at limit ?2)
         returning id"
    )
});

/// Jobs that ended before ?1, are not needed, and whose batch no longer exists.
static JOBS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "delete from jobs where sequence in (
           select j.sequence from jobs j where j.kind <> 'batch' and {HAS_ENDED} and j.updated_at < ?1
             and not ({IS_NEEDED}) and not exists (select 1 from jobs p where p.id = j.parent)
           order by j.updated_at limit ?2)"
    )
});

/// Removes at most `most` batches and as many other jobs; returns how many were removed.
pub fn remove_ended_jobs(t: &Connection, before: OffsetDateTime, most: usize) -> Result<u64, SqliteTransactionError> {
    let (before, most) = (to_nanoseconds(before)?, most as i64);
    let bounds = params![before, most];
    let mut statement = t.prepare_cached(&BATCHES)?;
    let batches: Vec<[u8; 16]> = statement
        .query_map(bounds, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut forget = t.prepare_cached("delete from batches where id = ?1")?;
    for batch in &batches {
        forget.execute([batch])?;
    }
    let jobs = t.prepare_cached(&JOBS)?.execute(bounds)?;
    Ok((batches.len() + jobs) as u64)
}
