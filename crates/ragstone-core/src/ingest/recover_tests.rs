//! A catalogue made again from the blobs: equal where it can be, and never more open, wherever the process died.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStoreExt;
use serde_json::json;
use time::OffsetDateTime;

use super::*;
use crate::access::{Acl, Principal, Reader, Role};
use crate::document::{BoundedMetadata, Document, DocumentStatus};
use crate::id::{DocumentId, TenantId};
use crate::library::SearchRequest;
use crate::library::layout::BlobKey;
use crate::seam::Catalogue;
use crate::seam::audit::ConsistencyScan;
use crate::seam::catalogue::{DocumentFilter, DocumentPatch, PageRequest};
use crate::seam::fake::faults::{Event, Fault, Faults};
use crate::seam::fake::{House, WORKER, upload, writer};
use crate::seam::manifest::ManifestStore;

const LAMP: &str = "The lamp stands on the table.\x0cThe lamp burns all night.";
const SHIP: &str = "A ship leaves.\x0cThe ship is late.";
const MAIL: &str = "A mail about a lamp.\x1eplan.txt\nThe harvest begins in June.";
/// More calls than any story makes.
const MOST_CALLS: usize = 400;

fn operator(tenant: TenantId) -> Principal {
    Principal::local_operator_of(tenant)
}

/// The library that a recovery makes of the blobs of `house`, with its points.
async fn recovered(house: &House) -> (House, RecoveryCounts) {
    let again = House::of_blobs(&house.blobs);
    let told = again.ingestor.importer().recover_catalogue(operator).await.unwrap();
    (again, told)
}

/// Every document of tenant `a`, as the operator sees them.
async fn documents(house: &House) -> Vec<Document> {
    let scope = operator("a".parse().unwrap()).scope();
    let page = PageRequest {
        cursor: None,
        limit: 1_000,
    };
    let filter = DocumentFilter::default();
    let mut all = house
        .catalogue
        .list_documents(&scope, &filter, &page)
        .await
        .unwrap()
        .items;
    all.sort_unstable_by_key(|document| document.id);
    all
}

async fn rebuild(house: &House) {
    for document in documents(house).await {
        let principal = operator(document.acl.tenant);
        house
            .ingestor
            .uploads()
            .queue_reingest(&principal, document.id)
            .await
            .unwrap();
    }
    house.work().await;
}

async fn finds(house: &House, caller: &Principal, query: &str) -> Vec<String> {
    let request = SearchRequest::new(query, 20);
    let found = house.library.search(&caller.scope(), &request).await.unwrap();
    let mut texts: Vec<_> = found.passages.into_iter().map(|p| p.chunk.text.clone()).collect();
    texts.sort_unstable();
    texts
}

fn readers(names: &[&str]) -> Acl {
    let names = names.iter().map(|name| name.parse().expect("a reader"));
    Acl::any_of("a".parse().unwrap(), names)
}

fn patched(acl: Acl) -> DocumentPatch {
    DocumentPatch {
        acl: Some(acl),
        ..DocumentPatch::default()
    }
}

