//! Contract of every catalogue and index whose documents can be exported and imported.

use std::future::Future;
use std::sync::Arc;

use super::catalogue::{LEASE, WORKER, at, job_id, made, moment, version};
use super::index::{Index, store_visible};
use super::sample::{Sample, acl, caller};
use crate::document::DocumentStatus;
use crate::id::{DocumentId, Generation};
use crate::rank::TermId;
use crate::seam::catalogue::{BeginOutcome, Catalogue, CatalogueError, PublishedVersion, StatisticsDelta};
use crate::seam::index::IndexPoint;
use crate::seam::portable::{BeginImportOutcome, ExportStore, ExportedVersion, LeaseHolder, PointReader};

/// A catalogue from both of its sides.
pub type Moving = (Arc<dyn Catalogue>, Arc<dyn ExportStore>);

/// Runs the suite; `make` gives a fresh, empty catalogue each time.
pub async fn portable_contract<F: Future<Output = Moving>>(make: impl Fn() -> F) {
    only_what_is_published_is_taken_out(make().await).await;
    what_is_put_in_is_what_was_taken_out(make().await, make().await).await;
    what_is_there_stays(make().await, make().await).await;
    what_was_begun_is_taken_over(make().await, make().await).await;
}

/// Runs the suite of points; `make` gives a fresh, empty index each time.
pub async fn point_reader_contract<F: Future<Output = (Index, Arc<dyn PointReader>)>>(make: impl Fn() -> F) {
    points_come_back_whole(make().await).await;
}

fn holder(seconds: u64) -> LeaseHolder {
    LeaseHolder {
        worker: WORKER,
        lease: LEASE,
        now: moment(seconds),
    }
}

fn finished(packed: &ExportedVersion) -> PublishedVersion {
    PublishedVersion {
        title: packed.title.clone(),
        media_type: packed.media_type.clone(),
        pages: packed.pages,
        chunks: packed.chunks,
        warnings: packed.warnings.clone(),
        pipeline: packed.pipeline.clone(),
        statistics: packed.statistics.clone(),
    }
}

/// A published document for `group:g`, with all there can be.
async fn published((catalogue, _): &Moving, uri: &str, content: &str) -> DocumentId {
    let scope = caller("a", &["group:g", "user:ü"]);
    let mut version = version(&acl("a", &[&["group:g"], &["everyone", "user:ü"]]), uri, content);
    version.title = Some(format!("Title of {uri}"));
    version.department_id = Some("x".into());
    version.source_url = Some("https://example.org/ü".parse().expect("an address"));
    let id = version.document_id();
    let job = job_id(version.content_hash.0[0].into());
    let begun = catalogue
        .begin_version(&scope, version, job, at(1))
        .await
        .expect("begun");
    assert!(matches!(begun, BeginOutcome::Started(..)));
    let claim = catalogue.claim_job(WORKER, LEASE, moment(2)).await.expect("a claim");
    let lease = claim.expect("a job").lease;
    let statistics = StatisticsDelta {
        chunks: 2,
        terms: vec![(TermId(1), 2), (TermId(9), 1)],
        pieces: vec![(7, 1)],
    };
    let flipped = catalogue.publish_version(&lease, made(uri, statistics), at(3)).await;
    flipped.expect("published");
    id
}

async fn begun(to: &Moving, packed: &ExportedVersion, job: u128) -> crate::seam::catalogue::ClaimedJob {
    let scope = caller("a", &["group:g", "user:ü"]);
    let unpacked =
        to.1.begin_import(&scope, packed, "incoming/x", job_id(job), holder(5))
            .await;
    match unpacked.expect("unpacked") {
        BeginImportOutcome::Begun(claim) => claim,
        other => panic!("{other:?}"),
    }
}

async fn only_what_is_published_is_taken_out(store: Moving) {
    let (catalogue, portable) = &store;
    let scope = caller("a", &["group:g", "user:ü"]);
    let pending = version(&acl("a", &[&["group:g"]]), "pending", "bytes");
    let id = pending.document_id();
    catalogue
        .begin_version(&scope, pending, job_id(1), at(0))
        .await
        .expect("begun");
    assert_eq!(portable.export_version(id).await.expect("asked"), None, "pending");
    catalogue.cancel_job(&scope, job_id(1), at(0)).await.expect("cancelled");
    let id = published(&store, "there", "bytes").await;
    assert!(portable.export_version(id).await.expect("asked").is_some());
    catalogue
        .tombstone_document(&scope, id, job_id(3), at(4))
        .await
        .expect("deleted");
    assert_eq!(portable.export_version(id).await.expect("asked"), None, "deleted");
}

