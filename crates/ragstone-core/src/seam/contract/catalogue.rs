//! Contract of every catalogue: documents, versions, listing and statistics.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::sample::{acl, caller, tenant};
use super::{admission, attachments, catalogue_ledger, ended_jobs, manifest, writers};
use crate::access::{Acl, Scope};
use crate::document::{
    BoundedMetadata, Document, DocumentStatus, Job, JobError, JobKind, JobStage, JobState, WorkerId,
};
use crate::id::{CollectionName, ContentHash, DocumentId, Generation, JobId, SourceName};
use crate::rank::TermId;
use crate::seam::catalogue::{
    BeginOutcome, Catalogue, CatalogueError, ClaimedJob, ClockReading, DocumentFilter, DocumentPatch, JobFilter,
    JobProgress, NewVersion, OriginalLocation, PageRequest, PublishedVersion, RetryDelay, StatisticsDelta,
};

pub(super) type Shared = Arc<dyn Catalogue>;

/// Runs the suite; `make` gives a fresh, empty catalogue each time.
pub async fn catalogue_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    a_document_goes_from_begin_to_publish(make().await).await;
    begin_says_what_it_did(make().await).await;
    a_failed_version_is_begun_again(make().await).await;
    a_taken_uri_is_refused_and_unchanged(make().await).await;
    writers::writers_contract(&make).await;
    ended_jobs::ended_jobs_contract(&make).await;
    a_stale_lease_writes_nothing(make().await).await;
    a_new_version_replaces_the_old_at_publish(make().await).await;
    failures_and_retries(make().await).await;
    failed_documents_of_a_source_are_counted(make().await).await;
    a_deleted_document_is_gone_at_once(make().await).await;
    a_deleted_document_may_live_again(make().await).await;
    a_patch_holds_at_once(make().await).await;
    cancelling(make().await).await;
    catalogue_ledger::ledger_contract(&make).await;
    lists_fill_their_pages_within_the_scope(make().await).await;
    standing_is_of_every_living_document(make().await).await;
    admission::admission_contract(&make).await;
    the_same_bytes_are_ingested_again_for_another_pipeline(make().await).await;
    a_reingest_after_a_failed_version_is_of_the_published_bytes(make().await).await;
    upkeep_finds_every_tenant_and_what_another_pipeline_made(make().await).await;
    statistics_follow_what_is_published(make().await).await;
    attachments::attachments_contract(&make).await;
    manifest::manifest_contract(&make).await;
    settings_are_kept(make().await).await;
}

/// A moment of the suite.
pub fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::seconds(seconds)
}

/// A moment of a process that started as the suite did.
pub fn moment(seconds: u64) -> ClockReading {
    ClockReading {
        wall: at(seconds as i64),
        steady: StdDuration::from_secs(seconds),
    }
}

/// How long the suite's leases hold.
pub const LEASE: StdDuration = StdDuration::from_secs(1_000);

/// A worker of the suite.
pub const WORKER: WorkerId = WorkerId { process: 1, number: 1 };

/// The `n`-th job of the suite.
pub fn job_id(n: u128) -> JobId {
    JobId(Uuid::from_u128(n))
}

/// A version of `uri` with the given bytes.
pub fn version(acl: &Acl, uri: &str, content: &str) -> NewVersion {
    NewVersion {
        collection: CollectionName::default(),
        source: SourceName::default(),
        uri: uri.into(),
        may_replace: true,
        name: format!("{uri}.txt"),
        title: None,
        declared_media_type: Some("text/plain".into()),
        acl: acl.clone(),
        brought_by: None,
        department_id: None,
        metadata: json!({"lang": "en"}).as_object().cloned().unwrap_or_default(),
        source_url: None,
        content_hash: ContentHash::of_bytes(content.as_bytes()),
        bytes: content.len() as u64,
        incoming: format!("incoming/{uri}"),
        pipeline: "pipeline".into(),
        batch: None,
    }
}

/// What a worker made of it.
pub fn made(title: &str, statistics: StatisticsDelta) -> PublishedVersion {
    PublishedVersion {
        title: title.into(),
        media_type: "text/markdown".into(),
        pages: Some(2),
        chunks: 3,
        warnings: Vec::new(),
        pipeline: "pipeline".into(),
        statistics,
    }
}

pub(super) fn open() -> Acl {
    acl("a", &[&["everyone"]])
}

pub(super) fn reader() -> Scope {
    caller("a", &[])
}

pub(super) fn whole_page() -> PageRequest {
    PageRequest {
        cursor: None,
        limit: 1_000,
    }
}

pub(super) fn problem(code: &str) -> JobError {
    JobError {
        code: code.into(),
        detail: "what and which".into(),
        hint: "what next".into(),
    }
}

pub(super) async fn start(
    catalogue: &Shared,
    scope: &Scope,
    version: NewVersion,
    job: u128,
    seconds: i64,
) -> (Document, Job) {
    match catalogue.begin_version(scope, version, job_id(job), at(seconds)).await {
        Ok(BeginOutcome::Started(document, job)) => (document, job),
        other => panic!("a version was to start: {other:?}"),
    }
}

pub(super) async fn claim(catalogue: &Shared, seconds: i64) -> ClaimedJob {
    let claim = next(catalogue, moment(seconds as u64)).await;
    claim.expect("a job waits")
}