#[tokio::test]
async fn everything_comes_back_as_it_was() {
    let house = House::new();
    let (law, caller) = (writer("a", &["dept:law", "dept:sea"]), writer("a", &[]));
    house.ingest(&caller, "lamp.txt", &["everyone"], LAMP).await;
    let ship = house.ingest(&law, "ship.txt", &["dept:law"], SHIP).await;
    house.ingest(&caller, "m.eml", &["everyone"], MAIL).await;
    let patch = DocumentPatch {
        title: Some("Ships".into()),
        metadata: json!({ "year": 1912 })
            .as_object()
            .cloned()
            .map(BoundedMetadata::from_stored),
        source_url: Some("https://example.com/ship".parse().ok()),
        acl: Some(Acl {
            sets: vec![
                readers(&["dept:law", "dept:sea"]).sets[0].clone(),
                readers(&["everyone"]).sets[0].clone(),
            ],
            ..readers(&[])
        }),
        ..DocumentPatch::default()
    };
    house
        .ingestor
        .uploads()
        .patch_document(&law, ship, patch)
        .await
        .unwrap();
    let before = documents(&house).await;
    let found = finds(&house, &law, "ship lamp harvest").await;
    let (again, told) = recovered(&house).await;
    let whole = RecoveryCounts {
        documents: 4,
        ..RecoveryCounts::default()
    };
    assert_eq!(told, whole);
    assert_eq!(documents(&again).await, before, "to the letter");
    rebuild(&again).await;
    assert_eq!(finds(&again, &law, "ship lamp harvest").await, found);
    assert!(
        !finds(&again, &caller, "ship")
            .await
            .iter()
            .any(|text| text.contains("ship")),
        "who could not read it before cannot now"
    );
    let report = again
        .ingestor
        .consistency()
        .run_fsck(fsck::RepairOptions::default(), UploadSharing::Exclusive)
        .await
        .unwrap();
    assert!(report.orphans.is_empty(), "{report:?}");
    // The files in the mail are still its own.
    let mail = DocumentId::from_uri(caller.tenant(), &before[0].collection, &before[0].source, "m.eml");
    again.ingestor.uploads().delete_document(&caller, mail).await.unwrap();
    let left = finds(&again, &caller, "harvest").await;
    assert!(!left.iter().any(|text| text.contains("harvest")), "{left:?}");
}

#[tokio::test]
async fn it_may_be_repeated() {
    let house = House::new();
    house.ingest(&writer("a", &[]), "lamp.txt", &["everyone"], LAMP).await;
    let (again, _) = recovered(&house).await;
    let before = documents(&again).await;
    let told = again.ingestor.importer().recover_catalogue(operator).await.unwrap();
    assert_eq!((told.documents, told.present), (0, 1));
    assert_eq!(documents(&again).await, before);
}

#[tokio::test]
async fn generations_go_on_above_what_is_stored() {
    let house = House::new();
    house.ingest(&writer("a", &[]), "lamp.txt", &["everyone"], LAMP).await;
    let (again, _) = recovered(&house).await;
    let stored = documents(&again).await[0].published.unwrap();
    again.ingest(&writer("a", &[]), "ship.txt", &["everyone"], SHIP).await;
    let newer = documents(&again).await;
    assert!(newer.iter().any(|document| document.published > Some(stored)));
}

#[tokio::test]
async fn what_has_no_manifest_is_the_operators_alone() {
    let house = House::new();
    let caller = writer("a", &[]);
    house.ingest(&caller, "lamp.txt", &["everyone"], LAMP).await;
    let accepted = house.accept(&caller, "ship.txt", &["everyone"], SHIP).await;
    drop(accepted);
    for key in keys(&house, |key| matches!(key, BlobKey::Manifest(..))).await {
        house.blobs.delete(&key).await.unwrap();
    }
    let (again, told) = recovered(&house).await;
    assert_eq!((told.documents, told.without_manifest), (0, 2));
    again.work().await;
    let lamp = &documents(&again).await[0];
    assert!(lamp.uri.starts_with("recovered://"), "{}", lamp.uri);
    assert!(lamp.title.contains("Recovered"), "{}", lamp.title);
    assert!(finds(&again, &caller, "lamp").await.is_empty());
    let everything = operator("a".parse().unwrap());
    assert_eq!(finds(&again, &everything, "lamp").await.len(), 2);
    let told = again.ingestor.importer().recover_catalogue(operator).await.unwrap();
    assert_eq!(told.without_manifest, 0, "its old place is in quarantine");
}

#[tokio::test]
async fn a_damaged_manifest_opens_nothing() {
    let house = House::new();
    let caller = writer("a", &[]);
    house.ingest(&caller, "lamp.txt", &["everyone"], LAMP).await;
    for key in keys(&house, |key| matches!(key, BlobKey::Manifest(..))).await {
        house.blobs.put(&key, "{\"library\":".into()).await.unwrap();
    }
    let (again, told) = recovered(&house).await;
    assert_eq!((told.damaged, told.without_manifest), (1, 1));
    again.work().await;
    assert!(finds(&again, &caller, "lamp").await.is_empty());
}

