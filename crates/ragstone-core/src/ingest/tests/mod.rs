//! The story of ingestion over the fakes, with every step that may fail.

mod bad_texts;
mod deaths;
mod flow;
mod mails;

use std::time::Duration;

use object_store::ObjectStoreExt;

use super::*;
use crate::access::Principal;
use crate::document::{Document, DocumentStatus};
use crate::id::DocumentId;
use crate::library::SearchRequest;
use crate::seam::catalogue::BeginOutcome;
use crate::seam::fake::{DEADLY, House, SLOW, upload, writer};
use crate::seam::{CatalogueError, EmbedError};
use crate::split::{SplitSettings, SplitStrategy};

const STORY: &str = "The lamp stands on the table. It burns all night.\x0cThe second page tells of a ship.";

async fn document(house: &House, caller: &Principal, id: DocumentId) -> Option<Document> {
    house.library.get_document(&caller.scope(), id).await.unwrap()
}

async fn finds(house: &House, caller: &Principal, query: &str) -> Vec<String> {
    let found = house
        .library
        .search(&caller.scope(), &SearchRequest::new(query, 5))
        .await
        .unwrap();
    found
        .passages
        .iter()
        .map(|passage| passage.chunk.text.clone())
        .collect()
}

fn busy() -> EmbedError {
    EmbedError::Busy {
        detail: "later".into(),
        after: None,
    }
}

#[tokio::test]
async fn a_document_is_found_once_it_is_published_and_not_before() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let BeginOutcome::Started(pending, _) = house.accept(&caller, "x.txt", &["everyone"], STORY).await else {
        panic!("a new document starts")
    };
    assert!(finds(&house, &caller, "ship").await.is_empty());
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    let published = document(&house, &caller, pending.id).await.unwrap();
    assert_eq!(
        (published.status, published.pages),
        (DocumentStatus::Published, Some(2))
    );
    assert_eq!(published.title, "x");
    assert_eq!(
        finds(&house, &caller, "ship").await[0],
        "The second page tells of a ship."
    );
}

#[tokio::test]
async fn the_same_bytes_again_are_no_work_and_leave_nothing() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.ingest(&caller, "x.txt", &["everyone"], STORY).await;
    let blobs = house.blob_count().await;
    let again = house.accept(&caller, "x.txt", &["everyone"], STORY).await;
    assert!(matches!(again, BeginOutcome::Unchanged(_)), "{again:?}");
    assert_eq!((house.work().await.len(), house.blob_count().await), (0, blobs));
}

#[tokio::test]
async fn a_changed_document_replaces_the_old_one_whole() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", &["everyone"], STORY).await;
    house
        .ingest(&caller, "x.txt", &["everyone"], "Only a lighthouse is left.")
        .await;
    assert_eq!(
        finds(&house, &caller, "ship lighthouse lamp").await,
        ["Only a lighthouse is left."]
    );
    assert_eq!(
        house.index.list_generations(Some(id)).await.unwrap().len(),
        1,
        "the old points are purged"
    );
    assert_eq!(house.blob_count().await, 2, "one original and its text");
}

#[tokio::test]
async fn a_failed_new_version_leaves_the_old_one_published_with_the_reason() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", &["everyone"], STORY).await;
    house.accept(&caller, "x.txt", &["everyone"], " \n ").await;
    assert!(matches!(&house.work().await[..], [JobOutcome::Failed(error)] if error.code == "no_text"));
    let document = document(&house, &caller, id).await.unwrap();
    assert_eq!(document.status, DocumentStatus::Published);
    assert_eq!(document.last_error.unwrap().code, "no_text");
    assert!(!finds(&house, &caller, "ship").await.is_empty());
}

#[tokio::test]
async fn garbage_fails_at_once_and_is_never_an_empty_document() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let bytes = futures::stream::iter([Ok::<_, String>(bytes::Bytes::from_static(b"\xff\xfe\xfd"))]);
    let begun = house
        .ingestor
        .uploads()
        .accept_upload(&caller, upload(&caller, "x.bin", &["everyone"]), bytes)
        .await
        .unwrap();
    assert!(matches!(&house.work().await[..], [JobOutcome::Failed(error)] if error.detail.contains("x.bin")));
    let BeginOutcome::Started(started, _) = begun else {
        panic!("a new document starts")
    };
    let document = document(&house, &caller, started.id).await.unwrap();
    assert_eq!((document.status, document.chunks), (DocumentStatus::Failed, 0));
    assert_eq!(house.index.count_points().await.unwrap(), 0);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_with_growing_waits() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.embedder.fail_with(vec![busy(), busy()]);
    house.accept(&caller, "x.txt", &["everyone"], STORY).await;
    assert!(
        matches!(house.work().await[..], [JobOutcome::Retried(_)]),
        "the first attempt, and none before its time"
    );
    house.wait(2);
    assert!(matches!(house.work().await[..], [JobOutcome::Retried(_)]));
    house.wait(4);
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert_eq!(finds(&house, &caller, "lamp").await.len(), 2);
}