/// What is claimed at this moment.
pub(super) async fn next(catalogue: &Shared, now: ClockReading) -> Option<ClaimedJob> {
    let claim = catalogue.claim_job(WORKER, LEASE, now).await;
    claim.expect("a claim is answered")
}

pub(super) async fn publish_next(catalogue: &Shared, title: &str, seconds: i64) -> ClaimedJob {
    let claim = claim(catalogue, seconds).await;
    let flipped = catalogue
        .publish_version(&claim.lease, made(title, StatisticsDelta::default()), at(seconds))
        .await;
    flipped.expect("the version is published");
    claim
}

pub(super) async fn document(catalogue: &Shared, id: DocumentId) -> Document {
    let found = catalogue.get_document(&reader(), id).await.expect("an answer");
    found.expect("the document is there")
}

pub(super) async fn job(catalogue: &Shared, n: u128) -> Job {
    let found = catalogue.get_job(&reader(), job_id(n)).await.expect("an answer");
    found.expect("the job is there")
}

async fn a_document_goes_from_begin_to_publish(catalogue: Shared) {
    assert!(next(&catalogue, moment(0)).await.is_none(), "nothing waits");
    let begun = version(&open(), "x", "one");
    let (pending, queued) = start(&catalogue, &reader(), begun.clone(), 1, 0).await;
    assert_eq!(pending.id, begun.document_id());
    assert_eq!((pending.status, pending.version), (DocumentStatus::Pending, 1));
    assert_eq!((pending.title.as_str(), pending.published), ("x.txt", None));
    assert_eq!((pending.created_at, pending.acl_revision), (at(0), 1));
    assert_eq!(
        (queued.id, queued.kind, queued.state),
        (job_id(1), JobKind::Ingest, JobState::Queued)
    );
    assert_eq!(document(&catalogue, pending.id).await, pending);
    assert_eq!(job(&catalogue, 1).await, queued);

    let claim = claim(&catalogue, 1).await;
    assert_eq!((claim.job.state, claim.lease.attempt), (JobState::Running, 1));
    assert!(
        claim.lease.generation > queued.generation,
        "each claim draws a new generation"
    );
    assert_eq!(
        (claim.name.as_str(), claim.original.clone()),
        ("x.txt", OriginalLocation::Incoming("incoming/x".into()))
    );
    assert_eq!(claim.declared_media_type.as_deref(), Some("text/plain"));
    assert!(next(&catalogue, moment(1)).await.is_none(), "it is taken");

    catalogue.mark_original_stored(&claim.lease).await.expect("noted");
    let progress = JobProgress {
        stage: JobStage::Embed,
        done: 1,
        total: 3,
    };
    catalogue
        .record_progress(&claim.lease, progress, moment(2))
        .await
        .expect("noted");
    let running = job(&catalogue, 1).await;
    assert_eq!((running.stage, running.done, running.total), (JobStage::Embed, 1, 3));

    let flipped = catalogue
        .publish_version(&claim.lease, made("Found", StatisticsDelta::default()), at(3))
        .await;
    let flipped = flipped.expect("published");
    assert_eq!((flipped.replaced, flipped.acl_revision), (None, 1));
    let published = document(&catalogue, pending.id).await;
    assert_eq!(
        (published.status, published.published),
        (DocumentStatus::Published, Some(claim.lease.generation))
    );
    assert_eq!(
        (published.title.as_str(), published.pages, published.chunks),
        ("Found", Some(2), 3)
    );
    assert_eq!(
        (published.media_type.as_str(), published.updated_at),
        ("text/markdown", at(3))
    );
    assert_eq!(job(&catalogue, 1).await.state, JobState::Succeeded);
}

async fn begin_says_what_it_did(catalogue: Shared) {
    let first = version(&open(), "x", "one");
    let member = caller("a", &["group:g"]);
    start(&catalogue, &member, first.clone(), 1, 0).await;
    let again = async |version: NewVersion, n: u128| {
        catalogue
            .begin_version(&member, version, job_id(n), at(n as i64))
            .await
            .expect("begun")
    };
    assert!(
        matches!(again(first.clone(), 2).await, BeginOutcome::Unchanged(_)),
        "pending counts"
    );
    publish_next(&catalogue, "Found", 3).await;
    assert!(
        matches!(again(first.clone(), 4).await, BeginOutcome::Unchanged(_)),
        "published counts"
    );
    assert!(
        catalogue
            .get_job(&reader(), job_id(4))
            .await
            .expect("an answer")
            .is_none(),
        "no job"
    );

    let metadata = json!({"lang": "de"}).as_object().cloned().unwrap_or_default();
    let granted = acl("a", &[&["everyone", "group:g"]]);
    let updates = [
        NewVersion {
            metadata,
            ..first.clone()
        },
        NewVersion {
            title: Some("Given".into()),
            ..first.clone()
        },
        NewVersion {
            source_url: Some("https://example.org/x".parse().expect("an address")),
            ..first.clone()
        },
        NewVersion {
            acl: granted.clone(),
            ..first.clone()
        },
    ];
    for (n, update) in (5..).zip(updates) {
        let BeginOutcome::Updated(updated) = again(update.clone(), n).await else {
            panic!("only what touches no bytes changed: {update:?}");
        };
        assert_eq!(updated.metadata, update.metadata);
        assert_eq!((&updated.source_url, &updated.acl), (&update.source_url, &update.acl));
        assert_eq!(updated.title, update.title.unwrap_or("Found".into()));
        assert_eq!((updated.version, updated.updated_at), (1, at(n as i64)));
        assert_eq!(updated.acl_revision, 1 + u64::from(updated.acl == granted));
        assert_eq!(document(&catalogue, updated.id).await, updated);
    }
    let versions = [
        version(&open(), "x", "two"),
        NewVersion {
            name: "x.md".into(),
            ..first.clone()
        },
        NewVersion {
            pipeline: "another".into(),
            ..first.clone()
        },
    ];
    for (n, new) in (20..).zip(versions) {
        let (started, _) = start(&catalogue, &member, new, n, 20).await;
        assert_eq!(
            started.status,
            DocumentStatus::Published,
            "the old version goes on answering"
        );
        assert_eq!(started.version, 2 + (n as u64 - 20));
    }
}