#[tokio::test]
async fn what_came_in_a_mail_that_is_closed_is_closed() {
    let house = House::new();
    let caller = writer("a", &[]);
    let mail = house.ingest(&caller, "m.eml", &["everyone"], MAIL).await;
    // Somebody died after noting that, and before anything else.
    house
        .ingestor
        .uploads()
        .manifests
        .write_closing_note(caller.tenant(), mail)
        .await
        .unwrap();
    let (again, told) = recovered(&house).await;
    assert_eq!((told.documents, told.closed), (2, 2));
    for document in documents(&again).await {
        assert!(!caller.scope().admits(&document.acl), "{}", document.uri);
    }
}

#[tokio::test]
async fn a_deleted_document_stays_deleted() {
    let house = House::new();
    let caller = writer("a", &[]);
    let lamp = house.ingest(&caller, "lamp.txt", &["everyone"], LAMP).await;
    house.ingestor.uploads().delete_document(&caller, lamp).await.unwrap();
    // Its purge was never done.
    let (again, told) = recovered(&house).await;
    assert_eq!((told.documents, told.without_manifest, told.deleted), (0, 0, 1));
    assert!(documents(&again).await.is_empty());
    let left = (again.blob_count().await, again.record_count().await);
    assert_eq!(left, (0, 0), "nor is it kept anywhere");
}

#[tokio::test]
async fn a_document_that_was_begun_again_is_its_new_life_alone() {
    let house = House::new();
    let caller = writer("a", &["dept:law"]);
    let lamp = house.ingest(&caller, "lamp.txt", &["dept:law"], LAMP).await;
    house
        .ingestor
        .uploads()
        .patch_document(&caller, lamp, patched(readers(&["everyone"])))
        .await
        .unwrap();
    house.ingestor.uploads().delete_document(&caller, lamp).await.unwrap();
    house.accept(&caller, "lamp.txt", &["dept:law"], SHIP).await;
    // Neither was worked on: the first life's readers are the only ones that a manifest knows of.
    let (again, _) = recovered_copy(&house).await;
    let outsider = writer("a", &[]);
    for document in documents(&again).await {
        assert!(!outsider.scope().admits(&document.acl), "{document:?}");
    }
    house.work().await;
    let (again, told) = recovered_copy(&house).await;
    assert_eq!((told.documents, told.closed), (1, 0));
    assert_eq!(documents(&again).await[0].acl, readers(&["dept:law"]));
}

async fn keys(house: &House, wanted: impl Fn(&BlobKey) -> bool) -> Vec<object_store::path::Path> {
    use futures::TryStreamExt;
    use object_store::ObjectStore;
    let listed: Vec<_> = house.blobs.list(None).try_collect().await.unwrap();
    let keys = listed.into_iter().map(|blob| blob.location);
    keys.filter(|key| wanted(&BlobKey::from_path(key))).collect()
}

/// What is done to a document that everyone reads.
#[derive(Debug, Clone, Copy)]
enum Change {
    Patch,
    /// Other bytes, for other readers.
    Upload,
    /// The same bytes, for other readers.
    SameBytes,
    Delete,
}

impl Change {
    async fn is_made(self, ingestor: &Ingestor, caller: &Principal, document: DocumentId) {
        let send = async |text: &'static str| {
            let upload = upload(caller, "x.txt", &["dept:law"]);
            let bytes = futures::stream::iter([Ok::<_, String>(bytes::Bytes::from_static(text.as_bytes()))]);
            drop(ingestor.uploads().accept_upload(caller, upload, bytes).await);
        };
        match self {
            Self::Patch => drop(
                ingestor
                    .uploads()
                    .patch_document(caller, document, patched(readers(&["dept:law"])))
                    .await,
            ),
            Self::Upload => send(SHIP).await,
            Self::SameBytes => send(LAMP).await,
            Self::Delete => drop(ingestor.uploads().delete_document(caller, document).await),
        }
    }
}