async fn what_is_put_in_is_what_was_taken_out(from: Moving, to: Moving) {
    let id = published(&from, "book", "bytes").await;
    let packed = from.1.export_version(id).await.expect("asked").expect("published");
    let claim = begun(&to, &packed, 1).await;
    assert_eq!(
        (claim.document.status, claim.document.published),
        (DocumentStatus::Pending, None)
    );
    assert!(
        to.0.claim_job(WORKER, LEASE, moment(6)).await.expect("asked").is_none(),
        "it is held"
    );
    let flipped =
        to.0.publish_version(&claim.lease, finished(&packed), packed.updated_at)
            .await;
    assert_eq!(flipped.expect("published").replaced, None);
    let again = to.1.export_version(id).await.expect("asked").expect("published");
    let expected = ExportedVersion {
        generation: again.generation,
        ..packed.clone()
    };
    assert_eq!(again, expected);
    assert_eq!(again.generation, claim.lease.generation);
    let (ours, theirs) = (caller("a", &["group:g", "user:ü"]), caller("a", &[]));
    let document =
        to.0.get_document(&ours, id)
            .await
            .expect("asked")
            .expect("its reader sees it");
    assert_eq!(document.acl, packed.acl);
    for refused in [theirs, caller("b", &["group:g"])] {
        assert_eq!(
            to.0.get_document(&refused, id).await.expect("asked"),
            None,
            "{refused:?}"
        );
    }
    let counted =
        to.0.term_statistics(&packed.acl.tenant, &[TermId(1)])
            .await
            .expect("counted");
    assert_eq!((counted.documents, counted.df[&TermId(1)]), (2, 2));
}

async fn what_is_there_stays(from: Moving, to: Moving) {
    let id = published(&from, "book", "bytes").await;
    let packed = from.1.export_version(id).await.expect("asked").expect("published");
    let scope = caller("a", &["group:g", "user:ü"]);
    let put = |packed: ExportedVersion, job| {
        let (scope, portable) = (scope.clone(), to.1.clone());
        async move {
            portable
                .begin_import(&scope, &packed, "incoming/x", job_id(job), holder(5))
                .await
        }
    };
    published(&to, "book", "bytes").await;
    let before = to.1.export_version(id).await.expect("asked");
    assert_eq!(
        put(packed.clone(), 31).await.expect("asked"),
        BeginImportOutcome::Unchanged
    );
    let mut other = packed.clone();
    other.acl = acl("a", &[&["everyone"]]);
    assert_eq!(
        put(other, 32).await.expect("asked"),
        BeginImportOutcome::SkippedExisting,
        "other readers"
    );
    let mut other = packed.clone();
    other.content_hash.0[0] ^= 1;
    assert_eq!(
        put(other, 33).await.expect("asked"),
        BeginImportOutcome::SkippedExisting,
        "other bytes"
    );
    assert_eq!(to.1.export_version(id).await.expect("asked"), before, "nothing changed");
    for refused in [caller("b", &["group:g"]), caller("a", &[])] {
        let answer =
            to.1.begin_import(&refused, &packed, "incoming/x", job_id(34), holder(5))
                .await;
        assert!(matches!(answer, Err(CatalogueError::UriTaken)), "{answer:?}");
    }
}

async fn what_was_begun_is_taken_over(from: Moving, to: Moving) {
    let id = published(&from, "book", "bytes").await;
    let packed = from.1.export_version(id).await.expect("asked").expect("published");
    let first = begun(&to, &packed, 41).await;
    let second = begun(&to, &packed, 42).await;
    let stale = to.0.publish_version(&first.lease, finished(&packed), at(9)).await;
    assert!(matches!(stale, Err(CatalogueError::Stale)), "{stale:?}");
    to.0.publish_version(&second.lease, finished(&packed), at(9))
        .await
        .expect("published");
    assert!(to.1.export_version(id).await.expect("asked").is_some());
}

async fn points_come_back_whole((index, reader): (Index, Arc<dyn PointReader>)) {
    let mut sample = Sample::new(71, super::index::DIMENSIONS);
    let held = acl("a", &[&["group:g"], &["nobody"]]);
    let mut points: Vec<IndexPoint> = (0..30).map(|n| sample.point(&held, "x", 1, n)).collect();
    points[3].dense = None;
    points[4].lexical.bigrams.clear();
    points[5].chunk.page = None;
    let document = points[0].chunk.document_id;
    store_visible(&index, &points).await;
    let hidden = sample.point(&held, "x", 2, 0);
    index.upsert_points(vec![hidden.clone()]).await.expect("stored");
    let read = |generation, from, limit| reader.read_points(document, Generation(generation), from, limit);
    assert_eq!(read(1, 0, 100).await.expect("read"), points);
    assert_eq!(read(1, 7, 5).await.expect("read"), points[7..12]);
    assert_eq!(read(2, 0, 9).await.expect("read"), [hidden], "not visible yet");
    assert_eq!(read(3, 0, 9).await.expect("read"), [], "no such generation");
    assert_eq!(read(1, 30, 9).await.expect("read"), [], "beyond the end");
}
