//! Contract of every catalogue: the consistency scan for `fsck`.

use std::future::Future;
use std::sync::Arc;

use super::catalogue::{LEASE, WORKER, at, job_id, made, moment, version};
use super::sample::{acl, caller, tenant};
use crate::access::Scope;
use crate::document::{DocumentStatus, JobError, JobKind};
use crate::id::{DocumentId, Generation};
use crate::rank::TermId;
use crate::seam::audit::{DocumentRefs, LiveJob};
use crate::seam::catalogue::{BeginOutcome, Catalogue, ClaimedJob, StatisticsDelta};

type Shared = Arc<dyn Catalogue>;

/// Runs the suite; `make` gives a fresh, empty catalogue each time.
pub async fn audit_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    rows_are_told_as_they_stand(make().await).await;
    pages_cover_every_tenant(make().await).await;
    what_is_lacking_is_queued_once(make().await).await;
    right_counts_stay_right(make().await).await;
    the_highest_generation_follows_the_claims(make().await).await;
}

async fn the_highest_generation_follows_the_claims(catalogue: Shared) {
    let highest = async || catalogue.highest_generation().await.expect("an answer");
    assert_eq!(highest().await, Generation(0), "nothing was drawn yet");
    begin(&catalogue, "x", 1).await;
    let generation = publish(&catalogue).await;
    assert!(highest().await >= generation);
    let before = highest().await;
    begin(&catalogue, "y", 2).await;
    let claimed = claim(&catalogue).await.lease.generation;
    assert!(claimed > before, "it was drawn after that");
    assert!(highest().await >= claimed, "a claim is enough");
}

fn writer() -> Scope {
    caller("a", &[])
}

async fn begin(catalogue: &Shared, uri: &str, job: u128) -> DocumentId {
    let new = version(&acl("a", &[&["everyone"]]), uri, &format!("{uri} {job}"));
    match catalogue.begin_version(&writer(), new, job_id(job), at(0)).await {
        Ok(BeginOutcome::Started(document, _)) => document.id,
        other => panic!("a version was to start: {other:?}"),
    }
}

async fn claim(catalogue: &Shared) -> ClaimedJob {
    let claim = catalogue
        .claim_job(WORKER, LEASE, moment(100))
        .await
        .expect("a claim is answered");
    claim.expect("a job waits")
}

async fn publish(catalogue: &Shared) -> Generation {
    let claim = claim(catalogue).await;
    catalogue.mark_original_stored(&claim.lease).await.expect("noted");
    let statistics = StatisticsDelta {
        chunks: 3,
        terms: vec![(TermId(7), 2)],
        pieces: vec![(1, 3)],
    };
    let published = catalogue
        .publish_version(&claim.lease, made("t", statistics), at(2))
        .await;
    published.expect("published");
    claim.lease.generation
}

async fn named(catalogue: &Shared, document: DocumentId) -> Option<DocumentRefs> {
    catalogue.get_document_refs(&[document]).await.expect("an answer").pop()
}

async fn rows_are_told_as_they_stand(catalogue: Shared) {
    let id = begin(&catalogue, "x", 1).await;
    let begun = named(&catalogue, id).await.expect("a row");
    assert_eq!((begun.document, &begun.tenant), (id, &tenant("a")));
    assert_eq!((begun.published, begun.stored, begun.counted), (None, None, None));
    assert_eq!(begun.incoming_key(), Some("incoming/x"));
    assert!(begun.is_being_ingested());
    let generation = publish(&catalogue).await;
    let published = named(&catalogue, id).await.expect("a row");
    assert_eq!(published.status, DocumentStatus::Published);
    assert_eq!(
        (published.published, published.stored),
        (Some(generation), Some(generation))
    );
    assert_eq!((published.chunks, published.counted), (3, Some(3)));
    assert!(published.incoming_key().is_none() && published.jobs.is_empty());

    begin(&catalogue, "x", 2).await;
    let claim = claim(&catalogue).await;
    let running = named(&catalogue, id).await.expect("a row");
    let job = LiveJob {
        kind: JobKind::Ingest,
        generation: claim.lease.generation,
    };
    assert_eq!((running.published, running.jobs), (Some(generation), vec![job]));

    let purge = catalogue.tombstone_document(&writer(), id, job_id(3), at(3)).await;
    let purge = purge.expect("an answer").expect("it was there");
    let deleted = named(&catalogue, id).await.expect("a tombstone is a row");
    let job = LiveJob {
        kind: JobKind::Purge,
        generation: purge.generation,
    };
    assert_eq!((deleted.status, deleted.jobs), (DocumentStatus::Deleting, vec![job]));
    let claim = self::claim(&catalogue).await;
    catalogue.finish_purge(&claim.lease, at(4)).await.expect("purged");
    assert_eq!(named(&catalogue, id).await, None);
}