async fn a_failed_version_is_begun_again(catalogue: Shared) {
    let first = version(&open(), "x", "one");
    start(&catalogue, &reader(), first.clone(), 1, 0).await;
    let failed = claim(&catalogue, 1).await;
    catalogue
        .fail_job(&failed.lease, problem("no_text"), at(1))
        .await
        .expect("failed");
    let (again, _) = start(&catalogue, &reader(), first.clone(), 2, 2).await;
    assert_eq!(
        (again.status, again.version, again.last_error),
        (DocumentStatus::Pending, 2, None)
    );
    let queued = catalogue
        .cancel_job(&reader(), job_id(2), at(3))
        .await
        .expect("an answer");
    assert_eq!(queued.expect("the job").state, JobState::Cancelled);
    start(&catalogue, &reader(), first, 3, 4).await;
}

async fn a_taken_uri_is_refused_and_unchanged(catalogue: Shared) {
    let private = version(&acl("a", &[&["group:g"]]), "x", "one");
    let owner = caller("a", &["group:g"]);
    let (held, _) = start(&catalogue, &owner, private, 1, 0).await;
    let other = version(&open(), "x", "two");
    for scope in [caller("a", &["group:h"]), caller("b", &["group:g"])] {
        let refused = catalogue.begin_version(&scope, other.clone(), job_id(2), at(1)).await;
        assert!(matches!(refused, Err(CatalogueError::UriTaken)), "{refused:?}");
    }
    let found = catalogue.get_document(&owner, held.id).await.expect("an answer");
    assert_eq!(found, Some(held), "nothing changed");
    assert!(catalogue.get_job(&owner, job_id(2)).await.expect("an answer").is_none());
    let elsewhere = version(&acl("b", &[&["everyone"]]), "x", "one");
    start(&catalogue, &caller("b", &[]), elsewhere, 3, 2).await;
}

async fn a_stale_lease_writes_nothing(catalogue: Shared) {
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let old = claim(&catalogue, 1).await;
    let (before, _) = start(&catalogue, &reader(), version(&open(), "x", "two"), 2, 2).await;
    assert_eq!(
        job(&catalogue, 1).await.state,
        JobState::Cancelled,
        "a newer begin cancels it"
    );
    let retried = claim(&catalogue, 3).await;
    catalogue
        .schedule_retry(
            &retried.lease,
            problem("busy"),
            RetryDelay::after_failure(StdDuration::ZERO),
            moment(3),
        )
        .await
        .expect("queued again");
    let current = claim(&catalogue, 4).await;
    assert!(current.lease.generation > retried.lease.generation && current.lease.attempt == 2);
    let forged = crate::seam::catalogue::JobLease {
        generation: Generation(0),
        ..current.lease.clone()
    };
    for lease in [&old.lease, &retried.lease, &forged] {
        let progress = JobProgress {
            stage: JobStage::Embed,
            done: 9,
            total: 9,
        };
        let made = made("Stale", StatisticsDelta::default());
        let answers = [
            catalogue.mark_original_stored(lease).await,
            catalogue.record_progress(lease, progress, moment(5)).await,
            catalogue.extend_lease(lease, LEASE, moment(5)).await.map(drop),
            catalogue.release_job(lease, at(5)).await,
            catalogue.publish_version(lease, made, at(5)).await.map(drop),
            catalogue.fail_job(lease, problem("stale"), at(5)).await,
            catalogue
                .schedule_retry(
                    lease,
                    problem("stale"),
                    RetryDelay::after_failure(StdDuration::ZERO),
                    moment(5),
                )
                .await,
            catalogue.finish_purge(lease, at(5)).await,
        ];
        for answer in answers {
            assert!(matches!(answer, Err(CatalogueError::Stale)), "{answer:?}");
        }
    }
    assert_eq!(document(&catalogue, before.id).await, before, "nothing was written");
    let running = job(&catalogue, 2).await;
    assert_eq!((running.state, running.done), (JobState::Running, 0));
    catalogue
        .mark_original_stored(&current.lease)
        .await
        .expect("the current lease holds");
}

