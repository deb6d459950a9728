//! Contract of every catalogue: reading manifests, and recovering rows from them.

use std::future::Future;
use std::sync::Arc;

use super::catalogue::{LEASE, WORKER, at, job_id, made, moment, version};
use super::sample::{acl, caller};
use crate::document::{Document, JobKind};
use crate::id::{ContentHash, DocumentId, Generation};
use crate::seam::attachments::{AttachedDocument, NewAttachment};
use crate::seam::catalogue::{BeginOutcome, Catalogue, DocumentPatch, StatisticsDelta};
use crate::seam::manifest::{DocumentManifest, RevisionStamp};

type Shared = Arc<dyn Catalogue>;

/// Runs the suite; `make` gives a fresh, empty catalogue each time.
pub async fn manifest_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    only_what_is_published_has_a_manifest(make().await).await;
    a_row_is_made_again_as_it_was(make().await, make().await).await;
    what_has_a_row_keeps_it(make().await, make().await).await;
    what_is_attached_stays_attached(make().await, make().await).await;
    generations_are_raised_and_never_lowered(make().await).await;
}

async fn begin(catalogue: &Shared, uri: &str, content: &str, job: u128) -> DocumentId {
    let mut new = version(&acl("a", &[&["group:g"], &["everyone", "user:ü"]]), uri, content);
    new.title = (job % 2 == 1).then(|| format!("Title of {uri}"));
    new.brought_by = Some("ada".into());
    new.department_id = Some("x".into());
    new.source_url = "https://example.org/ü".parse().ok();
    let scope = caller("a", &["group:g", "user:ü"]);
    match catalogue.begin_version(&scope, new, job_id(job), at(1)).await {
        Ok(BeginOutcome::Started(document, _)) => document.id,
        other => panic!("a version was to start: {other:?}"),
    }
}

/// Publishes what waits next.
async fn publish(catalogue: &Shared) {
    let claim = catalogue.claim_job(WORKER, LEASE, moment(100)).await;
    let lease = claim.expect("an answer").expect("a job waits").lease;
    catalogue.mark_original_stored(&lease).await.expect("noted");
    let version = made("t", StatisticsDelta::default());
    catalogue
        .publish_version(&lease, version, at(2))
        .await
        .expect("published");
}

async fn manifest(catalogue: &Shared, document: DocumentId) -> Option<DocumentManifest> {
    catalogue.get_manifest(document).await.expect("an answer")
}

async fn standing(catalogue: &Shared, document: DocumentId) -> Document {
    let mut found = catalogue.documents_unchecked(&[document]).await.expect("an answer");
    found.pop().expect("a document")
}

async fn only_what_is_published_has_a_manifest(catalogue: Shared) {
    let id = begin(&catalogue, "x", "x", 1).await;
    assert_eq!(manifest(&catalogue, id).await, None);
    assert_eq!(manifest(&catalogue, DocumentId(uuid::Uuid::nil())).await, None);
    publish(&catalogue).await;
    let found = manifest(&catalogue, id).await.expect("it is published");
    let document = standing(&catalogue, id).await;
    assert_eq!(Some(found.document.generation), document.published);
    assert_eq!(
        found.stamp(),
        RevisionStamp::new(document.acl_revision, document.updated_at)
    );
    let rows = catalogue.get_document_refs(&[id]).await.expect("an answer");
    assert_eq!(rows[0].stamp, found.stamp(), "to be compared with a listing");
    assert_eq!(found.document.statistics, StatisticsDelta::default());
    // A newer version that is not published yet changes nothing of the file that is.
    begin(&catalogue, "x", "other bytes", 3).await;
    let later = manifest(&catalogue, id).await.expect("it is still published");
    assert_eq!(later.document.content_hash, found.document.content_hash);
    let scope = caller("a", &["group:g", "user:ü"]);
    let purge = catalogue.tombstone_document(&scope, id, job_id(5), at(3)).await;
    purge.expect("an answer").expect("it was there");
    assert_eq!(manifest(&catalogue, id).await, None);
}