#[tokio::test]
async fn retries_end() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.accept(&caller, "x.txt", &["everyone"], DEADLY).await;
    let outcomes = worked_for(&house, 10).await;
    assert_eq!(outcomes.len(), IngestSettings::default().max_attempts as usize);
    assert!(matches!(outcomes.last(), Some(JobOutcome::Failed(error)) if error.code == "parser_died"));
}

#[tokio::test]
async fn a_parser_that_ran_out_of_time_is_tried_once_more() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.accept(&caller, "x.txt", &["everyone"], SLOW).await;
    let outcomes = worked_for(&house, 10).await;
    assert!(
        matches!(&outcomes[..], [JobOutcome::Retried(first), JobOutcome::Failed(last)]
        if first.code == "parse_timed_out" && last.code == "parse_timed_out")
    );
}

/// What became of the jobs in so many rounds, each long enough for any wait.
async fn worked_for(house: &House, rounds: usize) -> Vec<JobOutcome> {
    let mut outcomes = Vec::new();
    for _ in 0..rounds {
        outcomes.extend(house.work().await);
        house.wait(1_000);
    }
    outcomes
}

#[tokio::test]
async fn an_outage_that_is_longer_than_the_attempts_of_a_failure_passes() {
    let away = EmbedError::Broken {
        detail: "connection refused".into(),
    };
    for error in [busy(), away] {
        let (house, caller) = (House::new(), writer("a", &[]));
        let outage = 4 * IngestSettings::default().max_attempts as usize;
        house.embedder.fail_with(vec![error; outage]);
        house.accept(&caller, "x.txt", &["everyone"], STORY).await;
        let outcomes = worked_for(&house, outage + 1).await;
        assert_eq!(outcomes.len(), outage + 1);
        assert_eq!(outcomes.last(), Some(&JobOutcome::Succeeded));
        assert_eq!(finds(&house, &caller, "lamp").await.len(), 2);
    }
}

#[tokio::test]
async fn an_outage_without_end_is_final_within_its_bound() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let most = IngestSettings::default().max_outage_attempts as usize;
    house.embedder.fail_with(vec![busy(); most + 1]);
    house.accept(&caller, "x.txt", &["everyone"], STORY).await;
    let outcomes = worked_for(&house, most + 1).await;
    assert_eq!(outcomes.len(), most);
    assert!(
        matches!(outcomes.last(), Some(JobOutcome::Failed(error)) if error.code == "embedding_failed"
            && error.hint.contains("ragstone job retry"))
    );
}

#[tokio::test]
async fn who_says_when_to_come_back_is_not_asked_before() {
    let cap = IngestSettings::default().retry_cap.as_secs();
    for (said, waits) in [(90, 90), (2 * cap, cap)] {
        let (house, caller) = (House::new(), writer("a", &[]));
        house.embedder.fail_with(vec![EmbedError::Busy {
            detail: "later".into(),
            after: Some(Duration::from_secs(said)),
        }]);
        house.accept(&caller, "x.txt", &["everyone"], STORY).await;
        assert_eq!(house.work().await.len(), 1);
        house.wait(waits - 1);
        assert!(house.work().await.is_empty(), "{said}");
        house.wait(1);
        assert_eq!(house.work().await, [JobOutcome::Succeeded], "{said}");
    }
}

#[tokio::test]
async fn what_cannot_pass_is_final_at_once() {
    let (house, caller) = (House::new(), writer("a", &[]));
    house.embedder.fail_with(vec![EmbedError::Refused {
        detail: "no such model".into(),
    }]);
    house.accept(&caller, "x.txt", &["everyone"], STORY).await;
    assert!(matches!(&house.work().await[..], [JobOutcome::Failed(error)] if error.code == "embedding_refused"));
}

#[tokio::test]
async fn a_deleted_document_is_gone_at_the_answer_and_purged_by_its_job() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", &["everyone"], STORY).await;
    assert!(
        house
            .ingestor
            .uploads()
            .delete_document(&writer("b", &[]), id)
            .await
            .unwrap()
            .is_none(),
        "not another tenant's to delete"
    );
    assert!(house.stands(id).await);
    house.delete(&caller, id).await;
    assert!(finds(&house, &caller, "ship").await.is_empty());
    assert!(document(&house, &caller, id).await.is_none());
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert_eq!(
        (house.index.count_points().await.unwrap(), house.blob_count().await),
        (0, 0)
    );
}

