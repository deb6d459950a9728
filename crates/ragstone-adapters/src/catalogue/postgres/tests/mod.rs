//! The contract suite on a real server, and tests of several processes and of a server that goes away.

mod many;
mod server;

use std::sync::Arc;
use std::time::Duration;

use ragstone_core::rank::TermId;
use ragstone_core::seam::catalogue::{
    BeginOutcome, Catalogue, CatalogueError, ClockReading, DocumentFilter, PageRequest, StatisticsDelta,
};
use ragstone_core::seam::contract::catalogue::{LEASE, WORKER, at, job_id, made, moment, version};
use ragstone_core::seam::contract::{
    acl, audit_contract, caller, catalogue_contract, doorbell_contract, evaluation_contract, feedback_contract,
    idempotency_contract, key_store_contract, portable_contract, source_store_contract, tenant, usage_contract,
};
use ragstone_core::seam::{
    ConsistencyScan, EvaluationStore, ExportStore, FeedbackStore, IdempotencyStore, KeyStore, Notifier, SourceStore,
    UsageStore,
};
use uuid::Uuid;

use super::database::{TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::{LeaseClock, PostgresCatalogue, PostgresOptions, queue, start_notifier, statistics};
use server::{Server, own_server, server, tls_server};

async fn open(options: &PostgresOptions) -> PostgresCatalogue {
    PostgresCatalogue::open(options).await.expect("it opens")
}

/// One whose clock the test sets.
async fn stepped(options: &PostgresOptions) -> PostgresCatalogue {
    PostgresCatalogue {
        clock: LeaseClock::Caller,
        ..open(options).await
    }
}

async fn fresh(server: &Server) -> Arc<PostgresCatalogue> {
    Arc::new(stepped(&server.fresh().await).await)
}

/// The same database as another process sees it.
fn another(options: &PostgresOptions) -> PostgresOptions {
    PostgresOptions {
        holder: Uuid::new_v4(),
        ..options.clone()
    }
}

fn delta(chunks: u64, terms: &[(u32, u32)]) -> StatisticsDelta {
    StatisticsDelta {
        chunks,
        terms: terms.iter().map(|(term, count)| (TermId(*term), *count)).collect(),
        pieces: vec![(5, 1)],
    }
}

async fn begin(catalogue: &PostgresCatalogue, uri: &str, content: &str, job: u128) {
    let new = version(&acl("a", &[&["everyone"]]), uri, content);
    let begun = catalogue
        .begin_version(&caller("a", &[]), new, job_id(job), at(0))
        .await;
    assert!(matches!(begun, Ok(BeginOutcome::Started(..))), "{begun:?}");
}

async fn publish(catalogue: &PostgresCatalogue, statistics: StatisticsDelta) {
    let claim = catalogue.claim_job(WORKER, LEASE, moment(1)).await.unwrap().unwrap();
    let published = catalogue
        .publish_version(&claim.lease, made("t", statistics), at(2))
        .await;
    published.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept() {
    let Some(server) = server().await else { return };
    let make = || async { fresh(&server).await as Arc<dyn Catalogue> };
    catalogue_contract(make).await;
    audit_contract(make).await;
}

#[tokio::test]
async fn documents_can_be_moved() {
    let Some(server) = server().await else { return };
    portable_contract(|| async {
        let catalogue = fresh(&server).await;
        (
            catalogue.clone() as Arc<dyn Catalogue>,
            catalogue as Arc<dyn ExportStore>,
        )
    })
    .await;
}

#[tokio::test]
async fn keys_usage_and_answers_keep_their_contracts() {
    let Some(server) = server().await else { return };
    key_store_contract(|| async { fresh(&server).await as Arc<dyn KeyStore> }).await;
    source_store_contract(|| async { fresh(&server).await as Arc<dyn SourceStore> }).await;
    usage_contract(|| async { fresh(&server).await as Arc<dyn UsageStore> }).await;
    idempotency_contract(|| async { fresh(&server).await as Arc<dyn IdempotencyStore> }).await;
    feedback_contract(|| async { fresh(&server).await as Arc<dyn FeedbackStore> }).await;
    evaluation_contract(|| async { fresh(&server).await as Arc<dyn EvaluationStore> }).await;
}

/// Two notifiers on the channel of one schema, both listening.
async fn notifiers(options: &PostgresOptions) -> (Arc<dyn Notifier>, Arc<dyn Notifier>) {
    let (one, other) = (start_notifier(options), start_notifier(options));
    one.wait_for_notification().await;
    other.wait_for_notification().await;
    (one, other)
}

#[tokio::test]
async fn the_doorbell_keeps_its_contract() {
    let Some(server) = server().await else { return };
    doorbell_contract(|| async { notifiers(&server.fresh().await).await }).await;
}

#[tokio::test]
async fn a_doorbell_outlives_its_server() {
    let Some(mut server) = own_server().await else {
        return;
    };
    let (one, other) = notifiers(&server.fresh().await).await;
    server.stop();
    while one.connection_error().is_none() || other.connection_error().is_none() {
        tokio::task::yield_now().await;
    }
    one.notify_workers();
    one.wait_for_notification().await;
    server.start().await;
    one.wait_for_notification().await;
    other.wait_for_notification().await;
    while one.connection_error().is_some() || other.connection_error().is_some() {
        tokio::task::yield_now().await;
    }
    other.notify_workers();
    one.wait_for_notification().await;
}

/// Leases and waits hang on the server's clock: what the caller takes for the time is not looked at.
#[tokio::test]
async fn the_servers_clock_judges() {
    let Some(server) = server().await else { return };
    let options = server.fresh().await;
    let catalogue = open(&options).await;
    begin(&catalogue, "x", "x", 1).await;
    let far = |days: u64| ClockReading {
        steady: Duration::from_secs(days * 86_400),
        ..moment(0)
    };
    let short = Duration::from_millis(200);
    let first = catalogue.claim_job(WORKER, LEASE, far(0)).await.unwrap().unwrap();
    assert!(
        catalogue.claim_job(WORKER, LEASE, far(9)).await.unwrap().is_none(),
        "its lease holds"
    );
    catalogue.extend_lease(&first.lease, 3 * LEASE, far(9)).await.unwrap();
    catalogue.release_job(&first.lease, at(1)).await.unwrap();
    let second = catalogue.claim_job(WORKER, short, far(9)).await.unwrap().unwrap();
    let third = loop {
        // It runs out by itself, however still the caller's clock stands.
        if let Some(claim) = catalogue.claim_job(WORKER, LEASE, far(0)).await.unwrap() {
            break claim;
        }
    };
    assert_eq!((third.job.id, third.lease.attempt), (second.job.id, 3));
    let stale = catalogue.mark_original_stored(&second.lease).await;
    assert!(matches!(stale, Err(CatalogueError::Stale)), "{stale:?}");
}

#[tokio::test]
async fn only_the_own_jobs_are_taken_back() {
    let Some(server) = server().await else { return };
    let options = server.fresh().await;
    let (ours, theirs) = (open(&options).await, open(&another(&options)).await);
    begin(&ours, "x", "x", 1).await;
    begin(&ours, "y", "y", 2).await;
    let (kept, lost) = (
        theirs.claim_job(WORKER, LEASE, moment(0)).await.unwrap().unwrap(),
        ours.claim_job(WORKER, LEASE, moment(0)).await.unwrap().unwrap(),
    );
    // The same process again, after a crash; and one that never was.
    let again = open(&options).await;
    assert_eq!(
        open(&another(&options))
            .await
            .requeue_interrupted_jobs(moment(0))
            .await
            .unwrap(),
        0
    );
    assert_eq!(again.requeue_interrupted_jobs(moment(0)).await.unwrap(), 1);
    assert_eq!(again.requeue_interrupted_jobs(moment(0)).await.unwrap(), 0);
    theirs.mark_original_stored(&kept.lease).await.unwrap();
    let stale = ours.mark_original_stored(&lost.lease).await;
    assert!(matches!(stale, Err(CatalogueError::Stale)), "{stale:?}");
}

/// Memory follows what others write, through folds, counts and transactions that end out of turn.
#[tokio::test]
async fn statistics_are_the_same_in_every_process() {
    let Some(server) = server().await else { return };
    let options = server.fresh().await;
    let (here, there) = (stepped(&options).await, stepped(&another(&options)).await);
    let check = async |chunks: u64, count: u64| {
        for catalogue in [&here, &there] {
            let found = catalogue.term_statistics(&tenant("a"), &[TermId(7)]).await.unwrap();
            let counted = found.df.get(&TermId(7)).copied().unwrap_or_default();
            assert_eq!((found.documents, counted), (chunks, count));
            let pieces = catalogue.piece_frequencies(&tenant("a"), &[5, 6]).await.unwrap();
            assert_eq!(pieces, [chunks / 2, 0]);
            assert!(catalogue.find_miscounted_tenants().await.unwrap().is_empty());
        }
    };
    check(0, 0).await;
    // A transaction that began before the others and ends after them.
    let slow = there.database.begin(TransactionMode::Synced).await.unwrap();
    let note = "insert into statistics_changes (tenant, sign, delta) values ('b', 1, $1)";
    let bytes = crate::catalogue::sums::encode_delta(&delta(1, &[(9, 1)]));
    slow.execute_statement(note, &[&bytes]).await.unwrap();
    for n in 0..3 {
        begin(&here, &n.to_string(), "one", n).await;
        publish(&here, delta(2, &[(7, 1)])).await;
        let chunks = 2 * (n as u64 + 1);
        for catalogue in [&here, &there] {
            let found = catalogue.term_statistics(&tenant("a"), &[TermId(7)]).await.unwrap();
            assert_eq!((found.documents, found.df[&TermId(7)]), (chunks, chunks / 2));
        }
    }
    slow.end(Ok(())).await.unwrap();
    for catalogue in [&here, &there] {
        let late = catalogue.term_statistics(&tenant("b"), &[TermId(9)]).await.unwrap();
        assert_eq!(
            (late.documents, late.df[&TermId(9)]),
            (1, 1),
            "what was committed late counts"
        );
        assert_eq!(
            catalogue.find_miscounted_tenants().await.unwrap(),
            [tenant("b")],
            "it belongs to no document"
        );
    }
    there.recount_term_statistics().await.unwrap();
    check(6, 3).await;
    begin(&there, "0", "two", 10).await;
    publish(&there, delta(2, &[(8, 1)])).await;
    check(6, 2).await;
    statistics::fold_into_totals(&here.database).await.unwrap();
    check(6, 2).await;
    begin(&here, "1", "two", 11).await;
    publish(&here, delta(2, &[(8, 1)])).await;
    check(6, 1).await;
    let opened = stepped(&another(&options)).await;
    let found = opened
        .term_statistics(&tenant("a"), &[TermId(7), TermId(8)])
        .await
        .unwrap();
    assert_eq!((found.documents, found.df[&TermId(7)], found.df[&TermId(8)]), (6, 1, 2));
}

/// No question that a claim asks is answered by looking through the queue.
#[tokio::test]
async fn a_claim_uses_indexes() {
    let Some(server) = server().await else { return };
    let catalogue = fresh(&server).await;
    let session = catalogue.database.begin(TransactionMode::Synced).await.unwrap();
    // An empty table is read whole, whatever the indexes.
    session
        .run_script("set local enable_seqscan = off; set local plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    for (n, query) in queue::questions().into_iter().enumerate() {
        let prepare = format!("prepare q{n} as {query}");
        session.run_script(&prepare).await.unwrap();
        let holder = "('00000000-0000-0000-0000-000000000000')";
        let values = ["(1, 1)", "(1, 1)", "('a', 'b')", holder, "", ""][n];
        let explained = session
            .query_all(&format!("explain execute q{n}{values}"), &[])
            .await
            .unwrap();
        let plan: Vec<String> = explained.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(
            plan.contains("jobs_") && !plan.contains("Sort") && !plan.contains("Seq Scan"),
            "{query}: {plan}"
        );
    }
}

#[tokio::test]
async fn text_that_postgresql_cannot_keep_is_kept_as_near_as_can_be() {
    let Some(server) = server().await else { return };
    let catalogue = fresh(&server).await;
    let scope = caller("a", &[]);
    let mut new = version(&acl("a", &[&["everyone"]]), "x\0y", "x");
    new.title = Some("a\0b".into());
    let begun = catalogue
        .begin_version(&scope, new.clone(), job_id(1), at(0))
        .await
        .unwrap();
    let BeginOutcome::Started(document, _) = begun else {
        panic!("{begun:?}")
    };
    assert_eq!(
        (document.id, document.title.as_str()),
        (new.document_id(), "a\u{fffd}b")
    );
    let again = catalogue
        .begin_version(&scope, new.clone(), job_id(2), at(0))
        .await
        .unwrap();
    assert!(matches!(again, BeginOutcome::Unchanged(_)), "{again:?}");
    let filter = DocumentFilter {
        uri: Some(new.uri),
        ..DocumentFilter::default()
    };
    let page = PageRequest {
        cursor: None,
        limit: 10,
    };
    let listed = catalogue.list_documents(&scope, &filter, &page).await.unwrap();
    assert_eq!(listed.items, [document]);
}

/// A transaction whose caller leaves is rolled back, and its connection is not used again.
#[tokio::test]
async fn a_caller_that_leaves_leaves_nothing() {
    let Some(server) = server().await else { return };
    let mut options = server.fresh().await;
    options.pool_size = 1;
    let catalogue = open(&options).await;
    let left = catalogue.database.begin(TransactionMode::Synced).await.unwrap();
    left.execute_statement("insert into settings (key, value) values ('a', 'b')", &[])
        .await
        .unwrap();
    drop(left);
    assert_eq!(catalogue.get_setting("a").await.unwrap(), None);
    catalogue.set_setting("a", "c").await.unwrap();
    assert_eq!(catalogue.get_setting("a").await.unwrap().as_deref(), Some("c"));
}

/// What lost a race is tried again, and not for ever.
#[tokio::test]
async fn races_are_run_again_within_bounds() {
    let Some(server) = server().await else { return };
    let catalogue = fresh(&server).await;
    for (losses, wins) in [(0, true), (3, true), (u32::MAX, false)] {
        let left = std::sync::atomic::AtomicU32::new(losses);
        let lose = |code: &'static str| format!("do $$ begin raise exception sqlstate '{code}'; end $$");
        let run = async |t: &super::database::PostgresSession| -> Result<(), PostgresTransactionError> {
            use std::sync::atomic::Ordering::Relaxed;
            match left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
                Ok(left) => {
                    t.run_script(&lose(["40001", "40P01", "23505"][left as usize % 3]))
                        .await
                }
                Err(_) => Ok(()),
            }
        };
        let ran: Result<(), PostgresTransactionError> =
            async { transact!(catalogue.database, TransactionMode::Synced, |t| run(&t)) }.await;
        assert_eq!(ran.is_ok(), wins, "{losses}: {ran:?}");
    }
}

#[tokio::test]
async fn errors_say_what_the_caller_can_do() {
    let Some(server) = server().await else { return };
    let catalogue = fresh(&server).await;
    for (code, expected) in [
        ("53100", "Full"),
        ("XX001", "Damaged"),
        ("XX002", "Damaged"),
        ("57014", "Unavailable"),
        ("53300", "Unavailable"),
    ] {
        let session = catalogue.database.open_session().await.unwrap();
        let raise = format!("do $$ begin raise exception 'on purpose' using errcode = '{code}'; end $$");
        let error = CatalogueError::from(session.run_script(&raise).await.unwrap_err());
        assert!(format!("{error:?}").starts_with(expected), "{code}: {error:?}");
    }
    let mut options = server.fresh().await;
    options.pool_size = 1;
    options.connect_timeout = Duration::from_millis(50);
    options.statement_timeout = Duration::from_millis(50);
    let busy = open(&options).await;
    let held = busy.database.open_session().await.unwrap();
    let waited = busy.get_setting("a").await;
    assert!(matches!(waited, Err(CatalogueError::Unavailable { .. })), "{waited:?}");
    let slow = CatalogueError::from(held.run_script("select pg_sleep(60)").await.unwrap_err());
    assert!(matches!(slow, CatalogueError::Unavailable { .. }), "{slow:?}");
}

#[tokio::test]
async fn a_server_that_goes_away_is_unavailable_until_it_is_back() {
    let Some(mut server) = own_server().await else {
        return;
    };
    let options = server.fresh().await;
    let catalogue = open(&options).await;
    begin(&catalogue, "x", "x", 1).await;
    let claim = catalogue.claim_job(WORKER, LEASE, moment(0)).await.unwrap().unwrap();
    let inside = catalogue.database.begin(TransactionMode::Synced).await.unwrap();
    inside
        .execute_statement("insert into settings (key, value) values ('a', 'b')", &[])
        .await
        .unwrap();
    server.stop();
    let cut = inside.end(Ok(())).await.map_err(CatalogueError::from);
    assert!(matches!(cut, Err(CatalogueError::Unavailable { .. })), "{cut:?}");
    for _ in 0..3 {
        let told = catalogue.mark_original_stored(&claim.lease).await;
        assert!(matches!(told, Err(CatalogueError::Unavailable { .. })), "{told:?}");
        let told = catalogue.term_statistics(&tenant("a"), &[TermId(1)]).await;
        assert!(matches!(told, Err(CatalogueError::Unavailable { .. })), "{told:?}");
    }
    let refused = PostgresCatalogue::open(&options).await.map(drop);
    assert!(refused.is_err());
    server.start().await;
    assert_eq!(catalogue.get_setting("a").await.unwrap(), None, "it was not committed");
    catalogue
        .mark_original_stored(&claim.lease)
        .await
        .expect("the lease holds over the restart");
    let published = catalogue
        .publish_version(&claim.lease, made("t", delta(1, &[])), at(2))
        .await;
    published.unwrap();
}

#[tokio::test]
async fn tls_is_spoken_to_a_server_that_can_prove_itself() {
    let Some((_server, port)) = tls_server().await else {
        return;
    };
    let authority = include_bytes!("tls/ca.pem").to_vec();
    let at = |host: &str| {
        let url = format!("postgresql://test@{host}:{port}/postgres?sslmode=require");
        PostgresOptions::new(&url, Uuid::new_v4()).unwrap()
    };
    let told = super::server_version(&at("localhost").with_authorities(authority.clone())).await;
    assert!(told.is_ok_and(|version| !version.is_empty()));
    // Not by the machine's authorities, and not under another name.
    for unproven in [at("localhost"), at("127.0.0.1").with_authorities(authority)] {
        let refused = super::server_version(&unproven).await.unwrap_err();
        assert!(matches!(refused, super::PostgresError::Server(_)), "{refused}");
    }
}
