//! Contract of every catalogue: attachments of a document.

use std::future::Future;
use std::sync::Arc;

use super::catalogue::{LEASE, WORKER, at, job_id, made, moment, version};
use super::sample::{acl, caller};
use crate::access::Acl;
use crate::document::{Document, DocumentStatus, JobKind};
use crate::id::{ContentHash, DocumentId};
use crate::seam::attachments::{AttachedDocument, NewAttachment};
use crate::seam::catalogue::{BeginOutcome, Catalogue, CatalogueError, ClaimedJob, DocumentPatch};

type Shared = Arc<dyn Catalogue>;

/// Runs the suite; `make` gives a fresh, empty catalogue each time.
pub async fn attachments_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    a_file_is_begun_as_its_mail_is(make().await).await;
    a_file_has_the_readers_of_its_mail(make().await).await;
    what_a_mail_lost_is_detached(make().await).await;
    a_deleted_mail_takes_no_file_and_gives_up_its_own(make().await).await;
}

fn department() -> Acl {
    acl("a", &[&["dept:x"]])
}

fn file(uri: &str, content: &str) -> NewAttachment {
    NewAttachment {
        uri: uri.into(),
        name: "file.txt".into(),
        declared_media_type: None,
        content_hash: ContentHash::of_bytes(content.as_bytes()),
        bytes: content.len() as u64,
        incoming: format!("incoming/{uri}"),
        pipeline: "pipeline".into(),
    }
}

async fn claim(catalogue: &Shared) -> ClaimedJob {
    let claim = catalogue.claim_job(WORKER, LEASE, moment(100)).await;
    claim.expect("an answer").expect("a job waits")
}

/// Begins a mail and claims its job.
async fn mail(catalogue: &Shared, content: &str, job: u128) -> ClaimedJob {
    let mut new = version(&department(), "mail", content);
    new.batch = Some(job_id(900));
    let begun = catalogue
        .begin_version(&caller("a", &["dept:x"]), new, job_id(job), at(0))
        .await;
    assert!(matches!(begun, Ok(BeginOutcome::Started(..))), "{begun:?}");
    claim(catalogue).await
}

async fn attach(catalogue: &Shared, to: &ClaimedJob, uri: &str, job: u128) -> Document {
    match catalogue
        .begin_attachment(&to.lease, file(uri, uri), job_id(job), at(1))
        .await
    {
        Ok(
            BeginOutcome::Started(document, _) | BeginOutcome::Unchanged(document) | BeginOutcome::Updated(document),
        ) => document,
        other => panic!("a file was to be taken: {other:?}"),
    }
}

async fn sees(catalogue: &Shared, reader: &str, id: DocumentId) -> bool {
    let scope = caller("a", &[reader]);
    catalogue.get_document(&scope, id).await.expect("an answer").is_some()
}

async fn a_file_is_begun_as_its_mail_is(catalogue: Shared) {
    let mail = mail(&catalogue, "one", 1).await;
    let begun = catalogue
        .begin_attachment(&mail.lease, file("mail/1", "x"), job_id(2), at(1))
        .await;
    let Ok(BeginOutcome::Started(document, job)) = begun else {
        panic!("a file starts: {begun:?}")
    };
    assert_eq!(
        (&document.acl, &document.metadata),
        (&department(), &mail.document.metadata)
    );
    assert_eq!((job.kind, job.parent), (JobKind::Ingest, Some(job_id(900))));
    let again = catalogue
        .begin_attachment(&mail.lease, file("mail/1", "x"), job_id(3), at(1))
        .await;
    assert!(matches!(again, Ok(BeginOutcome::Unchanged(_))), "{again:?}");
    let (id, by) = (document.id, mail.lease.generation);
    let attached = catalogue
        .list_attachments(mail.lease.document)
        .await
        .expect("an answer");
    assert_eq!(
        attached,
        [AttachedDocument {
            document: id,
            mail_generation: by
        }]
    );
    assert_eq!(catalogue.list_attachments(id).await.expect("an answer"), []);
    // What has the URI and is somebody else's stays as it is.
    let other = version(&acl("a", &[&["user:o"]]), "mail/2", "theirs");
    catalogue
        .begin_version(&caller("a", &["user:o"]), other, job_id(4), at(1))
        .await
        .expect("begun");
    let taken = catalogue
        .begin_attachment(&mail.lease, file("mail/2", "x"), job_id(5), at(1))
        .await;
    assert!(matches!(taken, Err(CatalogueError::UriTaken)), "{taken:?}");
    assert_eq!(
        catalogue
            .list_attachments(mail.lease.document)
            .await
            .expect("an answer")
            .len(),
        1
    );
}

