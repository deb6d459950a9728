//! Bringing a version's original and its text to their place in the blob store.
//!
//! Invariant: text is stored while it is parsed and never whole in memory; a text without words is not stored.

use async_trait::async_trait;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::attached::Files;
use super::{Ingestor, Retry, Trouble};
use crate::document::{AttachedFile, Stage};
use crate::library::text::{StoredText, TextWriter, original_key, text_key};
use crate::seam::catalogue::{Claim, Original};
use crate::seam::parser::{NotTaken, PageReceiver, ParseRequest, Parsed};

/// Pages after which the ledger is told how far the parser is.
const PAGES_A_NOTE: u64 = 100;

impl Ingestor {
    /// Brings the original to the final key of this generation.
    pub(super) async fn load(&self, claim: &Claim) -> Result<(), Trouble> {
        let (blobs, lease) = (&self.stores.blobs, &claim.lease);
        let tenant = &claim.document.acl.tenant;
        let to = original_key(tenant, lease.document, lease.generation);
        let from = match &claim.original {
            Original::Incoming(key) => Path::from(key.as_str()),
            Original::Stored(generation) => original_key(tenant, lease.document, *generation),
        };
        match blobs.copy(&from, &to).await {
            // The text is enough to make points of; `fsck` tells of the original.
            Err(object_store::Error::NotFound { .. }) if self.parsed_before(claim).await.is_some() => {
                return Ok(());
            }
            copied => copied?,
        }
        self.stores.catalogue.stored(lease).await?;
        if let Original::Incoming(_) = &claim.original {
            self.remove_incoming(&from).await;
        }
        Ok(())
    }

    /// The text, from an earlier generation where the same parser made it of the same bytes.
    pub(super) async fn parse(&self, claim: &Claim) -> Result<StoredText<'_>, Trouble> {
        self.note(&claim.lease, Stage::Parse, 0, 0).await?;
        let (lease, tenant) = (&claim.lease, &claim.document.acl.tenant);
        let to = text_key(tenant, lease.document, lease.generation);
        if let Some(earlier) = self.parsed_before(claim).await {
            return Ok(self.whole(lease, earlier.copy(to)).await?);
        }
        let mut pages = Pages {
            ingestor: self,
            claim,
            writer: TextWriter::new(self.stores.blobs.as_ref(), to)?,
            taken: 0,
            files: Files::of(self, claim),
            trouble: None,
        };
        match self.parse_into(claim, &mut pages).await {
            Ok(mut parsed) => {
                parsed.outline.warnings.append(&mut pages.files.warnings);
                let parser = self.stores.parser.fingerprint();
                let finished = pages.writer.finish(parser, parsed.media_type, parsed.outline);
                Ok(self.whole(lease, finished).await?)
            }
            Err(trouble) => {
                pages.writer.abort().await;
                Err(trouble)
            }
        }
    }

    async fn parse_into(&self, claim: &Claim, pages: &mut Pages<'_, '_>) -> Result<Parsed, Trouble> {
        let request = ParseRequest {
            tenant: claim.document.acl.tenant.clone(),
            blob: original_key(&claim.document.acl.tenant, claim.lease.document, claim.lease.generation),
            name: claim.name.clone(),
            declared_media_type: claim.declared_media_type.clone(),
        };
        let parsed = self
            .stores
            .parser
            .parse(self.stores.blobs.as_ref(), &request, pages)
            .await;
        // What stopped the text is the cause, whatever the parser makes of it.
        if let Some(trouble) = pages.trouble.take() {
            return Err(trouble);
        }
        let parsed = parsed?;
        if pages.writer.is_blank() {
            let detail = format!("{} holds no text", claim.name);
            return Err(Trouble::new(
                "no_text",
                detail,
                "scanned pages need OCR before they are ingested",
                Retry::Never,
            ));
        }
        Ok(parsed)
    }

    async fn parsed_before(&self, claim: &Claim) -> Option<StoredText<'_>> {
        let Original::Stored(generation) = claim.original else {
            return None;
        };
        let key = text_key(&claim.document.acl.tenant, claim.lease.document, generation);
        let stored = StoredText::open(self.stores.blobs.as_ref(), key).await.ok()?;
        if stored.parser() != self.stores.parser.fingerprint() {
            return None;
        }
        let mut reader = stored.reader();
        for span in stored.pages() {
            reader.read(&span.range).await.ok()??;
        }
        drop(reader);
        Some(stored)
    }
}

/// Stores pages as the parser hands them out, and keeps what went wrong with it.
struct Pages<'a, 'claim> {
    ingestor: &'a Ingestor,
    claim: &'claim Claim,
    writer: TextWriter<'a>,
    taken: u64,
    files: Files<'a, 'claim>,
    trouble: Option<Trouble>,
}

impl Pages<'_, '_> {
    async fn take(&mut self, page: Option<u32>, text: &str) -> Result<(), Trouble> {
        self.writer.page(page, text).await?;
        self.taken += 1;
        if self.taken.is_multiple_of(PAGES_A_NOTE) {
            let lease = &self.claim.lease;
            self.ingestor.note(lease, Stage::Parse, self.taken, 0).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl PageReceiver for Pages<'_, '_> {
    async fn page(&mut self, page: Option<u32>, text: &str) -> Result<(), NotTaken> {
        self.take(page, text).await.map_err(|trouble| {
            self.trouble = Some(trouble);
            NotTaken
        })
    }

    async fn attachment(&mut self, file: &AttachedFile) -> Result<(), NotTaken> {
        self.files.begin(file);
        Ok(())
    }

    async fn attached_bytes(&mut self, bytes: &[u8]) -> Result<(), NotTaken> {
        self.files.take(bytes).await.map_err(|trouble| {
            self.trouble = Some(trouble);
            NotTaken
        })
    }
}
