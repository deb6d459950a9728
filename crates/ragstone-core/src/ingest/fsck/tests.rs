//! What `fsck` finds, and what repair makes of it.

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::*;
use crate::access::Principal;
use crate::library::layout::quarantine_key;
use crate::library::text::{original_key, text_key};
use crate::seam::embedding_cache::{EmbeddingKey, StoredEmbedding};
use crate::seam::fake::{House, WORKER, writer};
use crate::seam::{Catalogue, ConsistencyScan, EmbeddingCache};

const TEXT: &str = "The lamp stands.\x0cThe ship leaves.";

struct Scene {
    house: House,
    caller: Principal,
    document: DocumentId,
    generation: Generation,
}

impl Scene {
    async fn new() -> Self {
        let (house, caller) = (House::new(), writer("a", &[]));
        let document = house.ingest(&caller, "x.txt", &["everyone"], TEXT).await;
        let rows = house.catalogue.get_document_refs(&[document]).await.unwrap();
        let generation = rows[0].published.unwrap();
        Self {
            house,
            caller,
            document,
            generation,
        }
    }

    fn key(&self, of: fn(&crate::id::TenantId, DocumentId, Generation) -> Path) -> Path {
        of(self.caller.tenant(), self.document, self.generation)
    }

    async fn put(&self, key: &str) {
        self.house.blobs.put(&Path::from(key), "x".into()).await.unwrap();
    }

    async fn fsck(&self, remedies: RepairOptions) -> FsckReport {
        self.house
            .ingestor
            .consistency()
            .run_fsck(remedies, UploadSharing::Exclusive)
            .await
            .unwrap()
    }

    async fn kinds(&self) -> Vec<FindingKind> {
        let report = self.fsck(RepairOptions::default()).await;
        assert_eq!(report.repaired, 0, "looking changes nothing");
        report.findings.iter().map(|finding| finding.kind).collect()
    }

    /// Repairs whatever its age, works, and says how many things were repaired.
    async fn repair(&self) -> u64 {
        let repaired = self.fsck(RepairOptions::repair_all(Duration::ZERO)).await.repaired;
        self.house.work().await;
        repaired
    }
}

#[tokio::test]
async fn a_sound_library_is_clean() {
    let scene = Scene::new().await;
    let report = scene.fsck(RepairOptions::default()).await;
    let sound = FsckReport {
        documents: 1,
        chunks: 2,
        ..FsckReport::default()
    };
    assert_eq!(report, sound);
    assert_eq!(scene.repair().await, 0);
}

#[tokio::test]
async fn what_no_row_explains_goes_to_quarantine_once_it_is_old() {
    let scene = Scene::new().await;
    let ghost = DocumentId(uuid::Uuid::from_u128(9));
    for key in [
        format!("a/{ghost}/1/original"),
        format!("b/{}/{}/text", scene.document, scene.generation),
        "incoming/1".to_owned(),
        "note.txt".to_owned(),
    ] {
        scene.put(&key).await;
        assert_eq!(scene.kinds().await, [FindingKind::OrphanBlob], "{key}");
        let young = scene.fsck(RepairOptions::repair_all(ORPHAN_AGE)).await;
        assert_eq!((young.orphans.blobs, young.repaired), (1, 0), "{key} is too young");
        assert_eq!(scene.repair().await, 1, "{key}");
        assert!(scene.kinds().await.is_empty(), "{key}");
        let kept = quarantine_key(&Path::from(key.as_str()), 0);
        let bytes = scene.house.blobs.get(&kept).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes, "x", "{key}");
    }
    assert_eq!(
        scene.house.blob_count().await,
        2 + 4,
        "what rows name stays, and what they do not is kept"
    );
}

#[tokio::test]
async fn the_quarantine_ends() {
    let scene = Scene::new().await;
    scene.put("note.txt").await;
    scene.repair().await;
    let days = |days: u64| days * 24 * 60 * 60;
    scene.house.wait(days(7) - 1);
    scene.house.sweep().await;
    assert_eq!(scene.house.blob_count().await, 3);
    scene.house.wait(1);
    scene.house.sweep().await;
    assert_eq!(scene.house.blob_count().await, 2);
}

