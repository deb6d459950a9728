//! Catalogue and embedded index after `kill -9`: a child writes in a loop and says each step; the parent kills it
//! after a random number of steps, opens what is left and checks that what the catalogue publishes is all there.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(all(unix, feature = "sqlite"))]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use ragstone_adapters::catalogue::sqlite::SqliteCatalogue;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::{SqliteDatabase, SqliteError};
use ragstone_core::id::JobId;
use ragstone_core::rank::TermId;
use ragstone_core::seam::catalogue::{
    Catalogue, ClaimedJob, DocumentFilter, PageRequest, PublishedVersion, StatisticsDelta,
};
use ragstone_core::seam::contract::catalogue::{LEASE, WORKER, at, made, moment, version};
use ragstone_core::seam::contract::index::{DIMENSIONS, ask, question, spec};
use ragstone_core::seam::contract::{Sample, acl, caller, tenant};
use ragstone_core::seam::index::{IndexQuery, VectorIndex};

/// Tells the test binary, run again, that it is the child.
const CHILD: &str = "RAGSTONE_TEST_CRASH_DATABASE";
const KILLS: u64 = 12;
const MOST_STEPS: u64 = 120;
const DOCUMENTS: u64 = 4;
const CHUNKS: u32 = 6;

#[tokio::test]
async fn what_is_published_survives_kill_9() {
    #[expect(clippy::disallowed_methods, reason = "the test starts itself again and is told so")]
    let child = std::env::var_os(CHILD);
    if let Some(path) = child {
        return write_until_killed(Path::new(&path)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ragstone.db");
    let mut sample = Sample::new(41, DIMENSIONS);
    let mut published = 0;
    for _ in 0..KILLS {
        run_and_kill(&path, 1 + sample.below(MOST_STEPS));
        published += check(&path).await;
    }
    assert!(published > 0, "some kill came after a publish");
}

fn run_and_kill(path: &Path, steps: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_is_published_survives_kill_9", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).filter(|line| line.ends_with("step"));
    assert_eq!(
        said.take(steps as usize).count(),
        steps as usize,
        "the child writes until it is killed"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

struct Writer {
    catalogue: SqliteCatalogue,
    index: EmbeddedIndex,
    sample: Sample,
}

async fn write_until_killed(path: &Path) {
    let database = SqliteDatabase::open(path).unwrap();
    let mut writer = Writer {
        catalogue: SqliteCatalogue::open(database.clone()).unwrap(),
        index: EmbeddedIndex::open(database).unwrap(),
        sample: Sample::new(u64::from(std::process::id()), DIMENSIONS),
    };
    writer.index.prepare_index(&spec()).await.unwrap();
    writer.catalogue.requeue_interrupted_jobs(moment(0)).await.unwrap();
    loop {
        writer.begin_or_delete().await;
        while let Some(claim) = writer.catalogue.claim_job(WORKER, LEASE, moment(500)).await.unwrap() {
            writer.work(claim).await;
        }
    }
}

fn step() {
    println!("\nstep");
}

impl Writer {
    async fn begin_or_delete(&mut self) {
        let open = acl("a", &[&["everyone"]]);
        let uri = format!("doc-{}", self.sample.below(DOCUMENTS));
        let new = version(&open, &uri, &self.sample.number().to_string());
        let scope = caller("a", &[]);
        let job = JobId(uuid::Uuid::new_v4());
        match self.sample.below(4) {
            0 => drop(
                self.catalogue
                    .tombstone_document(&scope, new.document_id(), job, at(0))
                    .await
                    .unwrap(),
            ),
            _ => drop(self.catalogue.begin_version(&scope, new, job, at(0)).await.unwrap()),
        }
        step();
    }

    async fn work(&mut self, claim: ClaimedJob) {
        let lease = &claim.lease;
        if claim.job.kind == ragstone_core::document::JobKind::Purge {
            self.index
                .delete_generation(lease.document, lease.generation)
                .await
                .unwrap();
            step();
            self.catalogue.finish_purge(lease, at(2)).await.unwrap();
            return step();
        }
        let mut points: Vec<_> = (0..CHUNKS)
            .map(|n| {
                self.sample
                    .point(&claim.document.acl, &claim.document.uri, lease.generation.0, n)
            })
            .collect();
        for point in &mut points {
            point.chunk.document_id = lease.document;
        }
        for batch in points.chunks(4) {
            self.index.upsert_points(batch.to_vec()).await.unwrap();
            step();
        }
        self.index
            .publish_generation(lease.document, lease.generation)
            .await
            .unwrap();
        step();
        let statistics = StatisticsDelta {
            chunks: CHUNKS.into(),
            terms: vec![(TermId(1), CHUNKS)],
            pieces: Vec::new(),
        };
        let made = PublishedVersion {
            chunks: CHUNKS,
            ..made("t", statistics)
        };
        let flipped = self.catalogue.publish_version(lease, made, at(2)).await.unwrap();
        step();
        if let Some(replaced) = flipped.replaced {
            self.index.delete_generation(lease.document, replaced).await.unwrap();
            step();
        }
    }
}

/// Checks what a kill left; says how many documents are published.
async fn check(path: &Path) -> u64 {
    let database = SqliteDatabase::open(path).unwrap();
    let sound: String = database
        .read_blocking::<_, SqliteError>(|c| Ok(c.query_row("pragma integrity_check", [], |row| row.get(0))?))
        .unwrap();
    assert_eq!(sound, "ok");
    let catalogue = SqliteCatalogue::open(database.clone()).unwrap();
    let index = EmbeddedIndex::open(database).unwrap();
    let scope = caller("a", &[]);
    let page = PageRequest {
        cursor: None,
        limit: 100,
    };
    let documents = catalogue
        .list_documents(&scope, &DocumentFilter::default(), &page)
        .await
        .unwrap();
    let mut sample = Sample::new(5, DIMENSIONS);
    let query = IndexQuery {
        depth: 10_000,
        ..question(&mut sample)
    };
    let hits = index.search(&ask(&scope, &query)).await.unwrap().hits;
    let mut published = 0;
    for document in documents.items {
        let Some(generation) = document.published else {
            continue;
        };
        published += 1;
        let chunks = index
            .list_chunks(&scope, document.id, generation, 0, 100)
            .await
            .unwrap();
        assert_eq!(chunks.len(), CHUNKS as usize, "the published generation is whole");
        let found = hits
            .iter()
            .filter(|hit| (hit.document, hit.generation) == (document.id, generation));
        assert_eq!(found.count(), CHUNKS as usize, "and searched");
    }
    let statistics = catalogue.term_statistics(&tenant("a"), &[TermId(1)]).await.unwrap();
    assert_eq!(statistics.documents, published * u64::from(CHUNKS));
    let sum: u64 = index
        .list_generations(None)
        .await
        .unwrap()
        .iter()
        .map(|(_, points)| points)
        .sum();
    assert_eq!(index.count_points().await.unwrap(), sum);
    published
}
