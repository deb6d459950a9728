//! Writes the archive: all documents one by one, then again those that changed meanwhile.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use futures::StreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use ragstone_adapters::archive::{ArchiveHeader, ArchiveWriter, DocumentWriter, VersionStamp, encode_line};
use ragstone_core::id::{DocumentId, TenantId};
use ragstone_core::library::text::{original_key, text_key};
use ragstone_core::seam::catalogue::DocumentFilter;
use ragstone_core::seam::portable::ExportedVersion;
use serde_json::{Value, json};

use super::{LibraryTransfer, TransferListener, run_blocking};

/// Chunks in one entry of the archive.
const CHUNKS: usize = 128;
/// Most times a document that changes while it is read is read again.
const ATTEMPTS: usize = 3;

impl LibraryTransfer {
    /// Exports every published document to the file `path`; continues a file that an interrupted export left.
    pub async fn export_library(&self, path: PathBuf, listener: &TransferListener) -> anyhow::Result<Value> {
        let spec = self.stored_spec().await?;
        let header = ArchiveHeader::new(format!("ragstone {}", env!("CARGO_PKG_VERSION")), spec);
        let all = self.vectors.list_published_documents(DocumentFilter::default()).await?;
        let (mut archive, marks) = self.open_archive(path, header).await?;
        let mut marks: HashMap<DocumentId, VersionStamp> = marks.into_iter().map(|mark| (mark.id, mark)).collect();
        let (mut left_out, total) = (0, all.len() as u64);
        for (n, (_, document)) in (0..).zip(&all) {
            listener.report_progress("documents", n, total);
            if !marks.contains_key(document) {
                match self.write_document(&mut archive, *document).await? {
                    ExportOutcome::Written(mark) => drop(marks.insert(*document, mark)),
                    ExportOutcome::Unpublished => {}
                    ExportOutcome::LeftOut(why) => {
                        left_out += 1;
                        listener.report_left_out(&document.to_string(), why).await;
                    }
                }
            }
        }
        listener.report_progress("documents", total, total);
        left_out += self.rewrite_changed_documents(&mut archive, &marks, listener).await?;
        let mut tenants: Vec<TenantId> = all.into_iter().map(|(tenant, _)| tenant).collect();
        tenants.dedup();
        let questions = self.pick_questions(&marks, listener).await?;
        let (sources, settings) = (self.all_sources().await?, self.collect_settings(&tenants).await?);
        let totals = run_blocking(move || archive.finish(&sources, &settings, &questions)).await??;
        let mut told = serde_json::to_value(totals)?;
        told["left_out"] = json!(left_out);
        Ok(told)
    }

    async fn open_archive(
        &self,
        path: PathBuf,
        header: ArchiveHeader,
    ) -> anyhow::Result<(ArchiveWriter, Vec<VersionStamp>)> {
        let (portable, runtime) = (self.export_store.clone(), tokio::runtime::Handle::current());
        let keep = move |mark: &VersionStamp| {
            let found = runtime.block_on(portable.export_version(mark.id));
            found.is_ok_and(|found| found.is_some_and(|packed| VersionStamp::from_version(&packed) == *mark))
        };
        Ok(run_blocking(move || ArchiveWriter::open(&path, &header, keep)).await??)
    }

    /// Writes changed documents again, and withdraws from the archive those that are gone.
    async fn rewrite_changed_documents(
        &self,
        archive: &mut ArchiveWriter,
        marks: &HashMap<DocumentId, VersionStamp>,
        listener: &TransferListener,
    ) -> anyhow::Result<u64> {
        let mut left_out = 0;
        for (document, mark) in marks {
            let found = self.export_store.export_version(*document).await?;
            if found.is_some_and(|packed| VersionStamp::from_version(&packed) == *mark) {
                continue;
            }
            archive.withdraw_document(*document);
            if let ExportOutcome::LeftOut(why) = self.write_document(archive, *document).await? {
                left_out += 1;
                listener.report_left_out(&document.to_string(), why).await;
            }
        }
        Ok(left_out)
    }

    /// Writes one document in its current state.
    async fn write_document(&self, archive: &mut ArchiveWriter, document: DocumentId) -> anyhow::Result<ExportOutcome> {
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            let Some(packed) = self.export_store.export_version(document).await? else {
                return Ok(ExportOutcome::Unpublished);
            };
            let mut writer = archive.begin_document();
            let written = self.write_content(&mut writer, &packed).await;
            let after = self.export_store.export_version(document).await?;
            let is_same =
                after.is_some_and(|after| VersionStamp::from_version(&after) == VersionStamp::from_version(&packed));
            match written {
                Ok(()) if is_same => {
                    writer.finish(&packed)?;
                    return Ok(ExportOutcome::Written(VersionStamp::from_version(&packed)));
                }
                Ok(()) => why = "it changes while it is read".to_owned(),
                Err(error) if error.is::<ragstone_adapters::archive::ArchiveError>() => return Err(error),
                Err(error) => why = format!("{error:#}"),
            }
            writer.abandon_document()?;
        }
        Ok(ExportOutcome::LeftOut(why))
    }

    async fn write_content(&self, writer: &mut DocumentWriter<'_>, packed: &ExportedVersion) -> anyhow::Result<()> {
        let (tenant, id, generation) = (&packed.acl.tenant, packed.id, packed.generation);
        let original = original_key(tenant, id, generation);
        self.copy_blob(writer, &original, DocumentWriter::begin_original)
            .await
            .context("its original")?;
        let text = text_key(tenant, id, generation);
        self.copy_blob(writer, &text, DocumentWriter::begin_text)
            .await
            .context("its text")?;
        let mut done = 0;
        while done < packed.chunks {
            let points = self.points.read_points(id, generation, done, CHUNKS).await?;
            if points.is_empty() {
                bail!(
                    "its points: there are {done}, not {}; hint: run `ragstone fsck`",
                    packed.chunks
                );
            }
            done += points.len() as u32;
            let mut lines = Vec::new();
            for point in points {
                lines.extend(encode_line(&point.into())?);
            }
            writer.write_chunks(&lines)?;
        }
        Ok(())
    }

    async fn copy_blob<'a>(
        &self,
        writer: &mut DocumentWriter<'a>,
        key: &Key,
        begin: impl FnOnce(&mut DocumentWriter<'a>, u64) -> Result<(), ragstone_adapters::archive::ArchiveError>,
    ) -> anyhow::Result<()> {
        let blobs: &dyn ObjectStore = self.blobs.as_ref();
        let found = blobs.get(key).await?;
        begin(writer, found.meta.size)?;
        let mut pieces = found.into_stream();
        while let Some(piece) = pieces.next().await {
            writer.append_bytes(&piece?)?;
        }
        Ok(())
    }
}

/// What happened to one document.
enum ExportOutcome {
    Written(VersionStamp),
    /// The document is no longer published.
    Unpublished,
    LeftOut(String),
}
