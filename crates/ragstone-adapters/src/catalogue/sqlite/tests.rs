//! The contract suite on a database in memory and on a file, and tests of what is specific to SQLite.

use std::sync::Arc;

use ragstone_core::document::{JobError, JobState, WorkerId};
use ragstone_core::rank::TermId;
use ragstone_core::seam::catalogue::{BeginOutcome, Catalogue, CatalogueError, StatisticsDelta};
use ragstone_core::seam::contract::catalogue::{LEASE, WORKER, at, job_id, made, moment, version};
use ragstone_core::seam::contract::{
    acl, audit_contract, caller, catalogue_contract, evaluation_contract, feedback_contract, idempotency_contract,
    key_store_contract, portable_contract, source_store_contract, tenant, usage_contract,
};
use ragstone_core::seam::keys::Pepper;
use ragstone_core::seam::{
    ConsistencyScan, EvaluationStore, ExportStore, FeedbackStore, IdempotencyStore, KeyStore, SourceStore, UsageStore,
};

use super::SqliteCatalogue;
use crate::sqlite::{Durability, SqliteDatabase, SqliteError};

#[tokio::test]
async fn in_memory_keeps_the_contract() {
    let make = || async {
        let catalogue = SqliteCatalogue::open(SqliteDatabase::in_memory().unwrap()).unwrap();
        Arc::new(catalogue) as Arc<dyn Catalogue>
    };
    catalogue_contract(make).await;
    audit_contract(make).await;
}

#[tokio::test]
async fn documents_can_be_moved() {
    portable_contract(|| async {
        let catalogue = Arc::new(SqliteCatalogue::open(SqliteDatabase::in_memory().unwrap()).unwrap());
        (
            catalogue.clone() as Arc<dyn Catalogue>,
            catalogue as Arc<dyn ExportStore>,
        )
    })
    .await;
}

#[tokio::test]
async fn in_memory_keeps_the_contract_of_keys() {
    key_store_contract(|| async {
        Arc::new(SqliteCatalogue::open(SqliteDatabase::in_memory().unwrap()).unwrap()) as Arc<dyn KeyStore>
    })
    .await;
}

#[tokio::test]
async fn usage_and_answers_keep_their_contracts() {
    let fresh = || Arc::new(SqliteCatalogue::open(SqliteDatabase::in_memory().unwrap()).unwrap());
    usage_contract(|| async { fresh() as Arc<dyn UsageStore> }).await;
    idempotency_contract(|| async { fresh() as Arc<dyn IdempotencyStore> }).await;
    evaluation_contract(|| async { fresh() as Arc<dyn EvaluationStore> }).await;
    feedback_contract(|| async { fresh() as Arc<dyn FeedbackStore> }).await;
    source_store_contract(|| async { fresh() as Arc<dyn SourceStore> }).await;
}

#[tokio::test]
async fn a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let files = std::sync::atomic::AtomicUsize::new(0);
    let make = || async {
        let file = files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let database = SqliteDatabase::open(&folder.path().join(format!("{file}.db"))).unwrap();
        Arc::new(SqliteCatalogue::open(database).unwrap()) as Arc<dyn Catalogue>
    };
    catalogue_contract(make).await;
}

/// As an earlier release stored it.
#[tokio::test]
async fn an_address_that_is_none_is_not_read() {
    let database = SqliteDatabase::in_memory().unwrap();
    let catalogue = SqliteCatalogue::open(database.clone()).unwrap();
    let (open, scope) = (acl("a", &[&["everyone"]]), caller("a", &[]));
    let new = version(&open, "x", "one");
    let id = new.document_id();
    catalogue.begin_version(&scope, new, job_id(1), at(1)).await.unwrap();
    for (stored, read) in [
        ("javascript:alert(1)", None),
        ("https://x.test/a", Some("https://x.test/a")),
    ] {
        let write = |t: &rusqlite::Transaction<'_>| -> Result<usize, SqliteError> {
            Ok(t.execute("update documents set source_url = ?1", [stored])?)
        };
        database.write_blocking(Durability::Ordered, write).unwrap();
        let found = catalogue.get_document(&scope, id).await.unwrap().unwrap();
        assert_eq!(found.source_url.map(String::from).as_deref(), read);
    }
}