async fn a_file_has_the_readers_of_its_mail(catalogue: Shared) {
    let mail = mail(&catalogue, "one", 1).await;
    let inner = attach(&catalogue, &mail, "mail/1", 2).await;
    let inner_claim = claim(&catalogue).await;
    let innermost = attach(&catalogue, &inner_claim, "mail/1/1", 3).await;
    let patch = DocumentPatch {
        acl: Some(acl("a", &[&["dept:y"]])),
        ..DocumentPatch::default()
    };
    let scope = caller("a", &["dept:x", "dept:y"]);
    let patched = catalogue
        .patch_document(&scope, mail.lease.document, patch, at(2))
        .await;
    assert!(matches!(patched, Ok(Some(_))), "{patched:?}");
    for id in [mail.lease.document, inner.id, innermost.id] {
        assert!(sees(&catalogue, "dept:y", id).await && !sees(&catalogue, "dept:x", id).await);
    }
    let held = catalogue.documents_unchecked(&[innermost.id]).await.expect("an answer");
    assert_eq!(held[0].acl_revision, innermost.acl_revision + 1);
    // And so do other readers that come with the same bytes, or with others.
    for (content, reader, job) in [("one", "dept:x", 4), ("two", "dept:y", 5)] {
        let new = version(&acl("a", &[&[reader]]), "mail", content);
        let scope = caller("a", &["dept:x", "dept:y"]);
        catalogue
            .begin_version(&scope, new, job_id(job), at(3))
            .await
            .expect("begun");
        assert!(sees(&catalogue, reader, inner.id).await, "{reader}");
        assert!(sees(&catalogue, reader, innermost.id).await, "{reader}");
        let jobs = catalogue.get_job(&caller("a", &[reader]), job_id(2)).await;
        assert!(jobs.expect("an answer").is_some(), "its job as well");
    }
}

async fn what_a_mail_lost_is_detached(catalogue: Shared) {
    let first = mail(&catalogue, "one", 1).await;
    let (kept, lost) = (
        attach(&catalogue, &first, "mail/1", 2).await,
        attach(&catalogue, &first, "mail/2", 3).await,
    );
    let none = catalogue
        .remove_attachment(&first.lease, lost.id, job_id(4), at(2))
        .await
        .expect("an answer");
    assert_eq!(none, None, "it came with this very generation");
    catalogue
        .publish_version(&first.lease, made("mail", Default::default()), at(2))
        .await
        .expect("published");
    let new = version(&department(), "mail", "two");
    let scope = caller("a", &["dept:x"]);
    catalogue
        .begin_version(&scope, new, job_id(5), at(3))
        .await
        .expect("begun");
    let second = loop {
        let claim = claim(&catalogue).await;
        if claim.lease.document == first.lease.document {
            break claim;
        }
    };
    let stale = catalogue
        .remove_attachment(&first.lease, lost.id, job_id(6), at(4))
        .await;
    assert!(matches!(stale, Err(CatalogueError::Stale)), "{stale:?}");
    attach(&catalogue, &second, "mail/1", 7).await;
    let purge = catalogue
        .remove_attachment(&second.lease, lost.id, job_id(8), at(4))
        .await;
    assert_eq!(purge.expect("an answer").expect("a purge").kind, JobKind::Purge);
    let kept_on = catalogue
        .remove_attachment(&second.lease, kept.id, job_id(9), at(4))
        .await;
    assert_eq!(kept_on.expect("an answer"), None);
    assert!(sees(&catalogue, "dept:x", kept.id).await && !sees(&catalogue, "dept:x", lost.id).await);
    let attached = catalogue
        .list_attachments(first.lease.document)
        .await
        .expect("an answer");
    assert_eq!(attached.len(), 1);
}

async fn a_deleted_mail_takes_no_file_and_gives_up_its_own(catalogue: Shared) {
    let mail = mail(&catalogue, "one", 1).await;
    let inner = attach(&catalogue, &mail, "mail/1", 2).await;
    let scope = caller("a", &["dept:x"]);
    let purge = catalogue
        .tombstone_document(&scope, mail.lease.document, job_id(3), at(2))
        .await
        .expect("an answer")
        .expect("it was there");
    let refused = catalogue
        .begin_attachment(&mail.lease, file("mail/2", "x"), job_id(4), at(3))
        .await;
    assert!(matches!(refused, Err(CatalogueError::Stale)), "{refused:?}");
    let purging = loop {
        let claim = claim(&catalogue).await;
        if claim.job.id == purge.id {
            break claim;
        }
    };
    let gone = catalogue
        .remove_attachment(&purging.lease, inner.id, job_id(5), at(4))
        .await;
    assert!(gone.expect("an answer").is_some());
    assert!(!sees(&catalogue, "dept:x", inner.id).await);
    let left = catalogue
        .list_attachments(mail.lease.document)
        .await
        .expect("an answer");
    assert_eq!(left, []);
    let rows = catalogue.get_document_refs(&[inner.id]).await.expect("an answer");
    assert_eq!(rows[0].status, DocumentStatus::Deleting);
}
