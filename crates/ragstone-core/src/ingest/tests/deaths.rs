//! Processes that die over a job.

use futures::FutureExt;

use super::*;
use crate::ingest::fsck::{FsckReport, RepairOptions};
use crate::ingest::{JobOutcome, UploadSharing};
use crate::seam::Catalogue;
use crate::seam::catalogue::{MAX_DEATHS, suspect_wait};
use crate::seam::fake::WORKER;

/// No embedding of it is in the cache.
const OTHER: &str = "The lamp is mended by the smith.";

/// Works on the next job until the embedder is asked, and dies there.
async fn die(house: &mut House) {
    house.embedder.hang(true);
    let cut_off = house.ingestor.runner().run_next(WORKER).now_or_never();
    assert!(cut_off.is_none(), "it was at work: {cut_off:?}");
    house.embedder.hang(false);
    house.restart().await;
}

async fn fsck(house: &House) -> FsckReport {
    let looked = house
        .ingestor
        .consistency()
        .run_fsck(RepairOptions::default(), UploadSharing::Exclusive)
        .await;
    looked.unwrap()
}

#[tokio::test]
async fn five_processes_that_die_over_one_job_fail_it_and_leave_nothing() {
    let (mut house, caller) = (House::new(), writer("a", &[]));
    let kept = house.ingest(&caller, "kept.txt", &["everyone"], STORY).await;
    let BeginOutcome::Started(pending, _) = house.accept(&caller, "x.txt", &["everyone"], OTHER).await else {
        panic!("a new document starts")
    };
    for death in 1..=MAX_DEATHS {
        die(&mut house).await;
        house.wait(suspect_wait(death).as_secs());
    }
    let outcomes = house.work().await;
    let [JobOutcome::Failed(error)] = &outcomes[..] else {
        panic!("it is ended: {outcomes:?}")
    };
    assert_eq!(error.code, "poisoned");
    let failed = document(&house, &caller, pending.id).await.unwrap();
    assert_eq!(
        (failed.status, failed.last_error.as_ref()),
        (DocumentStatus::Failed, Some(error))
    );
    let report = fsck(&house).await;
    assert_eq!(
        (report.findings.len(), report.pending),
        (0, Default::default()),
        "{report:?}"
    );
    // The original of the failed one stays, to be tried again.
    assert_eq!(house.blob_count().await, 3);
    assert_eq!(
        document(&house, &caller, kept).await.unwrap().status,
        DocumentStatus::Published
    );
    let job = house
        .catalogue
        .list_jobs(&caller.scope(), &Default::default(), &newest())
        .await
        .unwrap();
    let again = house
        .catalogue
        .requeue_job(&caller.scope(), job.items[0].id, house.ingestor.current_moment().wall)
        .await;
    again.unwrap().expect("the job is seen");
    assert_eq!(house.work().await, [JobOutcome::Succeeded]);
    assert!(finds(&house, &caller, "ship").await.len() >= 2);
}

fn newest() -> crate::seam::catalogue::PageRequest {
    crate::seam::catalogue::PageRequest { cursor: None, limit: 1 }
}

#[tokio::test]
async fn thirteen_documents_survive_twelve_deaths() {
    let (mut house, caller) = (House::new(), writer("a", &[]));
    for n in 0..13 {
        house.accept(&caller, &format!("{n}.txt"), &["everyone"], STORY).await;
    }
    for _ in 0..12 {
        die(&mut house).await;
        house.wait(1);
    }
    assert_eq!(house.work().await, vec![JobOutcome::Succeeded; 13]);
    let report = fsck(&house).await;
    assert_eq!((report.documents, report.findings.len()), (13, 0), "{report:?}");
}
