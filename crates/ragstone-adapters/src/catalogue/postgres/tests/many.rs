//! Several concurrent processes: what they begin, claim, cancel and migrate.

use std::collections::HashSet;
use std::sync::Arc;

use ragstone_core::document::{JobState, WorkerId};
use ragstone_core::rank::TermId;
use ragstone_core::seam::ConsistencyScan;
use ragstone_core::seam::catalogue::{BeginOutcome, Catalogue, CatalogueError, JobFilter, PageRequest};
use ragstone_core::seam::contract::catalogue::{LEASE, at, job_id, made, moment, version};
use ragstone_core::seam::contract::{acl, caller, tenant};

use super::server::server;
use super::{another, begin, delta, open};
use crate::catalogue::postgres::{PostgresCatalogue, PostgresError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_never_claim_the_same_job() {
    const JOBS: u32 = 120;
    const BATCH: u128 = 1_000_000;
    let Some(server) = server().await else { return };
    let options = server.fresh().await;
    let processes = [Arc::new(open(&options).await), Arc::new(open(&another(&options)).await)];
    let begun = (0..JOBS).map(|n| {
        let catalogue = processes[n as usize % 2].clone();
        tokio::spawn(async move {
            let mut new = version(&acl("a", &[&["everyone"]]), &n.to_string(), "x");
            new.batch = Some(job_id(BATCH));
            catalogue
                .begin_version(&caller("a", &[]), new, job_id(n.into()), at(0))
                .await
        })
    });
    for begun in begun.collect::<Vec<_>>() {
        let begun = begun.await.unwrap();
        assert!(matches!(begun, Ok(BeginOutcome::Started(..))), "{begun:?}");
    }
    let session = processes[0].database.open_session().await.unwrap();
    let places = "select count(distinct place) from jobs where kind <> 'batch'";
    let places: i64 = session.query_one(places, &[]).await.unwrap().get(0);
    assert_eq!(places, i64::from(JOBS), "no two of a lane share a turn");
    let workers = (0..8).map(|number| {
        let catalogue = processes[number as usize % 2].clone();
        tokio::spawn(async move {
            let worker = WorkerId { process: 1, number };
            let mut taken = Vec::new();
            while let Some(claim) = catalogue.claim_job(worker, LEASE, moment(1)).await.unwrap() {
                taken.push((claim.job.id, claim.lease.generation));
                let made = made("t", delta(1, &[(7, 1)]));
                catalogue.publish_version(&claim.lease, made, at(2)).await.unwrap();
            }
            taken
        })
    });
    let mut taken = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        taken.extend(worker.await.unwrap());
    }
    let jobs: HashSet<_> = taken.iter().map(|(job, _)| job).collect();
    let generations: HashSet<_> = taken.iter().map(|(_, generation)| generation).collect();
    assert_eq!((taken.len(), jobs.len(), generations.len()), (120, 120, 120));
    for catalogue in &processes {
        let counts = catalogue.count_jobs(&tenant("a")).await.unwrap();
        assert_eq!((counts.succeeded, counts.queued, counts.running), (120, 0, 0));
        let batch = catalogue
            .get_job(&caller("a", &[]), job_id(BATCH))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((batch.state, batch.done, batch.total), (JobState::Succeeded, 120, 120));
        let found = catalogue.term_statistics(&tenant("a"), &[TermId(7)]).await.unwrap();
        assert_eq!((found.documents, found.df[&TermId(7)]), (120, 120));
        assert!(catalogue.find_miscounted_tenants().await.unwrap().is_empty());
        catalogue.fold_changes().await.unwrap();
    }
    let counts = processes[0].count_jobs(&tenant("a")).await.unwrap();
    assert_eq!((counts.succeeded, counts.queued, counts.running), (120, 0, 0), "folded");
    let batch = processes[0]
        .get_job(&caller("a", &[]), job_id(BATCH))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((batch.state, batch.done, batch.total), (JobState::Succeeded, 120, 120));
}

