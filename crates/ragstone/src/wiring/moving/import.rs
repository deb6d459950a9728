//! Imports an archive: checks it from end to end first, then imports document by document. Existing documents stay.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use ragstone_adapters::archive::{ArchiveReader, ArchivedDocument};
use ragstone_core::document::WorkerId;
use ragstone_core::ingest::{AcceptError, VersionImportError, VersionImportOutcome};
use ragstone_core::seam::index::IndexSpec;
use ragstone_core::seam::source::SourceRecord;
use serde_json::{Map, Value, json};

use super::questions::VerificationQuestion;
use super::{LibraryTransfer, TransferListener, run_blocking};

/// Documents that are imported concurrently.
const AT_ONCE: usize = 4;
/// Worker number of imports; those of the job workers begin at 1.
const IMPORT_WORKER: u32 = 0;

/// Number of documents per outcome.
#[derive(Debug, Default)]
struct ImportCounts {
    done: AtomicU64,
    imported: AtomicU64,
    unchanged: AtomicU64,
    kept: AtomicU64,
    failed: AtomicU64,
}

impl LibraryTransfer {
    /// Imports the documents of the file `path`; with `verify`, asks the archive's questions again and compares.
    pub async fn import_library(
        &self,
        path: PathBuf,
        verify: bool,
        listener: &TransferListener,
    ) -> anyhow::Result<Value> {
        if self.vectors.is_migrating() {
            bail!("the embedding model is being changed; hint: `ragstone model migrate --finish` or `--abort` first");
        }
        let told = listener.clone();
        let compare = move || {
            let total = std::fs::metadata(&path).map_or(0, |file| file.len());
            let mut last = 0;
            ArchiveReader::open(&path, |done| {
                if done / REPORT_STEP_BYTES > last {
                    last = done / REPORT_STEP_BYTES;
                    told.report_progress("comparing", done, total);
                }
            })
        };
        let archive = Arc::new(run_blocking(compare).await??);
        self.check_spec(archive.header.spec.as_ref()).await?;
        let sources = self.import_sources(archive.parse_sources()?).await?;
        let counts = self.import_documents(&archive, listener).await?;
        self.import_settings(archive.parse_settings()?).await?;
        let mut result = serde_json::to_value(&archive.totals)?;
        let count = |count: &AtomicU64| json!(count.load(Ordering::Relaxed));
        result["imported"] = count(&counts.imported);
        result["unchanged"] = count(&counts.unchanged);
        result["kept"] = count(&counts.kept);
        result["failed"] = count(&counts.failed);
        result["sources"] = json!(sources);
        if verify {
            let questions: Vec<VerificationQuestion> = archive.parse_questions()?;
            result["verified"] = self.verify_questions(&questions, listener).await?;
        }
        Ok(result)
    }

    /// Checks that the library's vectors are of the archive's embedder; a library without a spec takes the archive's.
    async fn check_spec(&self, spec: Option<&IndexSpec>) -> anyhow::Result<()> {
        let Some(spec) = spec else { return Ok(()) };
        match self.stored_spec().await? {
            Some(active) if active != *spec => bail!(
                "the archive's index is {}, this library's is {}; hint: import into a library of its own, with the \
                 embedding model that the archive was made with, and `ragstone index rebuild` there by another one",
                describe_spec(spec),
                describe_spec(&active)
            ),
            Some(_) => Ok(self.vectors.index.prepare_index(spec).await?),
            None => {
                self.vectors.index.prepare_index(spec).await?;
                self.vectors.save_active_spec(spec).await
            }
        }
    }

    /// Imports sources that the library does not have; returns how many.
    async fn import_sources(&self, sources: Vec<SourceRecord>) -> anyhow::Result<u64> {
        let mut added = 0;
        for source in sources {
            let source = SourceRecord {
                last_sync: None,
                // Two libraries that sync one source would ingest all of it twice, and delete each other's documents.
                paused: true,
                ..source
            };
            added += u64::from(self.sources.add_source(source).await?);
        }
        Ok(added)
    }

    /// Imports settings such as thresholds, unless this library has its own.
    async fn import_settings(&self, settings: Map<String, Value>) -> anyhow::Result<()> {
        let catalogue = &self.vectors.catalogue;
        for (key, value) in settings {
            let is_ours = key.starts_with("calibration:");
            if let Some(value) = value.as_str().filter(|_| is_ours)
                && catalogue.get_setting(&key).await?.is_none()
            {
                catalogue.set_setting(&key, value).await?;
            }
        }
        Ok(())
    }

    async fn import_documents(
        &self,
        archive: &Arc<ArchiveReader>,
        listener: &TransferListener,
    ) -> anyhow::Result<ImportCounts> {
        let (counts, total) = (ImportCounts::default(), archive.len() as u64);
        let each = stream::iter(0..archive.len()).map(|n| {
            let (archive, counts) = (archive.clone(), &counts);
            async move {
                let archived = run_blocking(move || archive.read_document(n))
                    .await?
                    .context("the archive")?;
                self.import_document(archived, counts, listener).await?;
                let done = counts.done.fetch_add(1, Ordering::Relaxed) + 1;
                listener.report_progress("documents", done, total);
                anyhow::Ok(())
            }
        });
        each.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(counts)
    }

    /// A failure that concerns this document alone is reported, and the import continues; any other error ends it.
    async fn import_document(
        &self,
        archived: ArchivedDocument,
        counts: &ImportCounts,
        listener: &TransferListener,
    ) -> anyhow::Result<()> {
        let packed = &archived.packed;
        let principal = (self.operator)(packed.acl.tenant.clone());
        let worker = WorkerId {
            process: std::process::id(),
            number: IMPORT_WORKER,
        };
        let restored = self
            .vectors
            .ingestor
            .importer()
            .import_version(self.export_store.as_ref(), &principal, packed, &archived, worker)
            .await;
        let counter = match restored {
            Ok(VersionImportOutcome::Published) => &counts.imported,
            Ok(VersionImportOutcome::Unchanged) => &counts.unchanged,
            Ok(VersionImportOutcome::SkippedExisting) => {
                listener
                    .report_left_out(&packed.uri, "the library has another version of it, which stays")
                    .await;
                &counts.kept
            }
            Err(
                error @ (VersionImportError::Damaged(_) | VersionImportError::Accept(AcceptError::TooLarge { .. })),
            ) => {
                listener.report_left_out(&packed.uri, error).await;
                &counts.failed
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("document {}; hint: the same command goes on from here", packed.id));
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Bytes between two reports of the verification's progress.
const REPORT_STEP_BYTES: u64 = 64 << 20;

fn describe_spec(spec: &IndexSpec) -> String {
    let by = match (&spec.embedder, spec.dimensions) {
        (Some(embedder), Some(dimensions)) => {
            let short: String = embedder.chars().take(12).collect();
            format!("of embedder {short} with {dimensions} dimensions")
        }
        _ => "without vectors".to_owned(),
    };
    format!("{by} and lexical side {}", spec.lexical)
}
