//! Files that came in a mail, taken in as documents of their own while the mail is parsed.
//!
//! Invariant: they are begun before the mail's text is stored and what it lost is tombstoned before it is published, both
//! under the lease of its job. So a job that was cut off does it again or finds it done, and a mail that is published has
//! the files that it names.

use super::arrival::Arriving;
use super::{AcceptError, Ingestor, Received, Trouble};
use crate::access::Scope;
use crate::document::{ATTACHMENT_MARK, AttachedFile, Document, MAX_URI_BYTES, Outline, ParseWarning};
use crate::id::{DocumentId, JobId};
use crate::seam::CatalogueError;
use crate::seam::attachments::{Attached, Attachment};
use crate::seam::catalogue::{Begun, Claim};

/// Files that are taken out of one mail: out of one that came by itself, out of one in it. A mail in that one is read,
/// and nothing is taken out of it.
const MAX_FILES: [usize; 2] = [100, 20];

/// The URI of a file in the document with the URI `mail`.
fn uri_of(mail: &str, file: &AttachedFile) -> String {
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
pub(super) struct Files<'a, 'claim> {
    ingestor: &'a Ingestor,
    claim: &'claim Claim,
    /// The file whose bytes come; none while they are let pass.
    coming: Option<(AttachedFile, Arriving<'a>)>,
    begun: usize,
    /// What is not taken in, and why.
    pub(super) warnings: Vec<ParseWarning>,
}

impl<'a, 'claim> Files<'a, 'claim> {
    /// None yet, of the document of `claim`.
    pub(super) fn of(ingestor: &'a Ingestor, claim: &'claim Claim) -> Self {
        Self {
            ingestor,
            claim,
            coming: None,
            begun: 0,
            warnings: Vec::new(),
        }
    }

    /// A file begins.
    pub(super) fn begin(&mut self, file: &AttachedFile) {
        let mail = &self.claim.document.uri;
        let limit = MAX_FILES.get(mail.matches(ATTACHMENT_MARK).count());
        self.coming = None;
        match limit {
            None => self.warn(file, "mails in mails are not read any deeper"),
            Some(&limit) if self.begun >= limit => self.warn(file, "the mail has too many attachments"),
            _ if uri_of(mail, file).len() > MAX_URI_BYTES => self.warn(file, "its URI would be too long"),
            _ => {
                self.begun += 1;
                self.coming = Some((file.clone(), Arriving::begin(self.ingestor, &file.name)));
            }
        }
    }

    /// Its next bytes.
    pub(super) async fn take(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let Some((file, mut arriving)) = self.coming.take() else {
            return Ok(());
        };
        if let Err(error) = arriving.write(bytes).await {
            arriving.abort().await;
            return self.refused(&file, error);
        }
        if arriving.bytes() < file.bytes {
            self.coming = Some((file, arriving));
            return Ok(());
        }
        let taken = async {
            let received = arriving.finish().await?;
            self.ingestor.attach(self.claim, &file, received).await
        };
        match self.ingestor.whole(&self.claim.lease, taken).await {
            Ok(()) => Ok(()),
            Err(error) => self.refused(&file, error),
        }
    }

    /// A file that cannot be taken in is told and costs the mail nothing; a store that does not work is the mail's trouble.
    fn refused(&mut self, file: &AttachedFile, error: AcceptError) -> Result<(), Trouble> {
        match error {
            AcceptError::Catalogue(CatalogueError::UriTaken) | AcceptError::TooLarge { .. } => {
                self.warn(file, &error.to_string());
                Ok(())
            }
            AcceptError::Catalogue(error) => Err(error.into()),
            error => Err(Trouble::outage("blob_store_failed", error, None)),
        }
    }

    fn warn(&mut self, file: &AttachedFile, why: &str) {
        self.warnings.push(ParseWarning {
            code: "attachment_not_read".into(),
            detail: format!("{}: {why}", file.name),
            pages: Vec::new(),
        });
    }
}

impl Ingestor {
    /// Begins a version of a received file in the document of `claim`.
    async fn attach(&self, claim: &Claim, file: &AttachedFile, mut received: Received) -> Result<(), AcceptError> {
        let attachment = Attachment {
            uri: uri_of(&claim.document.uri, file),
            name: file.name.clone(),
            declared_media_type: file.media_type.clone(),
            content_hash: received.content_hash,
            bytes: received.bytes,
            incoming: received.key().to_owned(),
            pipeline: self.pipeline().fingerprint().to_owned(),
        };
        let id = file_id(&claim.document, file);
        let catalogue = &self.stores.catalogue;
        let before = catalogue.named(&[id]).await.unwrap_or_default();
        received.incoming.settle();
        let (job, now) = (JobId((self.new_id)()), (self.clock)());
        match catalogue.attach(&claim.lease, attachment, job, now).await {
            Ok(Begun::Started(..)) => self.remove_waiting(&before).await,
            Ok(Begun::Updated(document)) => {
                self.spread_access(&document).await;
                self.record_change(document.id, None).await;
                self.discard_received(received).await?;
            }
            Ok(Begun::Unchanged(_)) => self.discard_received(received).await?,
            Err(error) => {
                self.discard_unless_named(id, received).await;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// The mail that brought a document; none if it came by itself.
    pub async fn mail_of(&self, document: &Document) -> Result<Option<DocumentId>, CatalogueError> {
        let Some((mail, _)) = document.uri.rsplit_once(ATTACHMENT_MARK) else {
            return Ok(None);
        };
        let mail = DocumentId::of(&document.acl.tenant, &document.collection, &document.source, mail);
        let within = self.stores.catalogue.attached(mail).await?;
        Ok(within.iter().any(|one| one.document == document.id).then_some(mail))
    }

    /// Tombstones what is attached to the document of `claim` and not in `outline`.
    pub(super) async fn detach_the_rest(&self, claim: &Claim, outline: &Outline) -> Result<(), Trouble> {
        // A first version that was never tried before has lost nothing.
        if claim.document.version == 1 && claim.lease.attempt == 1 {
            return Ok(());
        }
        let files = outline.attachments.iter();
        let kept: Vec<_> = files.map(|file| file_id(&claim.document, file)).collect();
        self.detach(claim, |attached| !kept.contains(&attached.document)).await
    }

    /// Tombstones everything that was attached to the tombstoned document of `claim`.
    pub(super) async fn detach_all(&self, claim: &Claim) -> Result<(), Trouble> {
        self.detach(claim, |_| true).await
    }

    async fn detach(&self, claim: &Claim, goes: impl Fn(&Attached) -> bool) -> Result<(), Trouble> {
        let (catalogue, lease) = (&self.stores.catalogue, &claim.lease);
        for attached in catalogue.attached(lease.document).await?.iter().filter(|a| goes(a)) {
            let job = JobId((self.new_id)());
            let purge = catalogue.detach(lease, attached.document, job, (self.clock)()).await?;
            if let Some(purge) = &purge {
                self.note_deleted(&claim.document.acl.tenant, purge).await;
            }
        }
        Ok(())
    }

    /// Tombstones at once what its mail's purge would come to: best effort, and the purge does the rest.
    pub(super) async fn delete_attachments(&self, scope: &Scope, mail: DocumentId) {
        for document in self.everything_in(mail).await {
            if let Err(error) = self.bury(scope, document).await {
                tracing::warn!(%document, %error, "an attachment waits for the purge of its mail");
            }
        }
    }

    /// Gives the points of everything in a mail the readers that it has from its mail.
    pub(super) async fn spread_to_attachments(&self, mail: DocumentId) {
        let within = self.everything_in(mail).await;
        if within.is_empty() {
            return;
        }
        match self.stores.catalogue.standing(&within).await {
            Ok(documents) => {
                for document in &documents {
                    self.spread_access(document).await;
                }
            }
            Err(error) => tracing::warn!(document = %mail, %error, "readers not spread to attachments yet"),
        }
    }

    /// What is attached to a mail, and to that, the mail's own first.
    pub(super) async fn everything_in(&self, mail: DocumentId) -> Vec<DocumentId> {
        let (mut found, mut next) = (Vec::new(), vec![mail]);
        for _ in 0..=MAX_FILES.len() {
            let mut below = Vec::new();
            for &document in &next {
                match self.stores.catalogue.attached(document).await {
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

fn file_id(mail: &Document, file: &AttachedFile) -> DocumentId {
    let uri = uri_of(&mail.uri, file);
    DocumentId::of(&mail.acl.tenant, &mail.collection, &mail.source, &uri)
}