#[tokio::test]
async fn a_purge_of_an_old_life_leaves_the_new_one_alone() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", &["everyone"], STORY).await;
    house.delete(&caller, id).await;
    house.accept(&caller, "x.txt", &["everyone"], STORY).await;
    assert_eq!(house.work().await, [JobOutcome::Succeeded, JobOutcome::Succeeded]);
    assert_eq!(
        finds(&house, &caller, "ship").await[0],
        "The second page tells of a ship."
    );
    assert_eq!(house.blob_count().await, 2);
}

#[tokio::test]
async fn another_pipeline_makes_a_new_version_of_the_same_bytes() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let id = house.ingest(&caller, "x.txt", &["everyone"], STORY).await;
    let before = document(&house, &caller, id).await.unwrap().published;
    let (split, embedder) = (SplitSettings::default(), house.embedder.clone());
    house.ingestor.set_pipeline(IngestPipeline::new(
        "text/1",
        split,
        SplitStrategy::Recursive,
        Some(embedder),
    ));
    house.reingest(&caller, id).await;
    house.work().await;
    let after = document(&house, &caller, id).await.unwrap();
    assert!(after.published > before, "{after:?}");
    assert_eq!(house.blob_count().await, 2);
}

#[tokio::test]
async fn bytes_whose_sender_left_are_removed_and_those_on_their_way_are_not() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let receive = async || {
        let bytes = futures::stream::iter([Ok::<_, String>(bytes::Bytes::from_static(b"text"))]);
        house.ingestor.incoming().receive_file("x.txt", bytes).await.unwrap()
    };
    drop(receive().await);
    let kept = receive().await;
    assert_eq!(house.blob_count().await, 2);
    house.ingestor.incoming().remove_abandoned().await;
    assert_eq!(house.blob_count().await, 1);
    let upload = upload(&caller, "x.txt", &["everyone"]);
    house
        .ingestor
        .uploads()
        .begin_version(&caller, upload, kept)
        .await
        .unwrap();
    house.ingestor.incoming().remove_abandoned().await;
    house.work().await;
    assert_eq!(finds(&house, &caller, "text").await, ["text"]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_or_is_too_large_leaves_nothing() {
    let (house, caller) = (House::new(), writer("a", &[]));
    let broken = futures::stream::iter([Ok(bytes::Bytes::from_static(b"text")), Err("gone")]);
    let upload = upload(&caller, "x.txt", &["everyone"]);
    let error = house
        .ingestor
        .uploads()
        .accept_upload(&caller, upload.clone(), broken)
        .await
        .unwrap_err();
    assert!(matches!(error, AcceptError::Interrupted { .. }), "{error}");
    let part = bytes::Bytes::from(vec![b'x'; 64 * 1024 * 1024]);
    let large = futures::stream::iter((0..5).map(|_| Ok::<_, String>(part.clone())));
    let error = house
        .ingestor
        .uploads()
        .accept_upload(&caller, upload, large)
        .await
        .unwrap_err();
    assert!(matches!(error, AcceptError::TooLarge { .. }), "{error}");
    assert_eq!((house.work().await.len(), house.blob_count().await), (0, 0));
}

#[tokio::test]
async fn a_uri_of_somebody_else_is_taken_and_nothing_changes() {
    let house = House::new();
    let (owner, stranger) = (writer("a", &["group:g"]), writer("a", &["group:h"]));
    let id = house.ingest(&owner, "x.txt", &["group:g"], STORY).await;
    let bytes = futures::stream::iter([Ok::<_, String>(bytes::Bytes::from_static(b"other"))]);
    let refused = house
        .ingestor
        .uploads()
        .accept_upload(&stranger, upload(&stranger, "x.txt", &["group:h"]), bytes)
        .await;
    assert!(matches!(refused, Err(AcceptError::Catalogue(CatalogueError::UriTaken))));
    assert_eq!(house.blob_count().await, 2, "the refused bytes are gone");
    assert_eq!(document(&house, &owner, id).await.unwrap().version, 1);
}

#[test]
fn waits_double_within_their_bounds() {
    let house = House::new();
    let base = IngestSettings::default().retry_base;
    for attempt in 1..30 {
        let whole = base
            .saturating_mul(1 << (attempt - 1).min(16))
            .min(IngestSettings::default().retry_cap);
        let wait = house.ingestor.runner().backoff_delay(attempt);
        assert!(
            wait >= whole / 2 && wait <= whole + Duration::from_millis(1),
            "{attempt}: {wait:?}"
        );
    }
}