/// More publishes than are folded at once, so that the sums come from totals and changes both.
#[tokio::test]
async fn statistics_are_the_same_after_folding_and_opening_again() {
    const PUBLISHES: u32 = 700;
    let database = SqliteDatabase::in_memory().unwrap();
    let catalogue = SqliteCatalogue::open(database.clone()).unwrap();
    let open = acl("a", &[&["everyone"]]);
    let scope = caller("a", &[]);
    let mut expected = 0;
    for n in 0..PUBLISHES {
        let new = version(&open, &format!("{}", n % 300), &n.to_string());
        let begun = catalogue
            .begin_version(&scope, new, job_id(n.into()), at(n.into()))
            .await;
        assert!(matches!(begun.unwrap(), BeginOutcome::Started(..)));
        let claim = catalogue
            .claim_job(WORKER, LEASE, moment(n.into()))
            .await
            .unwrap()
            .unwrap();
        let statistics = StatisticsDelta {
            chunks: 2,
            terms: vec![(TermId(1), 1), (TermId(n), 2)],
            pieces: vec![(n % 5, 1)],
        };
        let flipped = catalogue
            .publish_version(&claim.lease, made("t", statistics), at(n.into()))
            .await;
        expected += i64::from(flipped.unwrap().replaced.is_none());
    }
    let again = SqliteCatalogue::open(database).unwrap();
    for catalogue in [&catalogue, &again] {
        let found = catalogue
            .term_statistics(&tenant("a"), &[TermId(1), TermId(650), TermId(2)])
            .await
            .unwrap();
        assert_eq!(found.documents as i64, 2 * expected);
        assert_eq!(found.df[&TermId(1)] as i64, expected);
        assert_eq!(found.df[&TermId(650)], 2);
        assert!(!found.df.contains_key(&TermId(2)), "replaced");
        let pieces = catalogue
            .piece_frequencies(&tenant("a"), &[0, 1, 2, 3, 4, 5])
            .await
            .unwrap();
        assert_eq!(pieces.iter().sum::<u64>() as i64, expected);
    }
}

/// A database as the first schema left it, with a job in each state, gets the newest schema and works.
#[tokio::test]
async fn a_database_of_the_first_schema_migrates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    {
        let old = rusqlite::Connection::open(&path).unwrap();
        old.execute_batch(include_str!("../../sqlite/schema_1.sql")).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.execute_batch(include_str!("tests/schema_1_rows.sql")).unwrap();
    }
    let database = SqliteDatabase::open(&path).unwrap();
    let catalogue = SqliteCatalogue::open(database).unwrap();
    let scope = caller("a", &[]);
    let state = async |n| catalogue.get_job(&scope, job_id(n)).await.unwrap().unwrap().state;
    assert_eq!(state(1).await, JobState::Succeeded);
    assert_eq!(state(2).await, JobState::Running);
    assert_eq!(state(3).await, JobState::Queued);
    let counts = catalogue.count_jobs(&tenant("a")).await.unwrap();
    assert_eq!((counts.queued, counts.running, counts.succeeded), (2, 1, 1));
    assert_eq!(catalogue.requeue_interrupted_jobs(moment(0)).await.unwrap(), 1);
    let mut claimed = Vec::new();
    while let Some(claim) = catalogue.claim_job(WORKER, LEASE, moment(1)).await.unwrap() {
        claimed.push((claim.job.id, claim.failures));
        let error = JobError {
            code: "no_text".into(),
            detail: "what".into(),
            hint: "what next".into(),
        };
        catalogue.fail_job(&claim.lease, error, at(1)).await.unwrap();
    }
    assert_eq!(
        claimed,
        [(job_id(3), 2), (job_id(4), 0), (job_id(2), 0)],
        "in their order, with what they spent; whose process died comes last"
    );
}

/// A database as the second schema left it gets a place for keys and keeps what it had.
#[tokio::test]
async fn a_database_of_the_second_schema_migrates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    {
        let old = rusqlite::Connection::open(&path).unwrap();
        old.execute_batch(include_str!("../../sqlite/schema_1.sql")).unwrap();
        old.execute_batch(include_str!("tests/schema_1_rows.sql")).unwrap();
        old.execute_batch(include_str!("../../sqlite/schema_2.sql")).unwrap();
        old.pragma_update(None, "user_version", 2).unwrap();
    }
    let pepper = |n: u8| Pepper::new(&(Arc::new(move || [n; 32]) as _));
    for fresh in [1, 2] {
        let catalogue = SqliteCatalogue::open(SqliteDatabase::open(&path).unwrap()).unwrap();
        assert_eq!(catalogue.get_or_create_pepper(pepper(fresh)).await.unwrap(), pepper(1));
        assert!(!catalogue.has_keys().await.unwrap());
        let job = catalogue.get_job(&caller("a", &[]), job_id(1)).await.unwrap();
        assert_eq!(job.unwrap().state, JobState::Succeeded);
    }
}

/// No question that a claim asks is answered by looking through the queue.
#[test]
fn a_claim_uses_indexes() {
    let database = SqliteDatabase::in_memory().unwrap();
    let plan = |query: &str| {
        let plan = database.read_blocking::<_, crate::sqlite::SqliteError>(|c| {
            let mut statement = c.prepare(&format!("explain query plan {query}"))?;
            // Its parameters stay unbound: a plan needs none.
            let (mut rows, mut steps) = (statement.raw_query(), Vec::new());
            while let Some(row) = rows.next()? {
                steps.push(row.get::<_, String>("detail")?);
            }
            Ok(steps.join("; "))
        });
        plan.unwrap()
    };
    for query in super::queue::CLAIM_QUERIES {
        let plan = plan(query);
        assert!(
            plan.contains("INDEX jobs_") && !plan.contains("TEMP B-TREE"),
            "{query}: {plan}"
        );
    }
}