async fn a_new_version_replaces_the_old_at_publish(catalogue: Shared) {
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let old = publish_next(&catalogue, "One", 1).await;
    start(&catalogue, &reader(), version(&open(), "x", "two"), 2, 2).await;
    let claim = claim(&catalogue, 3).await;
    let during = document(&catalogue, first.id).await;
    assert_eq!(
        (during.published, during.title.as_str()),
        (Some(old.lease.generation), "One")
    );
    let flipped = catalogue
        .publish_version(&claim.lease, made("Two", StatisticsDelta::default()), at(4))
        .await;
    assert_eq!(flipped.expect("published").replaced, Some(old.lease.generation));
    let after = document(&catalogue, first.id).await;
    assert_eq!(
        (after.published, after.title.as_str()),
        (Some(claim.lease.generation), "Two")
    );
    assert_eq!(
        (after.created_at, after.content_hash),
        (at(0), ContentHash::of_bytes(b"two"))
    );
}

async fn failures_and_retries(catalogue: Shared) {
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let busy = claim(&catalogue, 1).await;
    catalogue.mark_original_stored(&busy.lease).await.expect("noted");
    catalogue
        .schedule_retry(
            &busy.lease,
            problem("busy"),
            RetryDelay::after_failure(StdDuration::from_secs(9)),
            moment(1),
        )
        .await
        .expect("queued");
    let queued = job(&catalogue, 1).await;
    assert_eq!((queued.state, queued.stage), (JobState::Queued, JobStage::Queued));
    assert_eq!(queued.error, Some(problem("busy")));
    assert!(next(&catalogue, moment(9)).await.is_none(), "not yet");
    let again = claim(&catalogue, 10).await;
    assert_eq!(
        (again.lease.attempt, again.original.clone()),
        (2, OriginalLocation::Stored(busy.lease.generation))
    );
    catalogue
        .fail_job(&again.lease, problem("no_text"), at(11))
        .await
        .expect("failed");
    let failed = document(&catalogue, first.id).await;
    assert_eq!(
        (failed.status, failed.last_error),
        (DocumentStatus::Failed, Some(problem("no_text")))
    );
    let ended = job(&catalogue, 1).await;
    assert_eq!(
        (ended.state, ended.attempts, ended.error),
        (JobState::Failed, 2, Some(problem("no_text")))
    );

    start(&catalogue, &reader(), version(&open(), "x", "two"), 2, 20).await;
    publish_next(&catalogue, "Two", 21).await;
    start(&catalogue, &reader(), version(&open(), "x", "three"), 3, 22).await;
    let third = claim(&catalogue, 23).await;
    catalogue
        .fail_job(&third.lease, problem("no_text"), at(24))
        .await
        .expect("failed");
    let kept = document(&catalogue, first.id).await;
    assert_eq!(
        (kept.status, kept.last_error),
        (DocumentStatus::Published, Some(problem("no_text")))
    );
}

async fn failed_documents_of_a_source_are_counted(catalogue: Shared) {
    let failed = async |of: &str, source: SourceName, limit| {
        let found = catalogue.list_failed_documents(&tenant(of), &source, limit).await;
        let found = found.expect("an answer");
        let uris = found.first.into_iter().map(|(uri, error)| {
            assert_eq!(error, problem("no_text"));
            uri
        });
        (found.count, uris.collect::<Vec<_>>().join(" "))
    };
    let ours = SourceName::default;
    let mut begun = Vec::new();
    for (n, uri) in [(1, "x"), (2, "y"), (3, "z")] {
        let seconds = n as i64;
        let (document, _) = start(&catalogue, &reader(), version(&open(), uri, "text"), n, seconds).await;
        begun.push(document.id);
        let claim = claim(&catalogue, 10 + seconds).await;
        let noted = catalogue.fail_job(&claim.lease, problem("no_text"), at(20)).await;
        noted.expect("noted");
    }
    assert_eq!(failed("a", ours(), 100).await, (3, "x y z".into()));
    assert_eq!(failed("a", ours(), 2).await, (3, "x y".into()));
    assert_eq!(failed("b", ours(), 100).await, (0, String::new()));
    let another = "another".parse().expect("a name");
    assert_eq!(failed("a", another, 100).await, (0, String::new()));
    // One comes again with other bytes and is published; another one is deleted.
    start(&catalogue, &reader(), version(&open(), "y", "other text"), 4, 30).await;
    publish_next(&catalogue, "Y", 31).await;
    let deleted = catalogue
        .tombstone_document(&reader(), begun[0], job_id(5), at(32))
        .await;
    assert!(deleted.expect("an answer").is_some());
    assert_eq!(failed("a", ours(), 100).await, (1, "z".into()));
}

