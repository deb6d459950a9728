//! Bringing a version's original and its text to their place in the blob store.
//!
//! Invariant: text is stored while it is parsed and never whole in memory; a text without words is not stored.

use async_trait::async_trait;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::attached::AttachmentReceiver;
use super::documents::DocumentPipeline;
use super::keep::LeaseKeeper;
use super::trouble::{RetryPolicy, StepError};
use crate::document::{AttachedFile, JobStage};
use crate::library::text::{StoredText, TextWriter, original_key, text_key};
use crate::seam::catalogue::{ClaimedJob, OriginalLocation};
use crate::seam::parser::{PageReceiver, ParseOutput, ParseRequest, ReceiverClosedError};

/// Pages after which the ledger is told how far the parser is.
const PAGES_PER_PROGRESS: u64 = 100;

impl DocumentPipeline {
    /// Brings the original to the final key of this generation.
    pub(super) async fn store_original(&self, claim: &ClaimedJob) -> Result<(), StepError> {
        let (blobs, lease) = (&self.context.stores.blobs, &claim.lease);
        let tenant = &claim.document.acl.tenant;
        let to = original_key(tenant, lease.document, lease.generation);
        let from = match &claim.original {
            OriginalLocation::Incoming(key) => Path::from(key.as_str()),
            OriginalLocation::Stored(generation) => original_key(tenant, lease.document, *generation),
        };
        match blobs.copy(&from, &to).await {
            // The text is enough to make points of; `fsck` tells of the original.
            Err(object_store::Error::NotFound { .. }) if self.find_parsed_text(claim).await.is_some() => {
                return Ok(());
            }
            copied => copied?,
        }
        self.context.stores.catalogue.mark_original_stored(lease).await?;
        if let OriginalLocation::Incoming(_) = &claim.original {
            self.incoming.remove_incoming(&from).await;
        }
        Ok(())
    }

    /// The text, from an earlier generation where the same parser made it of the same bytes.
    pub(super) async fn parse_document(&self, claim: &ClaimedJob) -> Result<StoredText<'_>, StepError> {
        self.leases.report_progress(&claim.lease, JobStage::Parse, 0, 0).await?;
        let (lease, tenant) = (&claim.lease, &claim.document.acl.tenant);
        let to = text_key(tenant, lease.document, lease.generation);
        if let Some(earlier) = self.find_parsed_text(claim).await {
            return Ok(self.leases.uncancellable(lease, earlier.copy_to(to)).await?);
        }
        let mut pages = PageWriter {
            leases: &self.leases,
            claim,
            writer: TextWriter::new(self.context.stores.blobs.as_ref(), to)?,
            taken: 0,
            files: AttachmentReceiver::for_claim(&self.attachments, claim),
            trouble: None,
        };
        match self.parse_into(claim, &mut pages).await {
            Ok(mut parsed) => {
                parsed.outline.warnings.append(&mut pages.files.warnings);
                let parser = self.context.stores.parser.fingerprint();
                let finished = pages.writer.finish(parser, parsed.media_type, parsed.outline);
                Ok(self.leases.uncancellable(lease, finished).await?)
            }
            Err(trouble) => {
                pages.writer.abort().await;
                Err(trouble)
            }
        }
    }

    async fn parse_into(&self, claim: &ClaimedJob, pages: &mut PageWriter<'_, '_>) -> Result<ParseOutput, StepError> {
        let request = ParseRequest {
            tenant: claim.document.acl.tenant.clone(),
            blob: original_key(&claim.document.acl.tenant, claim.lease.document, claim.lease.generation),
            name: claim.name.clone(),
            declared_media_type: claim.declared_media_type.clone(),
        };
        let parsed = self
            .context
            .stores
            .parser
            .parse_document(self.context.stores.blobs.as_ref(), &request, pages)
            .await;
        // What stopped the text is the cause, whatever the parser makes of it.
        if let Some(trouble) = pages.trouble.take() {
            return Err(trouble);
        }
        let parsed = parsed?;
        if pages.writer.is_blank() {
            let detail = format!("{} holds no text", claim.name);
            return Err(StepError::new(
                "no_text",
                detail,
                "scanned pages need OCR before they are ingested",
                RetryPolicy::Never,
            ));
        }
        Ok(parsed)
    }

    async fn find_parsed_text(&self, claim: &ClaimedJob) -> Option<StoredText<'_>> {
        let OriginalLocation::Stored(generation) = claim.original else {
            return None;
        };
        let key = text_key(&claim.document.acl.tenant, claim.lease.document, generation);
        let stored = StoredText::open_text(self.context.stores.blobs.as_ref(), key)
            .await
            .ok()?;
        if stored.parser_fingerprint() != self.context.stores.parser.fingerprint() {
            return None;
        }
        let mut reader = stored.range_reader();
        for span in stored.pages() {
            reader.read_range(&span.range).await.ok()??;
        }
        drop(reader);
        Some(stored)
    }
}

/// Stores pages as the parser hands them out, and keeps what went wrong with it.
struct PageWriter<'a, 'claim> {
    leases: &'a LeaseKeeper,
    claim: &'claim ClaimedJob,
    writer: TextWriter<'a>,
    taken: u64,
    files: AttachmentReceiver<'a, 'claim>,
    trouble: Option<StepError>,
}

impl PageWriter<'_, '_> {
    async fn write_page(&mut self, page: Option<u32>, text: &str) -> Result<(), StepError> {
        self.writer.write_page(page, text).await?;
        self.taken += 1;
        if self.taken.is_multiple_of(PAGES_PER_PROGRESS) {
            let lease = &self.claim.lease;
            self.leases
                .report_progress(lease, JobStage::Parse, self.taken, 0)
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl PageReceiver for PageWriter<'_, '_> {
    async fn receive_page(&mut self, page: Option<u32>, text: &str) -> Result<(), ReceiverClosedError> {
        self.write_page(page, text).await.map_err(|trouble| {
            self.trouble = Some(trouble);
            ReceiverClosedError
        })
    }

    async fn receive_attachment(&mut self, file: &AttachedFile) -> Result<(), ReceiverClosedError> {
        self.files.begin_file(file);
        Ok(())
    }

    async fn receive_attachment_bytes(&mut self, bytes: &[u8]) -> Result<(), ReceiverClosedError> {
        self.files.receive_bytes(bytes).await.map_err(|trouble| {
            self.trouble = Some(trouble);
            ReceiverClosedError
        })
    }
}
