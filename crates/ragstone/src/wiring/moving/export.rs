//! Writing the archive: documents one by one, then once more those that changed meanwhile.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use futures::StreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use ragstone_adapters::archive::{ArchiveWriter, DocumentWriter, Header, Mark, encode_line};
use ragstone_core::id::{DocumentId, TenantId};
use ragstone_core::library::text::{original_key, text_key};
use ragstone_core::seam::catalogue::DocumentFilter;
use ragstone_core::seam::portable::Packed;
use serde_json::{Value, json};

use super::{Listener, Moving, aside};

/// Chunks of one entry.
const CHUNKS: usize = 128;
/// How often a document that changes while it is read is read again.
const ATTEMPTS: usize = 3;

impl Moving {
    /// Writes every published document to the file `path`, or goes on where an earlier try broke off.
    pub async fn export(&self, path: PathBuf, listener: &Listener) -> anyhow::Result<Value> {
        let spec = self.held().await?;
        let header = Header::new(format!("ragstone {}", env!("CARGO_PKG_VERSION")), spec);
        let all = self.vectors.documents(DocumentFilter::default()).await?;
        let (mut archive, marks) = self.begin(path, header).await?;
        let mut marks: HashMap<DocumentId, Mark> = marks.into_iter().map(|mark| (mark.id, mark)).collect();
        let (mut left_out, total) = (0, all.len() as u64);
        for (n, (_, document)) in (0..).zip(&all) {
            listener.progress("documents", n, total);
            if !marks.contains_key(document) {
                match self.put(&mut archive, *document).await? {
                    Put::Written(mark) => drop(marks.insert(*document, mark)),
                    Put::Gone => {}
                    Put::LeftOut(why) => {
                        left_out += 1;
                        listener.left_out(&document.to_string(), why).await;
                    }
                }
            }
        }
        listener.progress("documents", total, total);
        left_out += self.catch_up(&mut archive, &marks, listener).await?;
        let mut tenants: Vec<TenantId> = all.into_iter().map(|(tenant, _)| tenant).collect();
        tenants.dedup();
        let questions = self.questions(&marks, listener).await?;
        let (sources, settings) = (self.all_sources().await?, self.settings_of(&tenants).await?);
        let totals = aside(move || archive.finish(&sources, &settings, &questions)).await??;
        let mut told = serde_json::to_value(totals)?;
        told["left_out"] = json!(left_out);
        Ok(told)
    }

    async fn begin(&self, path: PathBuf, header: Header) -> anyhow::Result<(ArchiveWriter, Vec<Mark>)> {
        let (portable, runtime) = (self.portable.clone(), tokio::runtime::Handle::current());
        let keep = move |mark: &Mark| {
            let found = runtime.block_on(portable.pack(mark.id));
            found.is_ok_and(|found| found.is_some_and(|packed| Mark::of(&packed) == *mark))
        };
        Ok(aside(move || ArchiveWriter::open(&path, &header, keep)).await??)
    }

    /// What changed since it was written is written again, and what is gone does not count.
    async fn catch_up(
        &self,
        archive: &mut ArchiveWriter,
        marks: &HashMap<DocumentId, Mark>,
        listener: &Listener,
    ) -> anyhow::Result<u64> {
        let mut left_out = 0;
        for (document, mark) in marks {
            let found = self.portable.pack(*document).await?;
            if found.is_some_and(|packed| Mark::of(&packed) == *mark) {
                continue;
            }
            archive.withdraw(*document);
            if let Put::LeftOut(why) = self.put(archive, *document).await? {
                left_out += 1;
                listener.left_out(&document.to_string(), why).await;
            }
        }
        Ok(left_out)
    }

    /// Writes one document as it stands.
    async fn put(&self, archive: &mut ArchiveWriter, document: DocumentId) -> anyhow::Result<Put> {
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            let Some(packed) = self.portable.pack(document).await? else {
                return Ok(Put::Gone);
            };
            let mut writer = archive.document();
            let written = self.write(&mut writer, &packed).await;
            let after = self.portable.pack(document).await?;
            let is_same = after.is_some_and(|after| Mark::of(&after) == Mark::of(&packed));
            match written {
                Ok(()) if is_same => {
                    writer.finish(&packed)?;
                    return Ok(Put::Written(Mark::of(&packed)));
                }
                Ok(()) => why = "it changes while it is read".to_owned(),
                Err(error) if error.is::<ragstone_adapters::archive::ArchiveError>() => return Err(error),
                Err(error) => why = format!("{error:#}"),
            }
            writer.abandon()?;
        }
        Ok(Put::LeftOut(why))
    }

    async fn write(&self, writer: &mut DocumentWriter<'_>, packed: &Packed) -> anyhow::Result<()> {
        let (tenant, id, generation) = (&packed.acl.tenant, packed.id, packed.generation);
        let original = original_key(tenant, id, generation);
        self.copy(writer, &original, DocumentWriter::original)
            .await
            .context("its original")?;
        let text = text_key(tenant, id, generation);
        self.copy(writer, &text, DocumentWriter::text)
            .await
            .context("its text")?;
        let mut done = 0;
        while done < packed.chunks {
            let points = self.points.points(id, generation, done, CHUNKS).await?;
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
            writer.chunks(&lines)?;
        }
        Ok(())
    }

    async fn copy<'a>(
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
            writer.append(&piece?)?;
        }
        Ok(())
    }
}

/// What became of a document.
enum Put {
    Written(Mark),
    /// It is not published any more.
    Gone,
    LeftOut(String),
}