#[tokio::test]
async fn what_a_later_version_replaced_is_deleted_and_not_kept() {
    let scene = Scene::new().await;
    scene.put(&format!("a/{}/0/original", scene.document)).await;
    scene.house.sweep().await;
    assert_eq!(scene.house.blob_count().await, 2);
}

#[tokio::test]
async fn many_orphans_are_taken_only_if_somebody_says_so() {
    let scene = Scene::new().await;
    let ghost = DocumentId(uuid::Uuid::from_u128(9));
    let orphans = async |number: usize| {
        for n in 0..number {
            scene.put(&format!("a/{ghost}/1/{n}")).await;
        }
    };
    orphans(11).await;
    let all = RepairOptions::repair_all(Duration::ZERO);
    let refused = scene
        .house
        .ingestor
        .consistency()
        .run_fsck(all, UploadSharing::Exclusive)
        .await;
    let error = refused.unwrap_err();
    assert!(
        matches!(
            error,
            FsckError::TooMany {
                unexplained: 11,
                blobs: 13
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("--allow-many"), "{error}");
    assert_eq!(scene.house.blob_count().await, 13, "nothing was taken");
    let taken = scene
        .fsck(RepairOptions {
            allow_many: true,
            ..all
        })
        .await;
    assert_eq!((taken.repaired, taken.orphans.blobs), (11, 0));
    orphans(10).await;
    assert_eq!(scene.fsck(all).await.repaired, 10, "as many as a crash leaves");
}

#[tokio::test]
async fn a_database_that_is_older_than_the_blobs_takes_nothing() {
    let scene = Scene::new().await;
    let ghost = DocumentId(uuid::Uuid::from_u128(9));
    scene.put("incoming/1").await;
    scene.put(&format!("a/{ghost}/99999/original")).await;
    for remedies in [
        RepairOptions::default(),
        RepairOptions {
            allow_many: true,
            ..RepairOptions::repair_all(Duration::ZERO)
        },
    ] {
        let checked = scene
            .house
            .ingestor
            .consistency()
            .run_fsck(remedies, UploadSharing::Exclusive)
            .await;
        let error = checked.unwrap_err();
        let newer = Generation(99_999);
        assert!(
            matches!(error, FsckError::Older { blobs, .. } if blobs == newer),
            "{error}"
        );
    }
    let swept = scene
        .house
        .ingestor
        .consistency()
        .sweep_stores(UploadSharing::Exclusive)
        .await;
    assert!(matches!(swept, Err(FsckError::Older { .. })));
    assert_eq!(scene.house.blob_count().await, 4);
}

#[tokio::test]
async fn the_sweep_leaves_to_people_what_it_did_not_make() {
    let scene = Scene::new().await;
    for key in ["incoming/1", "note.txt", &format!("a/{}/0/text", scene.document)] {
        scene.put(key).await;
    }
    let shared = scene
        .house
        .ingestor
        .consistency()
        .sweep_stores(crate::ingest::UploadSharing::Shared)
        .await
        .unwrap();
    assert_eq!(shared.repaired, 1, "the version that was replaced: {shared:?}");
    let alone = scene
        .house
        .ingestor
        .consistency()
        .sweep_stores(crate::ingest::UploadSharing::Exclusive)
        .await
        .unwrap();
    assert_eq!((alone.repaired, alone.orphans.blobs), (1, 1), "the upload: {alone:?}");
}

#[tokio::test]
async fn what_a_process_was_receiving_when_it_died_is_removed_and_what_waits_for_its_job_stays() {
    let scene = Scene::new().await;
    let everyone = &["everyone"];
    scene.house.accept(&scene.caller, "y.txt", everyone, "Waiting.").await;
    let before = scene.house.blob_count().await;
    assert_eq!(scene.house.ingestor.consistency().sweep_incoming().await.unwrap(), 0);
    scene.put("incoming/1").await;
    scene.put("note.txt").await;
    assert_eq!(scene.house.ingestor.consistency().sweep_incoming().await.unwrap(), 1);
    assert_eq!(
        scene.house.blob_count().await,
        before + 2,
        "what it did not make stays, and the upload is in quarantine"
    );
    assert_eq!(scene.house.work().await.len(), 1);
}

#[tokio::test]
async fn an_upload_on_its_way_is_no_orphan() {
    let scene = Scene::new().await;
    let bytes = futures::stream::iter([Ok::<_, String>("text".into())]);
    let received = scene
        .house
        .ingestor
        .incoming()
        .receive_file("y.txt", bytes)
        .await
        .unwrap();
    let during = scene.fsck(RepairOptions::repair_all(Duration::ZERO)).await;
    assert_eq!((during.pending.blobs, during.repaired), (1, 0), "{during:?}");
    drop(received);
    assert_eq!(
        scene.kinds().await,
        [FindingKind::OrphanBlob],
        "nobody begins it any more"
    );
}

#[tokio::test]
async fn what_waits_for_its_job_is_explained() {
    let scene = Scene::new().await;
    scene
        .house
        .accept(&scene.caller, "x.txt", &["everyone"], "Newer.")
        .await;
    assert!(scene.kinds().await.is_empty(), "the waiting bytes");
    scene.put(&format!("a/{}/1/text", scene.document)).await;
    let report = scene.fsck(RepairOptions::repair_all(Duration::ZERO)).await;
    assert_eq!(
        (report.pending.blobs, report.repaired),
        (1, 0),
        "its job purges that: {report:?}"
    );
}

#[tokio::test]
async fn lost_points_are_made_again() {
    let scene = Scene::new().await;
    scene
        .house
        .index
        .delete_generation(scene.document, scene.generation)
        .await
        .unwrap();
    assert_eq!(scene.kinds().await, [FindingKind::PointsMissing]);
    assert_eq!(scene.repair().await, 1);
    assert!(scene.kinds().await.is_empty());
    assert_eq!(scene.house.index.count_points().await.unwrap(), 2);
}

#[tokio::test]
async fn a_lost_text_is_made_again_and_a_lost_original_is_told() {
    let scene = Scene::new().await;
    scene.house.blobs.delete(&scene.key(text_key)).await.unwrap();
    assert_eq!(scene.kinds().await, [FindingKind::TextMissing]);
    assert_eq!(scene.repair().await, 1);
    assert!(scene.kinds().await.is_empty());
    let scene = Scene::new().await;
    scene.house.blobs.delete(&scene.key(original_key)).await.unwrap();
    assert_eq!(scene.kinds().await, [FindingKind::OriginalMissing]);
    assert_eq!(scene.repair().await, 0, "nothing here has the bytes");
    assert_eq!(scene.kinds().await, [FindingKind::OriginalMissing]);
}

#[tokio::test]
async fn points_are_made_of_the_text_where_the_original_is_lost() {
    let scene = Scene::new().await;
    scene
        .house
        .index
        .delete_generation(scene.document, scene.generation)
        .await
        .unwrap();
    scene.house.blobs.delete(&scene.key(original_key)).await.unwrap();
    assert_eq!(
        scene.kinds().await,
        [FindingKind::PointsMissing, FindingKind::OriginalMissing]
    );
    assert_eq!(scene.repair().await, 1);
    assert_eq!(scene.kinds().await, [FindingKind::OriginalMissing]);
    assert_eq!(scene.house.index.count_points().await.unwrap(), 2);
}

#[tokio::test]
async fn points_of_nobody_go() {
    let scene = Scene::new().await;
    let other = Scene::new().await;
    let row = other
        .house
        .catalogue
        .get_document_refs(&[other.document])
        .await
        .unwrap();
    assert_eq!(row[0].counted, Some(2));
    // The same points over a catalogue that never heard of them.
    let stranger = House::over(scene.house.index.clone());
    let report = stranger
        .ingestor
        .consistency()
        .run_fsck(RepairOptions::default(), UploadSharing::Exclusive)
        .await
        .unwrap();
    assert_eq!((report.orphans.index, report.documents), (2, 0));
    let report = stranger
        .ingestor
        .consistency()
        .sweep_stores(crate::ingest::UploadSharing::Shared)
        .await
        .unwrap();
    assert_eq!(report.repaired, 2);
    assert_eq!(scene.house.index.count_points().await.unwrap(), 0);
}

#[tokio::test]
async fn young_bytes_in_shared_stores_may_be_on_their_way_to_another_process() {
    let scene = Scene::new().await;
    let fsck = async |remedies, uploads| {
        let report = scene
            .house
            .ingestor
            .consistency()
            .run_fsck(remedies, uploads)
            .await
            .unwrap();
        (report.pending.blobs, report.orphans.blobs, report.repaired)
    };
    let (look, all) = (RepairOptions::default(), RepairOptions::repair_all(Duration::ZERO));
    scene.put("incoming/1").await;
    assert_eq!(fsck(look, UploadSharing::Shared).await, (1, 0, 0));
    assert_eq!(fsck(look, UploadSharing::Exclusive).await, (0, 1, 0));
    assert_eq!(
        fsck(RepairOptions::repair_all(ORPHAN_AGE), UploadSharing::Shared).await,
        (1, 0, 0)
    );
    assert_eq!(
        fsck(all, UploadSharing::Shared).await,
        (0, 0, 1),
        "whoever names an age means it"
    );
    scene.put("incoming/2").await;
    // The fake clock begins in 1970, and what is stored has the time of day.
    scene.house.hands.turn(100 * 365 * 24 * 60 * 60);
    assert_eq!(fsck(look, UploadSharing::Shared).await, (0, 1, 0));
    assert_eq!(
        fsck(RepairOptions::repair_all(ORPHAN_AGE), UploadSharing::Shared).await,
        (0, 0, 1)
    );
}

#[tokio::test]
async fn a_purge_that_gave_up_is_taken_up_again() {
    use crate::document::JobError;
    let scene = Scene::new().await;
    scene
        .house
        .ingestor
        .uploads()
        .delete_document(&scene.caller, scene.document)
        .await
        .unwrap();
    let pending = scene.fsck(RepairOptions::default()).await;
    assert_eq!(
        (pending.pending.index, pending.pending.blobs, pending.pending.catalogue),
        (2, 2, 1)
    );
    assert!(pending.findings.is_empty(), "its job is live: {pending:?}");
    let now = OffsetDateTime::UNIX_EPOCH;
    let claim = scene.house.ingestor.runner().claim_job(WORKER).await.unwrap().unwrap();
    let error = JobError {
        code: "gave_up".into(),
        detail: String::new(),
        hint: String::new(),
    };
    scene.house.catalogue.fail_job(&claim.lease, error, now).await.unwrap();
    assert!(scene.kinds().await.contains(&FindingKind::PurgeUnfinished));
    scene
        .house
        .ingestor
        .consistency()
        .sweep_stores(crate::ingest::UploadSharing::Exclusive)
        .await
        .unwrap();
    scene.house.work().await;
    assert_eq!(scene.fsck(RepairOptions::default()).await, FsckReport::default());
    assert_eq!(scene.house.blob_count().await, 0);
    assert_eq!(scene.house.record_count().await, 0);
}

#[tokio::test]
async fn embeddings_of_a_document_that_is_gone_are_found_and_forgotten() {
    let scene = Scene::new().await;
    let held = scene.house.embeddings.len();
    assert!(held > 0, "what a document uses is nothing wrong");
    assert!(scene.kinds().await.is_empty());
    let ghost = DocumentId(uuid::Uuid::from_u128(9));
    let stored = StoredEmbedding {
        vector: vec![1.0],
        pieces: Vec::new(),
        tokens: None,
    };
    let key = EmbeddingKey::for_text(scene.caller.tenant(), 0, "a word of the ghost");
    let cache: &dyn EmbeddingCache = scene.house.embeddings.as_ref();
    cache.put_embeddings("model", ghost, vec![(key, stored)]).await.unwrap();
    assert_eq!(scene.kinds().await, [FindingKind::OrphanEmbeddings]);
    let looked = scene.fsck(RepairOptions::default()).await;
    assert_eq!(
        (looked.orphans.cache, looked.findings[0].what.as_str()),
        (1, format!("document {ghost}").as_str())
    );
    assert_eq!(scene.repair().await, 1);
    assert!(scene.kinds().await.is_empty());
    assert_eq!(scene.house.embeddings.len(), held, "what living documents use stays");
}

#[tokio::test]
async fn embeddings_that_a_purge_will_forget_are_pending() {
    let scene = Scene::new().await;
    scene
        .house
        .ingestor
        .uploads()
        .delete_document(&scene.caller, scene.document)
        .await
        .unwrap();
    let report = scene.fsck(RepairOptions::default()).await;
    assert_eq!((report.pending.cache, report.orphans.cache), (1, 0));
    scene.house.work().await;
    assert!(scene.house.embeddings.is_empty());
    assert!(scene.kinds().await.is_empty());
}
