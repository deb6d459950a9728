//! Which catalogue is accepted with which blobs.

use object_store::memory::InMemory;

use super::*;
use crate::seam::audit::ConsistencyScan;
use crate::seam::fake::{House, MemoryCatalogue, writer};

const LAMP: &str = "The lamp stands.";

/// A library that was started once, and ingested these.
async fn library(documents: usize) -> House {
    let house = House::new();
    start(&house, house.catalogue.as_ref()).await.unwrap();
    for n in 0..documents {
        let uri = format!("{n}.txt");
        house.ingest(&writer("a", &[]), &uri, &["everyone"], LAMP).await;
    }
    house.ingestor.marker().mark_generation().await.unwrap();
    house
}

/// Starts with this catalogue over the blobs of `house`.
async fn start(house: &House, catalogue: &MemoryCatalogue) -> Result<String, MarkError> {
    claim_stores(catalogue, house.blobs.as_ref(), "drawn", StoreOwners::One).await
}

fn refused(started: Result<String, MarkError>) -> StoreMismatch {
    match started {
        Err(MarkError::Mismatch(mismatch)) => mismatch,
        other => panic!("it was to be refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_library_is_itself_at_every_start() {
    let house = library(3).await;
    for _ in 0..2 {
        assert_eq!(start(&house, &house.catalogue).await.unwrap(), "drawn");
    }
    let marked = marked_generation(house.blobs.as_ref()).await.unwrap();
    let published = house.catalogue.list_document_refs(None, 9).await.unwrap();
    let newest = published.iter().filter_map(|row| row.published).max();
    assert_eq!(marked, newest);
}

#[tokio::test]
async fn a_mark_that_lags_refuses_nobody_and_never_goes_back() {
    let house = library(1).await;
    let before = marked_generation(house.blobs.as_ref()).await.unwrap().unwrap();
    // The process is killed after its commits and before the mark.
    house.ingest(&writer("a", &[]), "late.txt", &["everyone"], LAMP).await;
    start(&house, &house.catalogue).await.unwrap();
    advance_mark(house.blobs.as_ref(), Generation(before.0 - 1))
        .await
        .unwrap();
    assert_eq!(marked_generation(house.blobs.as_ref()).await.unwrap(), Some(before));
}

#[tokio::test]
async fn a_missing_database_is_refused_while_there_are_originals() {
    let house = library(1).await;
    let missing = MemoryCatalogue::default();
    assert_eq!(refused(start(&house, &missing).await), StoreMismatch::Empty);
    assert_eq!(
        refused(start(&house, &missing).await),
        StoreMismatch::Empty,
        "the refusal leaves nothing that would let the next start through"
    );
    let nothing = library(0).await;
    start(&nothing, &missing).await.unwrap();
}

#[tokio::test]
async fn an_older_database_is_refused() {
    let house = library(3).await;
    let older = library(1).await;
    let mismatch = refused(start(&house, &older.catalogue).await);
    assert!(matches!(mismatch, StoreMismatch::Older { .. }), "{mismatch}");
    start(&older, &house.catalogue).await.expect("newer than the mark");
}

#[tokio::test]
async fn another_librarys_database_is_refused() {
    let (house, other) = (library(1).await, library(3).await);
    other.catalogue.set_setting(LIBRARY_SETTING, "another").await.unwrap();
    assert_eq!(refused(start(&house, &other.catalogue).await), StoreMismatch::Foreign);
    let empty = library(0).await;
    assert_eq!(
        refused(start(&empty, &other.catalogue).await),
        StoreMismatch::Foreign,
        "it may be that of a library that holds nothing yet"
    );
}

#[tokio::test]
async fn shared_blobs_that_are_marked_are_not_a_new_databases() {
    let empty = library(0).await;
    let new = MemoryCatalogue::default();
    let started = claim_stores(&new, empty.blobs.as_ref(), "two", StoreOwners::Many).await;
    assert_eq!(refused(started), StoreMismatch::Foreign);
}

/// As the release before left it: no mark, no id.
async fn unmarked(documents: usize) -> House {
    let house = library(documents).await;
    for key in [OWNER_KEY, GENERATION_KEY] {
        // Of nothing, no generation was marked.
        let _ = house.blobs.delete(&Path::from(key)).await;
    }
    house
}

#[tokio::test]
async fn blobs_without_a_mark_are_taken_over_by_the_database_that_explains_them() {
    let house = unmarked(30).await;
    assert_eq!(
        refused(start(&house, &MemoryCatalogue::default()).await),
        StoreMismatch::Empty
    );
    let older = library(1).await;
    let mismatch = refused(start(&house, &older.catalogue).await);
    assert!(matches!(mismatch, StoreMismatch::Older { .. }), "{mismatch}");
    let other = House::new();
    for n in 0..40 {
        let uri = format!("other {n}.txt");
        other.ingest(&writer("a", &[]), &uri, &["everyone"], LAMP).await;
    }
    assert_eq!(
        refused(start(&house, &other.catalogue).await),
        StoreMismatch::Unexplained { known: 0, seen: 30 }
    );
    start(&house, &house.catalogue).await.unwrap();
    assert_eq!(
        refused(start(&house, &MemoryCatalogue::default()).await),
        StoreMismatch::Empty
    );
}

#[tokio::test]
async fn a_database_without_an_id_is_taken_if_it_explains_the_blobs() {
    let house = library(2).await;
    let (backup, older) = (House::new(), House::new());
    for n in 0..3 {
        let uri = format!("{n}.txt");
        backup.ingest(&writer("a", &[]), &uri, &["everyone"], LAMP).await;
    }
    older.ingest(&writer("a", &[]), "0.txt", &["everyone"], LAMP).await;
    let mismatch = refused(start(&house, &older.catalogue).await);
    assert!(matches!(mismatch, StoreMismatch::Older { .. }), "{mismatch}");
    assert_eq!(start(&house, &backup.catalogue).await.unwrap(), "drawn");
    let setting = backup.catalogue.get_setting(LIBRARY_SETTING).await.unwrap();
    assert_eq!(setting.as_deref(), Some("drawn"));
}

#[tokio::test]
async fn two_processes_that_begin_a_library_agree() {
    let (catalogue, blobs) = (MemoryCatalogue::default(), InMemory::new());
    // The other process marked the store between this one's look and its mark.
    blobs
        .put(&Path::from(OWNER_KEY), PutPayload::from("one"))
        .await
        .unwrap();
    assert_eq!(write_library_mark(&blobs, "two").await.unwrap(), "one");
    catalogue.set_setting(LIBRARY_SETTING, "one").await.unwrap();
    let claimed = claim_stores(&catalogue, &blobs, "two", StoreOwners::Many).await;
    assert_eq!(claimed.unwrap(), "one");
}

#[tokio::test]
async fn a_recovery_that_was_cut_off_is_finished_first() {
    let house = library(1).await;
    house
        .catalogue
        .set_setting(RECOVERY_SETTING, RECOVERING_ROWS)
        .await
        .unwrap();
    assert_eq!(
        refused(start(&house, &house.catalogue).await),
        StoreMismatch::Unfinished
    );
    house
        .catalogue
        .set_setting(RECOVERY_SETTING, RECOVERING_POINTS)
        .await
        .unwrap();
    start(&house, &house.catalogue).await.unwrap();
}

#[tokio::test]
async fn a_damaged_mark_is_told() {
    let house = library(1).await;
    house
        .blobs
        .put(&Path::from(GENERATION_KEY), PutPayload::from("half a nu"))
        .await
        .unwrap();
    let error = start(&house, &house.catalogue).await.unwrap_err();
    assert!(error.to_string().contains(GENERATION_KEY), "{error}");
}
