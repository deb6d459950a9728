//! Contract of every catalogue: document access and labels.

use std::future::Future;

use super::catalogue::{Shared, at, claim, job_id, open, problem, publish_next, reader, start, version};
use super::sample::{acl, caller};
use crate::access::Scope;
use crate::id::DocumentId;
use crate::seam::catalogue::DocumentPatch;

/// Runs this part of the suite.
pub(super) async fn admission_contract<F: Future<Output = Shared>>(make: impl Fn() -> F) {
    access_follows_every_change(make().await).await;
    labels_are_those_that_the_scope_admits(make().await).await;
}

/// Whether `access` says the same of a document as its row does.
async fn agrees(catalogue: &Shared, id: DocumentId, step: &str) {
    let standing = catalogue.documents_unchecked(&[id]).await.expect("an answer").pop();
    let access = catalogue.get_document_access(&[id]).await.expect("an answer").pop();
    assert_eq!(access.is_some(), standing.is_some(), "{step}");
    if let (Some(access), Some(document)) = (access, standing) {
        assert_eq!(access.id, id, "{step}");
        assert_eq!(*access.acl, document.acl, "{step}");
        assert_eq!(access.acl_revision, document.acl_revision, "{step}");
        assert_eq!(access.published, document.published, "{step}");
    }
}

async fn begin(catalogue: &Shared, uri: &str, content: &str, job: u128) -> DocumentId {
    start(catalogue, &reader(), version(&open(), uri, content), job, 0)
        .await
        .0
        .id
}

async fn access_follows_every_change(catalogue: Shared) {
    let id = begin(&catalogue, "x", "one", 1).await;
    let other = begin(&catalogue, "y", "one", 2).await;
    agrees(&catalogue, id, "begun").await;
    let both = catalogue.get_document_access(&[id, other]).await.expect("an answer");
    assert_eq!(both.len(), 2, "in one question");
    let unknown = catalogue
        .get_document_access(&[DocumentId(uuid::Uuid::from_u128(9))])
        .await;
    assert!(unknown.expect("an answer").is_empty());
    publish_next(&catalogue, "One", 1).await;
    agrees(&catalogue, id, "published").await;
    assert!(
        catalogue.get_document_access(&[id]).await.expect("an answer")[0]
            .published
            .is_some()
    );
    begin(&catalogue, "x", "two", 3).await;
    agrees(&catalogue, id, "a version waits").await;
    publish_next(&catalogue, "Two", 1).await;
    publish_next(&catalogue, "Two", 1).await;
    agrees(&catalogue, id, "replaced").await;
    let hidden = DocumentPatch {
        acl: Some(acl("a", &[&["group:g"]])),
        ..DocumentPatch::default()
    };
    let patched = catalogue
        .patch_document(&caller("a", &["group:g"]), id, hidden, at(4))
        .await
        .expect("an answer");
    assert!(patched.is_some());
    agrees(&catalogue, id, "hidden").await;
    assert!(!reader().admits(&catalogue.get_document_access(&[id]).await.expect("an answer")[0].acl));
    agrees(&catalogue, other, "its neighbour is as it was").await;
    begin(&catalogue, "z", "one", 4).await;
    let lease = claim(&catalogue, 5).await.lease;
    catalogue
        .fail_job(&lease, problem("broken"), at(5))
        .await
        .expect("failed");
    agrees(&catalogue, lease.document, "failed").await;
    catalogue
        .tombstone_document(&caller("a", &["group:g"]), id, job_id(5), at(6))
        .await
        .expect("an answer")
        .expect("a purge");
    agrees(&catalogue, id, "deleted").await;
    assert!(
        catalogue
            .get_document_access(&[id])
            .await
            .expect("an answer")
            .is_empty()
    );
    let lease = claim(&catalogue, 5).await.lease;
    catalogue.finish_purge(&lease, at(7)).await.expect("purged");
    agrees(&catalogue, id, "purged").await;
    begin(&catalogue, "x", "one", 6).await;
    agrees(&catalogue, id, "alive again").await;
    assert_eq!(
        catalogue.get_document_access(&[id]).await.expect("an answer")[0].published,
        None
    );
}

async fn labels_are_those_that_the_scope_admits(catalogue: Shared) {
    let id = begin(&catalogue, "x", "one", 1).await;
    let named = async |scope: &Scope| {
        catalogue
            .get_document_labels(scope, &[id])
            .await
            .expect("an answer")
            .pop()
    };
    let label = named(&reader()).await.expect("it is seen");
    assert_eq!((label.id, label.uri.as_str()), (id, "x"));
    assert_eq!(label.title, "x.txt", "the file's name, until a title is known");
    assert_eq!(named(&caller("b", &[])).await, None, "another tenant's");
    publish_next(&catalogue, "One", 1).await;
    assert_eq!(named(&reader()).await.expect("it is seen").title, "One");
    let hidden = DocumentPatch {
        acl: Some(acl("a", &[&["group:g"]])),
        title: Some("Given".into()),
        ..DocumentPatch::default()
    };
    let granted = caller("a", &["group:g"]);
    catalogue
        .patch_document(&granted, id, hidden, at(4))
        .await
        .expect("an answer")
        .expect("it is seen");
    assert_eq!(named(&reader()).await, None, "revoked at once");
    assert_eq!(named(&granted).await.expect("it is seen").title, "Given");
    catalogue
        .tombstone_document(&granted, id, job_id(5), at(6))
        .await
        .expect("an answer")
        .expect("a purge");
    assert_eq!(named(&granted).await, None, "deleted");
}