const CHANGES: [Change; 4] = [Change::Patch, Change::Upload, Change::SameBytes, Change::Delete];

/// Nobody but the operator reads a recovered document whom the catalogue does not let read it.
async fn is_no_more_open(house: &House, what: &str) {
    let (again, _) = recovered_copy(house).await;
    let kept = documents(house).await;
    for document in documents(&again).await {
        for reader in [writer("a", &[]), writer("a", &["dept:law"])] {
            let scope = reader.scope();
            let lives = |kept: &&Document| {
                kept.id == document.id && kept.status != DocumentStatus::Deleting && scope.admits(&kept.acl)
            };
            assert!(
                !scope.admits(&document.acl) || kept.iter().any(|kept| lives(&kept)),
                "{what}: {} is open to {reader:?}",
                document.uri
            );
        }
    }
}

/// A recovery from a copy of the blobs, so that the library goes on with its own.
async fn recovered_copy(house: &House) -> (House, RecoveryCounts) {
    let copy = Arc::new(object_store::memory::InMemory::new());
    for key in keys(house, |_| true).await {
        let bytes = house.blobs.get(&key).await.unwrap().bytes().await.unwrap();
        copy.put(&key, bytes.into()).await.unwrap();
    }
    let again = House::of_blobs(&copy);
    let told = again.ingestor.importer().recover_catalogue(operator).await.unwrap();
    (again, told)
}

/// Makes a change with `fault` at the `n`-th call, works, and looks at every stop; false if there was no such call.
async fn with_fault(change: Change, published: bool, fault: Fault, n: usize) -> bool {
    let faults = Arc::new(Faults::default());
    let (mut house, caller) = (House::failing(&faults), writer("a", &["dept:law"]));
    let begun = house.accept(&caller, "x.txt", &["everyone"], LAMP).await;
    let crate::seam::catalogue::BeginOutcome::Started(document, _) = begun else {
        panic!("it starts");
    };
    if published {
        house.work().await;
    }
    faults.at(n, Event::Fails(fault));
    change.is_made(&house.ingestor, &caller, document.id).await;
    let what = format!("{change:?} (published: {published}) with {fault:?} at call {n}");
    is_no_more_open(&house, &what).await;
    // One step of work after the other.
    for _ in 0..5 {
        drop(house.ingestor.runner().run_next(WORKER).await);
        is_no_more_open(&house, &what).await;
    }
    let came = faults.heal();
    house.restart().await;
    house.wait(1_000);
    house.work().await;
    house.sweep().await;
    house.work().await;
    is_no_more_open(&house, &format!("{what}, {came:?}, swept")).await;
    came.is_some()
}

#[tokio::test]
async fn wherever_it_dies_nothing_is_more_open_than_the_catalogue() {
    for change in CHANGES {
        for published in [true, false] {
            for fault in [Fault::Dead, Fault::Refused, Fault::Lost] {
                let mut n = 1;
                while with_fault(change, published, fault, n).await {
                    n += 1;
                    assert!(n < MOST_CALLS, "the story ends");
                }
                assert!(n > 3, "{change:?}: {n} calls");
            }
        }
    }
}

/// A change that comes between two calls of the work on a version, after which the process dies at each further call.
async fn with_change_between(change: Change, published: bool, n: usize) -> bool {
    let faults = Arc::new(Faults::default());
    let (house, caller) = (House::failing(&faults), writer("a", &["dept:law"]));
    if published {
        house.ingest(&caller, "x.txt", &["everyone"], SHIP).await;
    }
    let begun = house.accept(&caller, "x.txt", &["everyone"], LAMP).await;
    let crate::seam::catalogue::BeginOutcome::Started(document, _) = begun else {
        panic!("it starts");
    };
    let what = format!("{change:?} between, at call {n} (published: {published})");
    let house = Arc::new(house);
    let between: BoxFuture<'static, ()> = {
        let (house, caller, what) = (house.clone(), caller.clone(), what.clone());
        async move {
            change.is_made(&house.another(), &caller, document.id).await;
            is_no_more_open(&house, &what).await;
        }
        .boxed()
    };
    faults.at(n, Event::After(between));
    for _ in 0..5 {
        drop(house.ingestor.runner().run_next(WORKER).await);
        is_no_more_open(&house, &what).await;
    }
    faults.heal().is_some()
}