async fn a_row_is_made_again_as_it_was(from: Shared, to: Shared) {
    for (uri, job) in [("given", 1), ("found", 2)] {
        let id = begin(&from, uri, uri, job).await;
        publish(&from).await;
        let found = manifest(&from, id).await.expect("a manifest");
        assert!(to.recover_document(&found).await.expect("an answer"));
        assert_eq!(standing(&to, id).await, standing(&from, id).await);
        assert_eq!(manifest(&to, id).await, Some(found));
        // It is made again by jobs like any other document's.
        let scope = caller("a", &["group:g", "user:ü"]);
        let again = to.queue_reingest(&scope, id, "another", job_id(job + 10), at(4)).await;
        assert!(again.expect("an answer").is_some(), "{uri}");
        publish(&to).await;
        let (before, after) = (standing(&from, id).await, standing(&to, id).await);
        assert_eq!(
            (after.title, after.acl, after.version),
            (before.title, before.acl, before.version)
        );
        assert_eq!(after.content_hash, before.content_hash);
    }
}

async fn what_has_a_row_keeps_it(from: Shared, to: Shared) {
    let id = begin(&from, "x", "x", 1).await;
    publish(&from).await;
    let found = manifest(&from, id).await.expect("a manifest");
    begin(&to, "x", "another", 1).await;
    let before = standing(&to, id).await;
    assert!(!to.recover_document(&found).await.expect("an answer"));
    assert_eq!(standing(&to, id).await, before);
}

async fn what_is_attached_stays_attached(from: Shared, to: Shared) {
    let mail = begin(&from, "mail", "mail", 1).await;
    let claim = from.claim_job(WORKER, LEASE, moment(100)).await;
    let lease = claim.expect("an answer").expect("a job waits").lease;
    from.mark_original_stored(&lease).await.expect("noted");
    let attachment = NewAttachment {
        uri: "mail#attachment/1/x".into(),
        name: "x".into(),
        declared_media_type: None,
        content_hash: ContentHash::of_bytes(b"x"),
        bytes: 1,
        incoming: "incoming/x".into(),
        pipeline: "pipeline".into(),
    };
    let begun = from.begin_attachment(&lease, attachment, job_id(2), at(1)).await;
    let Ok(BeginOutcome::Started(file, _)) = begun else {
        panic!("a file was to start: {begun:?}")
    };
    let version = made("t", StatisticsDelta::default());
    from.publish_version(&lease, version, at(2)).await.expect("published");
    publish(&from).await;
    for id in [file.id, mail] {
        let found = manifest(&from, id).await.expect("a manifest");
        assert_eq!(found.attached_to, (id == file.id).then_some(mail));
        assert!(to.recover_document(&found).await.expect("an answer"));
    }
    let by = Generation(0);
    let document = file.id;
    assert_eq!(
        to.list_attachments(mail).await.expect("an answer"),
        [AttachedDocument {
            document,
            mail_generation: by
        }]
    );
    // It has the mail's readers, and goes with it.
    let scope = caller("a", &["group:g", "user:ü"]);
    let patch = DocumentPatch {
        acl: Some(acl("a", &[&["group:g"]])),
        ..DocumentPatch::default()
    };
    to.patch_document(&scope, mail, patch, at(5)).await.expect("an answer");
    assert_eq!(standing(&to, document).await.acl, acl("a", &[&["group:g"]]));
    let purge = to.tombstone_document(&scope, mail, job_id(7), at(6)).await;
    assert_eq!(purge.expect("an answer").map(|job| job.kind), Some(JobKind::Purge));
}

async fn generations_are_raised_and_never_lowered(catalogue: Shared) {
    let highest = async || catalogue.highest_generation().await.expect("an answer");
    catalogue.raise_generation(Generation(0)).await.expect("nothing");
    catalogue.raise_generation(Generation(70)).await.expect("raised");
    assert_eq!(highest().await, Generation(70));
    catalogue.raise_generation(Generation(7)).await.expect("nothing");
    assert_eq!(highest().await, Generation(70));
    begin(&catalogue, "x", "x", 1).await;
    let claim = catalogue.claim_job(WORKER, LEASE, moment(100)).await;
    let lease = claim.expect("an answer").expect("a job waits").lease;
    assert!(lease.generation > Generation(70));
}