async fn a_deleted_document_is_gone_at_once(catalogue: Shared) {
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let published = publish_next(&catalogue, "One", 1).await;
    start(&catalogue, &reader(), version(&open(), "x", "two"), 2, 2).await;
    let running = claim(&catalogue, 3).await;
    let strange = caller("b", &[]);
    assert!(
        catalogue
            .tombstone_document(&strange, first.id, job_id(3), at(4))
            .await
            .expect("an answer")
            .is_none()
    );
    let purge = catalogue
        .tombstone_document(&reader(), first.id, job_id(3), at(4))
        .await
        .expect("an answer");
    let purge = purge.expect("a purge");
    assert_eq!(purge.kind, JobKind::Purge);
    assert!(
        purge.generation > running.lease.generation,
        "everything before it is to go"
    );
    assert!(published.lease.generation < running.lease.generation);
    assert!(
        catalogue
            .get_document(&reader(), first.id)
            .await
            .expect("an answer")
            .is_none()
    );
    assert!(
        catalogue
            .documents_unchecked(&[first.id])
            .await
            .expect("an answer")
            .is_empty()
    );
    let all = DocumentFilter::default();
    let listed = catalogue
        .list_documents(&reader(), &all, &whole_page())
        .await
        .expect("a list");
    assert!(listed.items.is_empty());
    assert!(
        catalogue
            .tombstone_document(&reader(), first.id, job_id(4), at(5))
            .await
            .expect("an answer")
            .is_none()
    );
    assert!(
        catalogue
            .patch_document(&reader(), first.id, DocumentPatch::default(), at(5))
            .await
            .expect("ok")
            .is_none()
    );
    let late = catalogue
        .publish_version(&running.lease, made("Late", StatisticsDelta::default()), at(6))
        .await;
    assert!(matches!(late, Err(CatalogueError::Stale)), "{late:?}");

    let claim = claim(&catalogue, 7).await;
    assert_eq!(
        (claim.job.kind, claim.lease.generation),
        (JobKind::Purge, purge.generation)
    );
    assert_eq!(claim.job.stage, JobStage::Purge);
    let kept = catalogue
        .cancel_job(&reader(), job_id(3), at(7))
        .await
        .expect("an answer");
    assert_eq!(
        kept.expect("the job").state,
        JobState::Running,
        "a deletion is not taken back"
    );
    catalogue.finish_purge(&claim.lease, at(8)).await.expect("purged");
    assert_eq!(
        job(&catalogue, 3).await.state,
        JobState::Succeeded,
        "it can be followed to its end"
    );
    assert!(
        catalogue
            .get_job(&strange, job_id(3))
            .await
            .expect("an answer")
            .is_none()
    );
}

async fn a_deleted_document_may_live_again(catalogue: Shared) {
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let old = publish_next(&catalogue, "One", 1).await;
    let purge = catalogue
        .tombstone_document(&reader(), first.id, job_id(2), at(2))
        .await
        .expect("an answer");
    assert!(purge.is_some());
    let private = acl("a", &[&["group:g"]]);
    let owner = caller("a", &["group:g"]);
    let (second, _) = start(&catalogue, &owner, version(&private, "x", "one"), 3, 3).await;
    assert_eq!(
        (second.id, second.status, second.published),
        (first.id, DocumentStatus::Pending, None)
    );
    assert_eq!(
        (second.version, second.created_at, second.title.as_str()),
        (1, at(3), "x.txt")
    );

    let purge = claim(&catalogue, 4).await;
    assert_eq!(purge.job.id, job_id(2));
    assert!(
        purge.lease.generation > old.lease.generation,
        "the old life ends before it"
    );
    let ingest = claim(&catalogue, 4).await;
    assert!(
        ingest.lease.generation > purge.lease.generation,
        "the new life begins after it"
    );
    let flipped = catalogue
        .publish_version(&ingest.lease, made("Again", StatisticsDelta::default()), at(5))
        .await;
    assert_eq!(flipped.expect("published").replaced, None);
    catalogue
        .finish_purge(&purge.lease, at(6))
        .await
        .expect("the old life is purged");
    let lives = catalogue
        .get_document(&owner, first.id)
        .await
        .expect("an answer")
        .expect("the new life stays");
    assert_eq!(lives.published, Some(ingest.lease.generation));
    assert!(
        catalogue
            .get_document(&reader(), first.id)
            .await
            .expect("an answer")
            .is_none(),
        "not the old readers'"
    );
}

