//! Evaluation runs: a row a run, and a row a question.

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::evaluations::{EvaluationStore, RecordedOutcome, RunHead};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalogue;
use super::database::{Mode, Session, transact};
use super::error::{Failure, PostgresError};
use super::row::{get, plain};

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
        Ok(transact!(self.database, Mode::Synced, |t| begin(
            &t,
            tenant,
            name,
            fingerprint,
            now
        ))?)
    }

    /// A lost answer is asked for again: no disk write each.
    async fn record_outcome(&self, tenant: &TenantId, name: &str, outcome: RecordedOutcome) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Ordered, |t| record(
            &t, tenant, name, &outcome
        ))?)
    }

    async fn finish_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<bool> {
        let finish = "update evaluation_runs set finished = true where tenant = $1 and name = $2 and not finished";
        let session = self.database.session().await?;
        Ok(session.run(finish, &[&tenant.as_str(), &plain(name)]).await? > 0)
    }

    async fn evaluation(
        &self,
        tenant: &TenantId,
        name: &str,
    ) -> CatalogueResult<Option<(RunHead, Vec<RecordedOutcome>)>> {
        Ok(transact!(self.database, Mode::Snapshot, |t| read(&t, tenant, name))?)
    }

    async fn evaluations(&self, tenant: &TenantId) -> CatalogueResult<Vec<RunHead>> {
        let session = self.database.session().await?;
        let rows = session
            .all(&format!("{HEAD} order by name"), &[&tenant.as_str()])
            .await?;
        Ok(rows.iter().map(head).collect::<Result<_, _>>()?)
    }
}

async fn begin(
    t: &Session,
    tenant: &TenantId,
    name: &str,
    fingerprint: &str,
    now: OffsetDateTime,
) -> Result<Vec<RecordedOutcome>, Failure> {
    let known = find(t, tenant, name, " for update").await?;
    if known.is_some_and(|head| !head.finished && head.fingerprint == plain(fingerprint)) {
        return outcomes(t, tenant, name).await;
    }
    t.run(
        "delete from evaluation_outcomes where tenant = $1 and run = $2",
        &[&tenant.as_str(), &plain(name)],
    )
    .await?;
    t.run(
        "insert into evaluation_runs (tenant, name, fingerprint, finished, started_at)
         values ($1, $2, $3, false, $4)
         on conflict (tenant, name) do update set fingerprint = excluded.fingerprint, finished = false,
           started_at = excluded.started_at",
        &[
            &tenant.as_str(),
            &plain(name),
            &plain(fingerprint),
            &now.unix_timestamp(),
        ],
    )
    .await?;
    Ok(Vec::new())
}

async fn record(t: &Session, tenant: &TenantId, name: &str, outcome: &RecordedOutcome) -> Result<bool, Failure> {
    // Held, so that it is not finished meanwhile.
    let known = find(t, tenant, name, " for share").await?;
    if known.is_none_or(|head| head.finished) {
        return Ok(false);
    }
    t.run(
        "insert into evaluation_outcomes (tenant, run, question, outcome) values ($1, $2, $3, $4)
         on conflict (tenant, run, question) do update set outcome = excluded.outcome",
        &[
            &tenant.as_str(),
            &plain(name),
            &plain(&outcome.question),
            &plain(&outcome.outcome),
        ],
    )
    .await?;
    Ok(true)
}

async fn read(t: &Session, tenant: &TenantId, name: &str) -> Result<Option<(RunHead, Vec<RecordedOutcome>)>, Failure> {
    match find(t, tenant, name, "").await? {
        Some(head) => Ok(Some((head, outcomes(t, tenant, name).await?))),
        None => Ok(None),
    }
}

async fn find(t: &Session, tenant: &TenantId, name: &str, hold: &str) -> Result<Option<RunHead>, Failure> {
    let query = format!("{HEAD} and name = $2{hold}");
    let found = t.first(&query, &[&tenant.as_str(), &plain(name)]).await?;
    found.as_ref().map(head).transpose()
}

fn head(row: &Row) -> Result<RunHead, Failure> {
    let started_at = OffsetDateTime::from_unix_timestamp(get(row, "started_at")?);
    Ok(RunHead {
        name: get(row, "name")?,
        fingerprint: get(row, "fingerprint")?,
        finished: get(row, "finished")?,
        started_at: started_at.map_err(|error| PostgresError::Damaged(error.to_string()))?,
    })
}

async fn outcomes(t: &Session, tenant: &TenantId, name: &str) -> Result<Vec<RecordedOutcome>, Failure> {
    let query = "select question, outcome from evaluation_outcomes where tenant = $1 and run = $2 order by question";
    let rows = t.all(query, &[&tenant.as_str(), &plain(name)]).await?;
    let read = |row: &Row| {
        Ok(RecordedOutcome {
            question: get(row, "question")?,
            outcome: get(row, "outcome")?,
        })
    };
    rows.iter().map(read).collect()
}