#[tokio::test]
async fn a_change_during_the_work_on_a_version_is_not_forgotten() {
    for change in [Change::Patch, Change::Delete] {
        for published in [true, false] {
            let mut n = 1;
            while with_change_between(change, published, n).await {
                n += 1;
                assert!(n < MOST_CALLS, "the story ends");
            }
            assert!(n > 10, "{change:?}: {n} calls");
        }
    }
}

#[tokio::test]
async fn a_reader_is_no_operator() {
    // The tests above compare by these scopes.
    let tenant: TenantId = "a".parse().unwrap();
    let closed = Acl::any_of(tenant.clone(), [Reader::nobody()]);
    assert!(!writer("a", &[]).scope().admits(&closed));
    assert!(operator(tenant).scope().admits(&closed));
    assert_eq!(operator(TenantId::default()).role(), Role::Admin);
}

#[tokio::test]
async fn the_sweep_writes_the_manifests_that_a_library_lacks() {
    let house = House::new();
    let caller = writer("a", &["dept:law"]);
    house.ingest(&caller, "lamp.txt", &["everyone"], LAMP).await;
    for key in keys(&house, |key| matches!(key, BlobKey::Manifest(..))).await {
        house.blobs.delete(&key).await.unwrap();
    }
    house.sweep().await;
    let (again, told) = recovered_copy(&house).await;
    assert_eq!((told.documents, told.without_manifest), (1, 0));
    assert_eq!(documents(&again).await, documents(&house).await);
    // An earlier release changes the readers, and knows of no manifest.
    let lamp = documents(&house).await[0].id;
    let (scope, now) = (caller.scope(), OffsetDateTime::UNIX_EPOCH + Duration::from_secs(9));
    let patch = patched(readers(&["dept:law", "everyone"]));
    house.catalogue.patch_document(&scope, lamp, patch, now).await.unwrap();
    house.sweep().await;
    let (again, _) = recovered_copy(&house).await;
    assert_eq!(documents(&again).await, documents(&house).await);
    assert_eq!(house.catalogue.list_document_refs(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn readers_that_are_older_than_the_manifest_show_an_older_database() {
    let house = House::new();
    let caller = writer("a", &["dept:law"]);
    let lamp = house.ingest(&caller, "lamp.txt", &["everyone"], LAMP).await;
    let before = recovered_copy(&house).await.0;
    house
        .ingestor
        .uploads()
        .patch_document(&caller, lamp, patched(readers(&["dept:law"])))
        .await
        .unwrap();
    // The catalogue of before over the blobs of now.
    let old = House::of_blobs(&house.blobs);
    let page = PageRequest { cursor: None, limit: 9 };
    let all = before
        .catalogue
        .list_documents(
            &operator("a".parse().unwrap()).scope(),
            &DocumentFilter::default(),
            &page,
        )
        .await
        .unwrap();
    assert_eq!(all.items.len(), 1);
    let manifest = before.catalogue.get_manifest(lamp).await.unwrap().unwrap();
    old.catalogue.recover_document(&manifest).await.unwrap();
    old.catalogue
        .raise_generation(manifest.document.generation)
        .await
        .unwrap();
    let swept = old.ingestor.consistency().sweep_stores(UploadSharing::Exclusive).await;
    assert!(
        matches!(swept, Err(fsck::FsckError::OlderReaders { document }) if document == lamp),
        "{swept:?}"
    );
}