async fn a_patch_holds_at_once(catalogue: Shared) {
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    publish_next(&catalogue, "Found", 1).await;
    let patch = DocumentPatch {
        title: Some("Better".into()),
        metadata: json!({"year": 2024})
            .as_object()
            .cloned()
            .map(BoundedMetadata::from_stored),
        department_id: Some(Some("d".into())),
        source_url: Some(Some("https://example.org".parse().expect("an address"))),
        acl: None,
    };
    let foreign = catalogue
        .patch_document(&caller("b", &[]), first.id, patch.clone(), at(2))
        .await;
    assert!(foreign.expect("an answer").is_none());
    let patched = catalogue
        .patch_document(&reader(), first.id, patch, at(2))
        .await
        .expect("an answer")
        .expect("it is seen");
    assert_eq!((patched.title.as_str(), patched.updated_at), ("Better", at(2)));
    assert_eq!((patched.department_id.as_deref(), patched.acl_revision), (Some("d"), 1));
    assert_eq!(document(&catalogue, first.id).await, patched);
    let same = catalogue
        .patch_document(&reader(), first.id, DocumentPatch::default(), at(3))
        .await
        .expect("an answer");
    assert_eq!(same.expect("it is seen"), patched, "nothing to change");

    let hidden = DocumentPatch {
        acl: Some(acl("a", &[&["group:g"]])),
        ..DocumentPatch::default()
    };
    let patched = catalogue
        .patch_document(&caller("a", &["group:g"]), first.id, hidden, at(4))
        .await
        .expect("an answer")
        .expect("it is seen");
    assert_eq!(patched.acl_revision, 2);
    assert!(
        catalogue
            .get_document(&reader(), first.id)
            .await
            .expect("an answer")
            .is_none(),
        "revoked at once"
    );
    let standing = catalogue.documents_unchecked(&[first.id]).await.expect("an answer");
    assert_eq!(standing[0].acl_revision, 2, "admission sees the new readers");
    assert!(
        catalogue
            .get_job(&reader(), job_id(1))
            .await
            .expect("an answer")
            .is_none(),
        "its jobs too"
    );
    let granted = caller("a", &["group:g"]);
    assert!(
        catalogue
            .get_document(&granted, first.id)
            .await
            .expect("an answer")
            .is_some()
    );
    assert!(
        catalogue
            .get_job(&granted, job_id(1))
            .await
            .expect("an answer")
            .is_some()
    );
    let moved = DocumentPatch {
        acl: Some(acl("b", &[&["everyone"]])),
        ..DocumentPatch::default()
    };
    let refused = catalogue.patch_document(&granted, first.id, moved, at(5)).await;
    assert!(
        matches!(refused, Err(CatalogueError::UriTaken)),
        "no document changes its tenant"
    );
}

async fn cancelling(catalogue: Shared) {
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    assert!(
        catalogue
            .cancel_job(&caller("b", &[]), job_id(1), at(1))
            .await
            .expect("an answer")
            .is_none()
    );
    assert!(
        catalogue
            .cancel_job(&reader(), job_id(9), at(1))
            .await
            .expect("an answer")
            .is_none()
    );
    let running = claim(&catalogue, 1).await;
    let cancelled = catalogue
        .cancel_job(&reader(), job_id(1), at(2))
        .await
        .expect("an answer")
        .expect("the job");
    assert_eq!(cancelled.state, JobState::Cancelled);
    let late = catalogue
        .publish_version(&running.lease, made("Late", StatisticsDelta::default()), at(3))
        .await;
    assert!(matches!(late, Err(CatalogueError::Stale)), "{late:?}");
    let left = document(&catalogue, first.id).await;
    assert_eq!(left.status, DocumentStatus::Failed);
    assert_eq!(left.last_error.map(|error| error.code).as_deref(), Some("cancelled"));
    let again = catalogue
        .cancel_job(&reader(), job_id(1), at(4))
        .await
        .expect("an answer")
        .expect("the job");
    assert_eq!(again, cancelled, "a final job stays as it is");
}

