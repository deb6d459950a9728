//! Files that came in a mail, taken in as documents of their own while the mail is parsed.
//!
//! Invariant: they are begun before the mail's text is stored and what it lost is tombstoned before it is published, both
//! under the lease of its job. So a job that was cut off does it again or finds it done, and a mail that is published has
//! the files that it names.

use std::sync::Arc;

use super::arrival::{AcceptError, IncomingFiles, ReceivedFile, UploadWriter};
use super::attachment_tree::MAX_ATTACHMENTS_BY_DEPTH;
use super::context::IngestContext;
use super::keep::LeaseKeeper;
use super::manifest::ManifestWriter;
use super::point_access::PointAccess;
use super::trouble::StepError;
use crate::document::{ATTACHMENT_MARK, AttachedFile, Document, DocumentOutline, MAX_URI_BYTES, ParseWarning};
use crate::id::{DocumentId, JobId};
use crate::seam::CatalogueError;
use crate::seam::attachments::{AttachedDocument, NewAttachment};
use crate::seam::catalogue::{BeginOutcome, ClaimedJob};

/// The URI of a file in the document with the URI `mail`.
fn attachment_uri(mail: &str, file: &AttachedFile) -> String {
    let mut uri = format!("{mail}{ATTACHMENT_MARK}{}/", file.number);
    for character in file.name.chars() {
        match character {
            '#' | '%' | '/' | '\\' | '?' | ' ' => {
                uri.push_str(&format!("%{:02X}", u32::from(character)));
            }
            character if character.is_control() => uri.push('_'),
            character => uri.push(character),
        }
    }
    uri
}

/// What is attached to a mail, as its parser hands it out.
pub(super) struct AttachmentReceiver<'a, 'claim> {
    attachments: &'a MailAttachments,
    claim: &'claim ClaimedJob,
    /// The file whose bytes come; none while they are let pass.
    coming: Option<(AttachedFile, UploadWriter<'a>)>,
    begun: usize,
    /// What is not taken in, and why.
    pub(super) warnings: Vec<ParseWarning>,
}

impl<'a, 'claim> AttachmentReceiver<'a, 'claim> {
    /// None yet, of the document of `claim`.
    pub(super) fn for_claim(attachments: &'a MailAttachments, claim: &'claim ClaimedJob) -> Self {
        Self {
            attachments,
            claim,
            coming: None,
            begun: 0,
            warnings: Vec::new(),
        }
    }

    /// A file begins.
    pub(super) fn begin_file(&mut self, file: &AttachedFile) {
        let mail = &self.claim.document.uri;
        let limit = MAX_ATTACHMENTS_BY_DEPTH.get(mail.matches(ATTACHMENT_MARK).count());
        self.coming = None;
        match limit {
            None => self.add_warning(file, "mails in mails are not read any deeper"),
            Some(&limit) if self.begun >= limit => self.add_warning(file, "the mail has too many attachments"),
            _ if attachment_uri(mail, file).len() > MAX_URI_BYTES => {
                self.add_warning(file, "its URI would be too long")
            }
            _ => {
                self.begun += 1;
                self.coming = Some((
                    file.clone(),
                    UploadWriter::start_upload(&self.attachments.incoming, &file.name),
                ));
            }
        }
    }

    /// Its next bytes.
    pub(super) async fn receive_bytes(&mut self, bytes: &[u8]) -> Result<(), StepError> {
        let Some((file, mut arriving)) = self.coming.take() else {
            return Ok(());
        };
        if let Err(error) = arriving.write(bytes).await {
            arriving.abort().await;
            return self.handle_refusal(&file, error);
        }
        if arriving.bytes_written() < file.bytes {
            self.coming = Some((file, arriving));
            return Ok(());
        }
        let taken = async {
            let received = arriving.finish().await?;
            self.attachments.attach_file(self.claim, &file, received).await
        };
        match self.attachments.leases.uncancellable(&self.claim.lease, taken).await {
            Ok(()) => Ok(()),
            Err(error) => self.handle_refusal(&file, error),
        }
    }

