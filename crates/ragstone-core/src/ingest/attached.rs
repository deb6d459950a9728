//! Files that came in a mail, taken in as documents of their own while the mail is parsed.
//!
//! Invariant: they are begun before the mail's text is stored and what it lost is tombstoned before it is published, both
//! under the lease of its job. So a job that was cut off does it again or finds it done, and a mail that is published has
//! the files that it names.

use super::arrival::UploadWriter;
use super::{AcceptError, Ingestor, ReceivedFile, StepError};
use crate::access::Scope;
use crate::document::{ATTACHMENT_MARK, AttachedFile, Document, DocumentOutline, MAX_URI_BYTES, ParseWarning};
use crate::id::{DocumentId, JobId};
use crate::seam::CatalogueError;
use crate::seam::attachments::{AttachedDocument, NewAttachment};
use crate::seam::catalogue::{BeginOutcome, ClaimedJob};

/// Files that are taken out of one mail: out of one that came by itself, out of one in it. A mail in that one is read,
/// and nothing is taken out of it.
const MAX_ATTACHMENTS_BY_DEPTH: [usize; 2] = [100, 20];

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
    ingestor: &'a Ingestor,
    claim: &'claim ClaimedJob,
    /// The file whose bytes come; none while they are let pass.
    coming: Option<(AttachedFile, UploadWriter<'a>)>,
    begun: usize,
    /// What is not taken in, and why.
    pub(super) warnings: Vec<ParseWarning>,
}

impl<'a, 'claim> AttachmentReceiver<'a, 'claim> {
    /// None yet, of the document of `claim`.
    pub(super) fn for_claim(ingestor: &'a Ingestor, claim: &'claim ClaimedJob) -> Self {
        Self {
            ingestor,
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
                self.coming = Some((file.clone(), UploadWriter::start_upload(self.ingestor, &file.name)));
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
            self.ingestor.attach_file(self.claim, &file, received).await
        };
        match self.ingestor.uncancellable(&self.claim.lease, taken).await {
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

impl Ingestor {
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
            pipeline: self.pipeline().fingerprint().to_owned(),
        };
        let id = attachment_id(&claim.document, file);
        let catalogue = &self.stores.catalogue;
        let before = catalogue.get_document_refs(&[id]).await.unwrap_or_default();
        received.incoming.disarm();
        let (job, now) = (JobId((self.new_id)()), (self.clock)());
        match catalogue.begin_attachment(&claim.lease, attachment, job, now).await {
            Ok(BeginOutcome::Started(..)) => self.remove_waiting_uploads(&before).await,
            Ok(BeginOutcome::Updated(document)) => {
                self.update_point_access(&document).await;
                self.update_changed_manifests(document.id, None).await;
                self.discard_received(received).await?;
            }
            Ok(BeginOutcome::Unchanged(_)) => self.discard_received(received).await?,
            Err(error) => {
                self.discard_if_unreferenced(id, received).await;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// The mail that brought a document; none if it came by itself.
    pub async fn find_containing_mail(&self, document: &Document) -> Result<Option<DocumentId>, CatalogueError> {
        let Some((mail, _)) = document.uri.rsplit_once(ATTACHMENT_MARK) else {
            return Ok(None);
        };
        let mail = DocumentId::from_uri(&document.acl.tenant, &document.collection, &document.source, mail);
        let within = self.stores.catalogue.list_attachments(mail).await?;
        Ok(within.iter().any(|one| one.document == document.id).then_some(mail))
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
        let (catalogue, lease) = (&self.stores.catalogue, &claim.lease);
        for attached in catalogue
            .list_attachments(lease.document)
            .await?
            .iter()
            .filter(|a| goes(a))
        {
            let job = JobId((self.new_id)());
            let purge = catalogue
                .remove_attachment(lease, attached.document, job, (self.clock)())
                .await?;
            if let Some(purge) = &purge {
                self.write_deletion_note(&claim.document.acl.tenant, purge).await;
            }
        }
        Ok(())
    }

    /// Tombstones at once what its mail's purge would come to: best effort, and the purge does the rest.
    pub(super) async fn delete_attachments(&self, scope: &Scope, mail: DocumentId) {
        for document in self.list_nested_attachments(mail).await {
            if let Err(error) = self.tombstone(scope, document).await {
                tracing::warn!(%document, %error, "an attachment waits for the purge of its mail");
            }
        }
    }

    /// Gives the points of everything in a mail the readers that it has from its mail.
    pub(super) async fn update_attachment_access(&self, mail: DocumentId) {
        let within = self.list_nested_attachments(mail).await;
        if within.is_empty() {
            return;
        }
        match self.stores.catalogue.documents_unchecked(&within).await {
            Ok(documents) => {
                for document in &documents {
                    self.update_point_access(document).await;
                }
            }
            Err(error) => tracing::warn!(document = %mail, %error, "readers not spread to attachments yet"),
        }
    }

    /// What is attached to a mail, and to that, the mail's own first.
    pub(super) async fn list_nested_attachments(&self, mail: DocumentId) -> Vec<DocumentId> {
        let (mut found, mut next) = (Vec::new(), vec![mail]);
        for _ in 0..=MAX_ATTACHMENTS_BY_DEPTH.len() {
            let mut below = Vec::new();
            for &document in &next {
                match self.stores.catalogue.list_attachments(document).await {
                    Ok(attached) => below.extend(attached.iter().map(|one| one.document)),
                    Err(error) => tracing::warn!(%document, %error, "its attachments are not known"),
                }
            }
            found.extend(&below);
            next = below;
        }
        found
    }
}

fn attachment_id(mail: &Document, file: &AttachedFile) -> DocumentId {
    let uri = attachment_uri(&mail.uri, file);
    DocumentId::from_uri(&mail.acl.tenant, &mail.collection, &mail.source, &uri)
}
