//! Evaluation runs: one row per run, and one per question.

use async_trait::async_trait;
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::evaluations::{EvaluationStore, RecordedOutcome, RunHead};
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use time::OffsetDateTime;

use super::{SqliteCatalogue, SqliteTransactionError};
use crate::sqlite::Durability;

/// Query of a run's head, without its questions.
const HEAD: &str = "select name, fingerprint, finished, started_at from evaluation_runs where tenant = ?1";

#[async_trait]
impl EvaluationStore for SqliteCatalogue {
    async fn begin_run(
        &self,
        tenant: &TenantId,
        name: &str,
        fingerprint: &str,
        now: OffsetDateTime,
    ) -> CatalogueResult<Vec<RecordedOutcome>> {
        let (tenant, name) = (tenant.as_str().to_owned(), name.to_owned());
        let (fingerprint, now) = (fingerprint.to_owned(), now.unix_timestamp());
        self.run_write(Durability::Synced, move |t| {
            let known = find_run(t, &tenant, &name)?;
            if known.is_some_and(|head| !head.finished && head.fingerprint == fingerprint) {
                return load_outcomes(t, &tenant, &name);
            }
            t.execute(
                "delete from evaluation_outcomes where tenant = ?1 and run = ?2",
                (&tenant, &name),
            )?;
            t.execute(
                "insert or replace into evaluation_runs (tenant, name, fingerprint, finished, started_at)
                 values (?1, ?2, ?3, 0, ?4)",
                (&tenant, &name, &fingerprint, now),
            )?;
            Ok(Vec::new())
        })
        .await
    }

    /// Not synced: a lost outcome is computed again.
    async fn record_outcome(&self, tenant: &TenantId, name: &str, outcome: RecordedOutcome) -> CatalogueResult<bool> {
        let (tenant, name) = (tenant.as_str().to_owned(), name.to_owned());
        self.run_write(Durability::Ordered, move |t| {
            if !is_unfinished(t, &tenant, &name)? {
                return Ok(false);
            }
            t.prepare_cached(
                "insert into evaluation_outcomes (tenant, run, question, outcome) values (?1, ?2, ?3, ?4)
                 on conflict do update set outcome = excluded.outcome",
            )?
            .execute((&tenant, &name, &outcome.question, &outcome.outcome))?;
            Ok(true)
        })
        .await
    }

    async fn finish_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<bool> {
        let (tenant, name) = (tenant.as_str().to_owned(), name.to_owned());
        self.run_write(Durability::Synced, move |t| {
            let changed = t.execute(
                "update evaluation_runs set finished = 1 where tenant = ?1 and name = ?2 and finished = 0",
                (&tenant, &name),
            )?;
            Ok(changed > 0)
        })
        .await
    }

    async fn get_run(&self, tenant: &TenantId, name: &str) -> CatalogueResult<Option<(RunHead, Vec<RecordedOutcome>)>> {
        let (tenant, name) = (tenant.as_str().to_owned(), name.to_owned());
        self.run_read(move |c| {
            let head = find_run(c, &tenant, &name)?;
            head.map(|head| Ok((head, load_outcomes(c, &tenant, &name)?)))
                .transpose()
        })
        .await
    }

    async fn list_runs(&self, tenant: &TenantId) -> CatalogueResult<Vec<RunHead>> {
        let tenant = tenant.as_str().to_owned();
        self.run_read(move |c| {
            let mut statement = c.prepare_cached(&format!("{HEAD} order by name"))?;
            let heads = statement.query_map([&tenant], read_run_head)?;
            Ok::<_, SqliteTransactionError>(heads.collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn find_run(connection: &Connection, tenant: &str, name: &str) -> Result<Option<RunHead>, SqliteTransactionError> {
    let mut statement = connection.prepare_cached(&format!("{HEAD} and name = ?2"))?;
    Ok(statement.query_row((tenant, name), read_run_head).optional()?)
}

fn is_unfinished(t: &Transaction<'_>, tenant: &str, name: &str) -> Result<bool, SqliteTransactionError> {
    Ok(find_run(t, tenant, name)?.is_some_and(|head| !head.finished))
}

fn read_run_head(row: &Row<'_>) -> rusqlite::Result<RunHead> {
    let started_at = OffsetDateTime::from_unix_timestamp(row.get(3)?);
    Ok(RunHead {
        name: row.get(0)?,
        fingerprint: row.get(1)?,
        finished: row.get(2)?,
        started_at: started_at.map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Integer, Box::new(error))
        })?,
    })
}

fn load_outcomes(
    connection: &Connection,
    tenant: &str,
    name: &str,
) -> Result<Vec<RecordedOutcome>, SqliteTransactionError> {
    let mut statement = connection.prepare_cached(
        "select question, outcome from evaluation_outcomes where tenant = ?1 and run = ?2 order by question",
    )?;
    let read = |row: &Row<'_>| {
        Ok(RecordedOutcome {
            question: row.get(0)?,
            outcome: row.get(1)?,
        })
    };
    Ok(statement.query_map((tenant, name), read)?.collect::<Result<_, _>>()?)
}