    /// A file that cannot be taken in is told and costs the mail nothing; a store that does not work is the mail's trouble.
    fn handle_refusal(&mut self, file: &AttachedFile, error: AcceptError) -> Result<(), StepError> {
        match error {
            AcceptError::Catalogue(CatalogueError::UriTaken) | AcceptError::TooLarge { .. } => {
                self.add_warning(file, &error.to_string());
                Ok(())
            }
            AcceptError::Catalogue(error) => Err(error.into()),
            error => Err(StepError::outage("blob_store_failed", error, None)),
        }
    }

    fn add_warning(&mut self, file: &AttachedFile, why: &str) {
        self.warnings.push(ParseWarning {
            code: "attachment_not_read".into(),
            detail: format!("{}: {why}", file.name),
            pages: Vec::new(),
        });
    }
}

/// Takes in what is attached to mails, and tombstones what they lost.
pub(super) struct MailAttachments {
    pub(super) context: Arc<IngestContext>,
    pub(super) leases: Arc<LeaseKeeper>,
    pub(super) incoming: Arc<IncomingFiles>,
    pub(super) manifests: Arc<ManifestWriter>,
    pub(super) access: Arc<PointAccess>,
}

impl MailAttachments {
    /// Begins a version of a received file in the document of `claim`.
    async fn attach_file(
        &self,
        claim: &ClaimedJob,
        file: &AttachedFile,
        mut received: ReceivedFile,
    ) -> Result<(), AcceptError> {
        let attachment = NewAttachment {
            uri: attachment_uri(&claim.document.uri, file),
            name: file.name.clone(),
            declared_media_type: file.media_type.clone(),
            content_hash: received.content_hash,
            bytes: received.bytes,
            incoming: received.incoming_key().to_owned(),
            pipeline: self.context.pipeline().fingerprint().to_owned(),
        };
        let id = attachment_id(&claim.document, file);
        let catalogue = &self.context.stores.catalogue;
        let before = catalogue.get_document_refs(&[id]).await.unwrap_or_default();
        received.incoming.disarm();
        let (job, now) = (JobId(self.context.new_id()), self.context.now());
        match catalogue.begin_attachment(&claim.lease, attachment, job, now).await {
            Ok(BeginOutcome::Started(..)) => self.incoming.remove_waiting_uploads(&before).await,
            Ok(BeginOutcome::Updated(document)) => {
                self.access.update_point_access(&document).await;
                self.manifests.update_changed_manifests(document.id, None).await;
                self.incoming.discard_received(received).await?;
            }
            Ok(BeginOutcome::Unchanged(_)) => self.incoming.discard_received(received).await?,
            Err(error) => {
                self.incoming.discard_if_unreferenced(id, received).await;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Tombstones what is attached to the document of `claim` and not in `outline`.
    pub(super) async fn remove_stale_attachments(
        &self,
        claim: &ClaimedJob,
        outline: &DocumentOutline,
    ) -> Result<(), StepError> {
        // A first version that was never tried before has lost nothing.
        if claim.document.version == 1 && claim.lease.attempt == 1 {
            return Ok(());
        }
        let files = outline.attachments.iter();
        let kept: Vec<_> = files.map(|file| attachment_id(&claim.document, file)).collect();
        self.remove_attachments_where(claim, |attached| !kept.contains(&attached.document))
            .await
    }

    /// Tombstones everything that was attached to the tombstoned document of `claim`.
    pub(super) async fn remove_all_attachments(&self, claim: &ClaimedJob) -> Result<(), StepError> {
        self.remove_attachments_where(claim, |_| true).await
    }

    async fn remove_attachments_where(
        &self,
        claim: &ClaimedJob,
        goes: impl Fn(&AttachedDocument) -> bool,
    ) -> Result<(), StepError> {
        let (catalogue, lease) = (&self.context.stores.catalogue, &claim.lease);
        for attached in catalogue
            .list_attachments(lease.document)
            .await?
            .iter()
            .filter(|a| goes(a))
        {
            let job = JobId(self.context.new_id());
            let purge = catalogue
                .remove_attachment(lease, attached.document, job, self.context.now())
                .await?;
            if let Some(purge) = &purge {
                self.manifests
                    .write_deletion_note(&claim.document.acl.tenant, purge)
                    .await;
            }
        }
        Ok(())
    }
}

fn attachment_id(mail: &Document, file: &AttachedFile) -> DocumentId {
    let uri = attachment_uri(&mail.uri, file);
    DocumentId::from_uri(&mail.acl.tenant, &mail.collection, &mail.source, &uri)
}
