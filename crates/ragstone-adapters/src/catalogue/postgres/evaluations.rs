//! Evaluation runs: one row per run, and one per question.

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::evaluations::{EvaluationStore, RecordedOutcome, RunHead};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalogue;
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::{PostgresError, PostgresTransactionError};
use super::row::{get_value, without_nul};

const HEAD: &str = "select name, fingerprint, finished, started_at from evaluation_runs where tenant = $1";

#[async_trait]
impl EvaluationStore for PostgresCatalogue {
    async fn begin_run(
        &self,
        tenant: &TenantId,
        name: &str,
        fingerprint: &str,
        now: OffsetDateTime,
    ) -> CatalogueResult<Vec<RecordedOutcome>> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| start_run(
            &t,
            tenant,
            name,
            fingerprint,
            now
        ))?)
    }

    /// Not synced: a lost outcome is computed again.
    async fn record_outcome(&self, tenant: &TenantId, name: &str, outcome: RecordedOutcome) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            insert_outcome(&t, tenant, name, &outcome)
        })?)
    }

    async fn finish_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<bool> {
        let finish = "update evaluation_runs set finished = true where tenant = $1 and name = $2 and not finished";
        let session = self.database.open_session().await?;
        Ok(session
            .execute_statement(finish, &[&tenant.as_str(), &without_nul(name)])
            .await?
            > 0)
    }

    async fn get_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<Option<(RunHead, Vec<RecordedOutcome>)>> {
        Ok(transact!(self.database, TransactionMode::Snapshot, |t| load_run(
            &t, tenant, name
        ))?)
    }

    async fn list_runs(&self, tenant: &TenantId) -> CatalogueResult<Vec<RunHead>> {
        let session = self.database.open_session().await?;
        let rows = session
            .query_all(&format!("{HEAD} order by name"), &[&tenant.as_str()])
            .await?;
        Ok(rows.iter().map(read_run_head).collect::<Result<_, _>>()?)
    }
}

async fn start_run(
    t: &PostgresSession,
    tenant: &TenantId,
    name: &str,
    fingerprint: &str,
    now: OffsetDateTime,
) -> Result<Vec<RecordedOutcome>, PostgresTransactionError> {
    let known = find_run(t, tenant, name, " for update").await?;
    if known.is_some_and(|head| !head.finished && head.fingerprint == without_nul(fingerprint)) {
        return load_outcomes(t, tenant, name).await;
    }
    t.execute_statement(
        "delete from evaluation_outcomes where tenant = $1 and run = $2",
        &[&tenant.as_str(), &without_nul(name)],
    )
    .await?;
    t.execute_statement(
        "insert into evaluation_runs (tenant, name, fingerprint, finished, started_at)
         values ($1, $2, $3, false, $4)
         on conflict (tenant, name) do update set fingerprint = excluded.fingerprint, finished = false,
           started_at = excluded.started_at",
        &[
            &tenant.as_str(),
            &without_nul(name),
            &without_nul(fingerprint),
            &now.unix_timestamp(),
        ],
    )
    .await?;
    Ok(Vec::new())
}

async fn insert_outcome(
    t: &PostgresSession,
    tenant: &TenantId,
    name: &str,
    outcome: &RecordedOutcome,
) -> Result<bool, PostgresTransactionError> {
    // Locked, so that the run is not finished meanwhile.
    let known = find_run(t, tenant, name, " for share").await?;
    if known.is_none_or(|head| head.finished) {
        return Ok(false);
    }
    t.execute_statement(
        "insert into evaluation_outcomes (tenant, run, question, outcome) values ($1, $2, $3, $4)
         on conflict (tenant, run, question) do update set outcome = excluded.outcome",
        &[
            &tenant.as_str(),
            &without_nul(name),
            &without_nul(&outcome.question),
            &without_nul(&outcome.outcome),
        ],
    )
    .await?;
    Ok(true)
}

async fn load_run(
    t: &PostgresSession,
    tenant: &TenantId,
    name: &str,
) -> Result<Option<(RunHead, Vec<RecordedOutcome>)>, PostgresTransactionError> {
    match find_run(t, tenant, name, "").await? {
        Some(head) => Ok(Some((head, load_outcomes(t, tenant, name).await?))),
        None => Ok(None),
    }
}

async fn find_run(
    t: &PostgresSession,
    tenant: &TenantId,
    name: &str,
    hold: &str,
) -> Result<Option<RunHead>, PostgresTransactionError> {
    let query = format!("{HEAD} and name = $2{hold}");
    let found = t.query_first(&query, &[&tenant.as_str(), &without_nul(name)]).await?;
    found.as_ref().map(read_run_head).transpose()
}

fn read_run_head(row: &Row) -> Result<RunHead, PostgresTransactionError> {
    let started_at = OffsetDateTime::from_unix_timestamp(get_value(row, "started_at")?);
    Ok(RunHead {
        name: get_value(row, "name")?,
        fingerprint: get_value(row, "fingerprint")?,
        finished: get_value(row, "finished")?,
        started_at: started_at.map_err(|error| PostgresError::Damaged(error.to_string()))?,
    })
}

async fn load_outcomes(
    t: &PostgresSession,
    tenant: &TenantId,
    name: &str,
) -> Result<Vec<RecordedOutcome>, PostgresTransactionError> {
    let query = "select question, outcome from evaluation_outcomes where tenant = $1 and run = $2 order by question";
    let rows = t.query_all(query, &[&tenant.as_str(), &without_nul(name)]).await?;
    let read = |row: &Row| {
        Ok(RecordedOutcome {
            question: get_value(row, "question")?,
            outcome: get_value(row, "outcome")?,
        })
    };
    rows.iter().map(read).collect()
}