/// Writers of one document from two processes: one of them begins it, the others find it or make it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uri_that_is_begun_at_once_by_many_lives_once() {
    let Some(server) = server().await else { return };
    let options = server.fresh().await;
    let processes = [Arc::new(open(&options).await), Arc::new(open(&another(&options)).await)];
    let writers = (0..12u128).map(|n| {
        let catalogue = processes[n as usize % 2].clone();
        tokio::spawn(async move {
            let new = version(&acl("a", &[&["everyone"]]), "x", &(n % 3).to_string());
            let scope = caller("a", &[]);
            match n {
                11 => {
                    let id = new.document_id();
                    catalogue
                        .tombstone_document(&scope, id, job_id(n), at(0))
                        .await
                        .map(drop)
                }
                _ => catalogue.begin_version(&scope, new, job_id(n), at(0)).await.map(drop),
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    let counts = processes[0].count_jobs(&tenant("a")).await.unwrap();
    assert!(counts.queued <= 2, "a version and a purge at most: {counts:?}");
    let filter = JobFilter {
        state: Some(JobState::Queued),
        ..JobFilter::default()
    };
    let page = PageRequest {
        cursor: None,
        limit: 100,
    };
    let listed = processes[1].list_jobs(&caller("a", &[]), &filter, &page).await.unwrap();
    assert_eq!(listed.items.len() as u64, counts.queued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_migrate_once() {
    let Some(server) = server().await else { return };
    let options = server.fresh().await;
    let opened = (0..6).map(|_| {
        let options = another(&options);
        tokio::spawn(async move { PostgresCatalogue::open(&options).await.map(drop) })
    });
    for opened in opened.collect::<Vec<_>>() {
        opened.await.unwrap().unwrap();
    }
    let catalogue = open(&options).await;
    begin(&catalogue, "x", "x", 1).await;
    let session = catalogue.database.open_session().await.unwrap();
    session
        .run_script("update ragstone_schema set version = 999")
        .await
        .unwrap();
    let refused = PostgresCatalogue::open(&options).await.map(drop).unwrap_err();
    assert!(matches!(refused, PostgresError::Newer { found: 999, .. }), "{refused}");
}

/// A batch is cancelled while workers run its jobs, and all of it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_cancelled_under_its_workers() {
    const JOBS: u32 = 40;
    const BATCH: u128 = 1_000_000;
    let Some(server) = server().await else { return };
    let options = server.fresh().await;
    let processes = [Arc::new(open(&options).await), Arc::new(open(&another(&options)).await)];
    let scope = caller("a", &[]);
    for n in 0..JOBS {
        let mut new = version(&acl("a", &[&["everyone"]]), &n.to_string(), "x");
        new.batch = Some(job_id(BATCH));
        let begun = processes[0].begin_version(&scope, new, job_id(n.into()), at(0)).await;
        assert!(matches!(begun, Ok(BeginOutcome::Started(..))), "{begun:?}");
    }
    let workers = (0..4).map(|number| {
        let catalogue = processes[number as usize % 2].clone();
        tokio::spawn(async move {
            let worker = WorkerId { process: 1, number };
            let mut published = 0;
            while let Some(claim) = catalogue.claim_job(worker, LEASE, moment(1)).await.unwrap() {
                let made = made("t", delta(1, &[(7, 1)]));
                match catalogue.publish_version(&claim.lease, made, at(2)).await {
                    Ok(_) => published += 1,
                    Err(error) => assert!(matches!(error, CatalogueError::Stale), "{error}"),
                }
            }
            published
        })
    });
    let workers: Vec<_> = workers.collect();
    let cancelled = processes[1]
        .cancel_job(&scope, job_id(BATCH), at(3))
        .await
        .unwrap()
        .unwrap();
    let mut published = 0;
    for worker in workers {
        published += worker.await.unwrap();
    }
    let ended = processes[0].get_job(&scope, job_id(BATCH)).await.unwrap().unwrap();
    let children = ended.children.unwrap();
    assert_eq!(
        (children.succeeded, children.total()),
        (published, u64::from(JOBS)),
        "{cancelled:?}"
    );
    assert_eq!(children.succeeded + children.cancelled, u64::from(JOBS));
    assert!(ended.state.is_final());
    assert!(processes[0].find_miscounted_tenants().await.unwrap().is_empty());
}
