//! Removal of jobs that ended long ago.
//!
//! Invariant: a batch is removed only while no job joins it: joining locks its row, and locked rows are skipped here.

use time::OffsetDateTime;
use uuid::Uuid;

use super::database::PostgresSession;
use super::error::PostgresTransactionError;
use super::row::get_uuid;
use crate::catalogue::ended::{HAS_ENDED, IS_NEEDED};
use crate::catalogue::value::to_nanoseconds;

/// Removes at most `most` batches and as many other jobs; returns how many were removed.
pub async fn remove_ended_jobs(
    t: &PostgresSession,
    before: OffsetDateTime,
    most: usize,
) -> Result<u64, PostgresTransactionError> {
    let (before, most) = (to_nanoseconds(before)?, most as i64);
    let batches = remove_ended_batches(t, before, most).await?;
    let statement = format!(
        "with gone as (
           delete from jobs where id in (
             select j.id from jobs j where j.kind <> 'batch' and {HAS_ENDED} and j.updated_at < $1
               and not ({IS_NEEDED}) and not exists (select 1 from jobs p where p.id = j.parent)
             order by j.updated_at limit $2 for update of j skip locked)
           returning tenant, state, updated_at)
         insert into job_changes (tenant, parent, state, jobs, at) select tenant, null, state, -1, updated_at from gone"
    );
    let jobs = t.execute_statement(&statement, &[&before, &most]).await?;
    Ok(batches + jobs)
}

/// Removes batches whose children have all ended and are not needed.
async fn remove_ended_batches(t: &PostgresSession, before: i64, most: i64) -> Result<u64, PostgresTransactionError> {
    let is_over = format!(
        "not exists (select 1 from jobs j where j.parent = b.id
           and (not {HAS_ENDED} or j.updated_at >= $1 or ({IS_NEEDED})))"
    );
    let held = format!(
        "select x.id from batches x where x.id in (
           select b.id from jobs b where b.kind = 'batch' and b.created_at < $1 and {is_over}
           order by b.created_at limit $2)
         for update skip locked"
    );
    let held = t.query_all(&held, &[&before, &most]).await?;
    let held: Vec<Uuid> = held.iter().map(|row| get_uuid(row, "id")).collect::<Result<_, _>>()?;
    if held.is_empty() {
        return Ok(0);
    }
    // Checked again, because a job may have joined a batch before its row was locked.
    let gone = format!("delete from jobs b where b.kind = 'batch' and b.id = any($2) and {is_over} returning b.id");
    let gone = t.query_all(&gone, &[&before, &held]).await?;
    let gone: Vec<Uuid> = gone.iter().map(|row| get_uuid(row, "id")).collect::<Result<_, _>>()?;
    t.execute_statement("delete from batches where id = any($1)", &[&gone])
        .await?;
    Ok(gone.len() as u64)
}