/// Two connections' worth of workers on one file: each job is claimed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_workers_share_the_queue() {
    const JOBS: u32 = 60;
    let folder = tempfile::tempdir().unwrap();
    let database = SqliteDatabase::open(&folder.path().join("ragstone.db")).unwrap();
    let catalogue = Arc::new(SqliteCatalogue::open(database).unwrap());
    let open = acl("a", &[&["everyone"]]);
    for n in 0..JOBS {
        let new = version(&open, &n.to_string(), "x");
        catalogue
            .begin_version(&caller("a", &[]), new, job_id(n.into()), at(0))
            .await
            .unwrap();
    }
    let workers = (0..4).map(|number| {
        let catalogue = catalogue.clone();
        tokio::spawn(async move {
            let worker = WorkerId { process: 1, number };
            let mut taken = Vec::new();
            while let Some(claim) = catalogue.claim_job(worker, LEASE, moment(1)).await.unwrap() {
                taken.push(claim.job.id);
            }
            taken
        })
    });
    let mut taken = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        taken.extend(worker.await.unwrap());
    }
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), JOBS as usize);
}

#[tokio::test]
async fn statistics_that_drifted_are_found_and_counted_again() {
    let drifts = [
        "delete from statistics_changes",
        "insert into statistics_changes (tenant, sign, delta) select tenant, 1, delta from statistics",
        "insert into statistics (document, generation, tenant, delta)
         select document, 9999, tenant, delta from statistics",
    ];
    for (n, drift) in drifts.into_iter().enumerate() {
        let database = SqliteDatabase::in_memory().unwrap();
        let catalogue = SqliteCatalogue::open(database.clone()).unwrap();
        let new = version(&acl("a", &[&["everyone"]]), "x", "x");
        catalogue
            .begin_version(&caller("a", &[]), new, job_id(1), at(0))
            .await
            .unwrap();
        let claim = catalogue.claim_job(WORKER, LEASE, moment(1)).await.unwrap().unwrap();
        let statistics = StatisticsDelta {
            chunks: 3,
            terms: vec![(TermId(1), 2)],
            pieces: vec![(5, 3)],
        };
        catalogue
            .publish_version(&claim.lease, made("t", statistics), at(2))
            .await
            .unwrap();
        assert!(catalogue.find_miscounted_tenants().await.unwrap().is_empty());
        let execute = |t: &rusqlite::Transaction<'_>| Ok::<_, SqliteError>(t.execute(drift, [])?);
        database.write_blocking(Durability::Synced, execute).unwrap();
        // A row too many moves no sum; it goes with the next count.
        let moved = n < 2;
        let found = catalogue.find_miscounted_tenants().await.unwrap();
        assert_eq!(found, if moved { vec![tenant("a")] } else { Vec::new() }, "{drift}");
        let reopened = SqliteCatalogue::open(database.clone()).unwrap();
        for catalogue in [&catalogue, &reopened] {
            catalogue.recount_term_statistics().await.unwrap();
            assert!(catalogue.find_miscounted_tenants().await.unwrap().is_empty(), "{drift}");
            let found = catalogue.term_statistics(&tenant("a"), &[TermId(1)]).await.unwrap();
            assert_eq!((found.documents, found.df[&TermId(1)]), (3, 2), "{drift}");
        }
    }
}

/// Both that share the database tell a damaged file from one that is only busy.
#[tokio::test]
async fn a_damaged_file_is_damaged_to_the_catalogue_and_to_the_index() {
    use ragstone_core::seam::IndexError;
    let code = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
    for (number, damaged, full) in [
        (rusqlite::ffi::SQLITE_CORRUPT, true, false),
        (rusqlite::ffi::SQLITE_NOTADB, true, false),
        (rusqlite::ffi::SQLITE_FULL, false, true),
        (rusqlite::ffi::SQLITE_BUSY, false, false),
    ] {
        let error = || SqliteError::from(code(number));
        assert_eq!((error().is_damaged(), error().is_full()), (damaged, full), "{number}");
        let catalogue = CatalogueError::from(error());
        assert_eq!(matches!(catalogue, CatalogueError::Damaged { .. }), damaged, "{number}");
        assert_eq!(matches!(catalogue, CatalogueError::Full { .. }), full, "{number}");
        let index = IndexError::from(error());
        assert_eq!(matches!(index, IndexError::Damaged { .. }), damaged, "{number}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    std::fs::write(&path, "this is no database, however long one looks at it".repeat(100)).unwrap();
    let refused = SqliteDatabase::open(&path).unwrap_err();
    assert!(refused.is_damaged(), "{refused}");
}