async fn pages_cover_every_tenant(catalogue: Shared) {
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(begin(&catalogue, &n.to_string(), n).await);
    }
    let other = version(&acl("b", &[&["everyone"]]), "x", "x");
    ids.push(other.document_id());
    let begun = catalogue
        .begin_version(&caller("b", &[]), other, job_id(9), at(0))
        .await;
    begun.expect("another tenant's");
    ids.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = catalogue.list_document_refs(after, 4).await.expect("an answer");
        assert!(page.len() <= 4);
        match page.last() {
            Some(last) => after = Some(last.document),
            None => break,
        }
        found.extend(page.into_iter().map(|row| row.document));
    }
    assert_eq!(found, ids);
}

async fn what_is_lacking_is_queued_once(catalogue: Shared) {
    let id = begin(&catalogue, "x", 1).await;
    let again = async |job| {
        catalogue
            .queue_repair(id, "other", job_id(job), at(5))
            .await
            .expect("an answer")
    };
    assert_eq!(again(2).await, None, "its job is live");
    let generation = publish(&catalogue).await;
    let job = again(3).await.expect("it is published and nothing is live");
    assert_eq!((job.kind, job.id), (JobKind::Ingest, job_id(3)));
    assert_eq!(again(4).await, None, "once");
    let claim = claim(&catalogue).await;
    assert_eq!(
        claim.original,
        crate::seam::catalogue::OriginalLocation::Stored(generation)
    );
    let purge = catalogue.tombstone_document(&writer(), id, job_id(5), at(6)).await;
    purge.expect("an answer").expect("it was there");
    assert_eq!(again(6).await, None, "its purge is live");
    let claim = self::claim(&catalogue).await;
    let error = JobError {
        code: "gave_up".into(),
        detail: "what and which".into(),
        hint: "what next".into(),
    };
    catalogue.fail_job(&claim.lease, error, at(7)).await.expect("noted");
    let job = again(7).await.expect("its purge ended before its time");
    assert_eq!(job.kind, JobKind::Purge);
    let claim = self::claim(&catalogue).await;
    catalogue.finish_purge(&claim.lease, at(8)).await.expect("purged");
    assert_eq!(again(8).await, None, "there is nothing left");
}

async fn right_counts_stay_right(catalogue: Shared) {
    for n in 1..4 {
        begin(&catalogue, &n.to_string(), n).await;
        publish(&catalogue).await;
    }
    assert!(catalogue.find_miscounted_tenants().await.expect("an answer").is_empty());
    let count = async || {
        let found = catalogue
            .term_statistics(&tenant("a"), &[TermId(7)])
            .await
            .expect("an answer");
        (found.documents, found.df[&TermId(7)])
    };
    assert_eq!(count().await, (9, 6));
    catalogue.recount_term_statistics().await.expect("counted");
    assert_eq!(count().await, (9, 6));
    begin(&catalogue, "1", 9).await;
    publish(&catalogue).await;
    assert_eq!(
        count().await,
        (9, 6),
        "what is replaced after a recount is taken off once"
    );
    assert!(catalogue.find_miscounted_tenants().await.expect("an answer").is_empty());
}