async fn lists_fill_their_pages_within_the_scope(catalogue: Shared) {
    let operator = caller("a", &["group:g"]);
    let mut seen = Vec::new();
    for n in 0..20u128 {
        let acl = if n % 3 == 0 { acl("a", &[&["group:g"]]) } else { open() };
        let mut new = version(&acl, &format!("{n:02}"), "one");
        if n % 2 == 0 {
            new.source = "even".parse().expect("a name");
        }
        // Pairs share their time, so that a page may end between two of the same.
        let (document, _) = start(&catalogue, &operator, new, n + 1, n as i64 / 2).await;
        if n % 3 != 0 {
            seen.push((document.created_at, document.id));
        }
    }
    seen.sort();
    let all = DocumentFilter::default();
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest { cursor, limit: 4 };
        let page = catalogue.list_documents(&reader(), &all, &page).await.expect("a page");
        assert!(
            page.items.len() == 4 || page.next_cursor.is_none(),
            "a page that goes on is full"
        );
        found.extend(page.items.iter().map(|document| (document.created_at, document.id)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, seen);

    let count = async |filter: DocumentFilter| {
        catalogue
            .list_documents(&operator, &filter, &whole_page())
            .await
            .expect("a list")
            .items
            .len()
    };
    assert_eq!(count(all.clone()).await, 20);
    assert_eq!(
        count(DocumentFilter {
            uri: Some("07".into()),
            ..all.clone()
        })
        .await,
        1
    );
    assert_eq!(
        count(DocumentFilter {
            source: "even".parse().ok(),
            ..all.clone()
        })
        .await,
        10
    );
    assert_eq!(
        count(DocumentFilter {
            collection: "other".parse().ok(),
            ..all.clone()
        })
        .await,
        0
    );
    assert_eq!(
        count(DocumentFilter {
            status: Some(DocumentStatus::Pending),
            ..all.clone()
        })
        .await,
        20
    );
    assert_eq!(
        count(DocumentFilter {
            status: Some(DocumentStatus::Failed),
            ..all.clone()
        })
        .await,
        0
    );
    for cursor in ["x", "00", "no-cursor"] {
        let page = PageRequest {
            cursor: Some(cursor.into()),
            limit: 4,
        };
        let refused = catalogue.list_documents(&reader(), &all, &page).await;
        assert!(matches!(refused, Err(CatalogueError::BadCursor)), "{refused:?}");
        let refused = catalogue.list_jobs(&reader(), &JobFilter::default(), &page).await;
        assert!(matches!(refused, Err(CatalogueError::BadCursor)), "{refused:?}");
    }
    jobs_are_listed(&catalogue, &operator).await;
}

async fn jobs_are_listed(catalogue: &Shared, operator: &Scope) {
    let running = claim(catalogue, 100).await.job.id;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest { cursor, limit: 3 };
        let page = catalogue
            .list_jobs(&reader(), &JobFilter::default(), &page)
            .await
            .expect("a page");
        found.extend(page.items.iter().map(|job| (job.created_at, job.id)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 13, "jobs of documents in scope");
    assert!(found.is_sorted_by(|a, b| a > b), "newest first");
    let of = async |filter: JobFilter| {
        let page = catalogue
            .list_jobs(operator, &filter, &whole_page())
            .await
            .expect("a list");
        page.items.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(
        of(JobFilter {
            state: Some(JobState::Running),
            ..JobFilter::default()
        })
        .await,
        [running]
    );
    assert_eq!(
        of(JobFilter {
            kind: Some(JobKind::Ingest),
            ..JobFilter::default()
        })
        .await
        .len(),
        20
    );
    let job = catalogue
        .get_job(operator, running)
        .await
        .expect("a job")
        .expect("there");
    assert_eq!(
        of(JobFilter {
            document: job.document_id,
            ..JobFilter::default()
        })
        .await,
        [running]
    );
    assert!(
        of(JobFilter {
            kind: Some(JobKind::Purge),
            ..JobFilter::default()
        })
        .await
        .is_empty()
    );
}

async fn standing_is_of_every_living_document(catalogue: Shared) {
    let mut ids = Vec::new();
    for (n, acl) in (1..).zip([open(), acl("a", &[&["group:g"]]), open()]) {
        let scope = caller("a", &["group:g"]);
        ids.push(
            start(&catalogue, &scope, version(&acl, &format!("{n}"), "one"), n, 0)
                .await
                .0
                .id,
        );
    }
    publish_next(&catalogue, "One", 1).await;
    let mut asked = ids.clone();
    asked.push(DocumentId(Uuid::from_u128(9)));
    let mut found = catalogue.documents_unchecked(&asked).await.expect("an answer");
    found.sort_by_key(|document| document.id);
    ids.sort();
    assert_eq!(found.iter().map(|document| document.id).collect::<Vec<_>>(), ids);
    assert_eq!(found.iter().filter(|document| document.published.is_some()).count(), 1);
}

async fn the_same_bytes_are_ingested_again_for_another_pipeline(catalogue: Shared) {
    let (document, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let again = async |scope: &Scope, job: u128, now: i64| {
        catalogue
            .queue_reingest(scope, document.id, "p2", job_id(job), at(now))
            .await
            .expect("an answer")
    };
    assert_eq!(again(&reader(), 2, 1).await, None, "its first job is live");
    let published = publish_next(&catalogue, "One", 1).await;
    assert_eq!(again(&caller("b", &[]), 2, 2).await, None, "another tenant's");
    let job = again(&reader(), 2, 2).await.expect("queued");
    assert_eq!(again(&reader(), 3, 2).await, None, "one is live");
    let claim = claim(&catalogue, 3).await;
    assert_eq!(
        (claim.job.id, claim.original),
        (job.id, OriginalLocation::Stored(published.lease.generation))
    );
    assert_eq!(
        claim.document.published,
        Some(published.lease.generation),
        "the old one goes on answering"
    );
}

async fn a_reingest_after_a_failed_version_is_of_the_published_bytes(catalogue: Shared) {
    let old = version(&open(), "x", "one");
    let new = NewVersion {
        name: "y.pdf".into(),
        declared_media_type: Some("application/pdf".into()),
        title: Some("Given".into()),
        ..version(&open(), "x", "two and more")
    };
    start(&catalogue, &reader(), old.clone(), 1, 0).await;
    let published = publish_next(&catalogue, "One", 1).await;
    let (begun, _) = start(&catalogue, &reader(), new.clone(), 2, 2).await;
    assert_eq!((begun.content_hash, begun.bytes), (new.content_hash, new.bytes));
    let failed = claim(&catalogue, 3).await;
    let error = problem("no_text");
    catalogue.fail_job(&failed.lease, error, at(4)).await.expect("noted");
    let again = catalogue
        .queue_reingest(&reader(), begun.id, "p2", job_id(3), at(5))
        .await;
    again.expect("an answer").expect("queued");
    let claim = claim(&catalogue, 6).await;
    assert_eq!(
        (claim.original.clone(), claim.name.as_str()),
        (OriginalLocation::Stored(published.lease.generation), "x.txt")
    );
    assert_eq!(claim.declared_media_type, old.declared_media_type);
    assert_eq!(claim.given_title, new.title, "what was said beside the bytes holds");
    let made = made("One", StatisticsDelta::default());
    catalogue
        .publish_version(&claim.lease, made, at(7))
        .await
        .expect("published");
    let document = document(&catalogue, begun.id).await;
    assert_eq!(
        (document.content_hash, document.bytes, document.last_error),
        (old.content_hash, old.bytes, None)
    );
    let p2 = |version| NewVersion {
        pipeline: "p2".into(),
        ..version
    };
    // What failed is not taken for what is held, and what is held is.
    let held = NewVersion {
        title: new.title.clone(),
        ..p2(old)
    };
    let unchanged = catalogue.begin_version(&reader(), held, job_id(4), at(8)).await;
    assert!(matches!(unchanged, Ok(BeginOutcome::Unchanged(_))), "{unchanged:?}");
    start(&catalogue, &reader(), p2(new), 5, 9).await;
}

async fn upkeep_finds_every_tenant_and_what_another_pipeline_made(catalogue: Shared) {
    assert_eq!(catalogue.list_tenants().await.expect("an answer"), []);
    let other = acl("b", &[&["everyone"]]);
    start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    let published = publish_next(&catalogue, "One", 1).await;
    start(&catalogue, &reader(), version(&open(), "pending", "one"), 2, 2).await;
    start(&catalogue, &caller("b", &[]), version(&other, "x", "one"), 3, 2).await;
    assert_eq!(
        catalogue.list_tenants().await.expect("an answer"),
        [tenant("a"), tenant("b")]
    );
    let listed = async |filter: DocumentFilter| {
        let all = PageRequest {
            cursor: None,
            limit: 10,
        };
        let page = catalogue
            .list_documents(&reader(), &filter, &all)
            .await
            .expect("a page");
        page.items.iter().map(|document| document.id).collect::<Vec<_>>()
    };
    let behind = async |pipeline: &str| {
        let not_made_by = Some(pipeline.into());
        let filter = DocumentFilter::default();
        listed(DocumentFilter { not_made_by, ..filter }).await
    };
    let by = async |pipeline: &str| {
        let made_by = Some(pipeline.into());
        let filter = DocumentFilter::default();
        listed(DocumentFilter { made_by, ..filter }).await
    };
    let pipeline = made("One", StatisticsDelta::default()).pipeline;
    assert_eq!(by(&pipeline).await, [published.lease.document]);
    assert_eq!(by("another").await, []);
    assert_eq!(behind(&pipeline).await, [], "a pending one was made by none");
    assert_eq!(behind("another").await, [published.lease.document]);
}

async fn statistics_follow_what_is_published(catalogue: Shared) {
    let delta = |chunks: u64, terms: &[(u32, u32)], pieces: &[(u32, u32)]| StatisticsDelta {
        chunks,
        terms: terms.iter().map(|(term, count)| (TermId(*term), *count)).collect(),
        pieces: pieces.to_vec(),
    };
    let check = async |chunks: u64, terms: [u64; 3], pieces: [u64; 2]| {
        let asked = [1, 2, u32::MAX].map(TermId);
        let found = catalogue
            .term_statistics(&tenant("a"), &asked)
            .await
            .expect("statistics");
        assert_eq!(found.documents, chunks);
        assert_eq!(asked.map(|term| found.df.get(&term).copied().unwrap_or(0)), terms);
        let found = catalogue
            .piece_frequencies(&tenant("a"), &[7, 8])
            .await
            .expect("frequencies");
        assert_eq!(found, pieces);
        let other = catalogue
            .term_statistics(&tenant("b"), &asked)
            .await
            .expect("statistics");
        assert_eq!(
            (other.documents, other.df.len()),
            (0, 0),
            "another tenant's are its own"
        );
    };
    let publish = async |seconds: i64, statistics: StatisticsDelta| {
        let claim = claim(&catalogue, seconds).await;
        let flipped = catalogue
            .publish_version(&claim.lease, made("T", statistics), at(seconds))
            .await;
        flipped.expect("published");
    };
    check(0, [0, 0, 0], [0, 0]).await;
    let (first, _) = start(&catalogue, &reader(), version(&open(), "x", "one"), 1, 0).await;
    start(&catalogue, &reader(), version(&open(), "y", "one"), 2, 0).await;
    check(0, [0, 0, 0], [0, 0]).await;
    publish(1, delta(3, &[(1, 3), (2, 1)], &[(7, 2)])).await;
    publish(1, delta(2, &[(1, 1), (u32::MAX, 2)], &[(7, 1), (8, 1)])).await;
    check(5, [4, 1, 2], [3, 1]).await;
    start(&catalogue, &reader(), version(&open(), "x", "two"), 3, 2).await;
    publish(3, delta(1, &[(2, 1)], &[])).await;
    check(3, [1, 1, 2], [1, 1]).await;
    let purge = catalogue
        .tombstone_document(&reader(), first.id, job_id(4), at(4))
        .await
        .expect("an answer");
    assert!(purge.is_some());
    let claim = claim(&catalogue, 5).await;
    catalogue.finish_purge(&claim.lease, at(5)).await.expect("purged");
    check(2, [1, 0, 2], [1, 1]).await;
}

async fn settings_are_kept(catalogue: Shared) {
    assert_eq!(catalogue.get_setting("a").await.expect("an answer"), None);
    catalogue.set_setting("a", "1").await.expect("set");
    catalogue.set_setting("a", "2").await.expect("set");
    catalogue.set_setting("b", "é").await.expect("set");
    assert_eq!(
        catalogue.get_setting("a").await.expect("an answer").as_deref(),
        Some("2")
    );
    assert_eq!(
        catalogue.get_setting("b").await.expect("an answer").as_deref(),
        Some("é")
    );
}
