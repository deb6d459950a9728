//! Attachments of the in-memory catalogue.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::catalogue::MemoryCatalogue;
use super::lock;
use crate::document::{DocumentStatus, Job};
use crate::id::{DocumentId, JobId};
use crate::seam::attachments::{AttachedDocument, AttachmentStore, NewAttachment};
use crate::seam::catalogue::{BeginOutcome, CatalogueError, CatalogueResult, JobLease};

#[async_trait]
impl AttachmentStore for MemoryCatalogue {
    async fn begin_attachment(
        &self,
        lease: &JobLease,
        attachment: NewAttachment,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome> {
        let mut state = lock(&self.state);
        let batch = state.leased(lease)?.job.parent;
        let mail = state.documents.get(&lease.document).map(|entry| entry.document.clone());
        let mail = mail.filter(|mail| mail.status != DocumentStatus::Deleting);
        let mail = mail.ok_or(CatalogueError::Stale)?;
        let version = attachment.into_new_version(&mail, batch);
        let id = version.document_id();
        let is_attached = state.attached.get(&id).is_some_and(|(of, _)| *of == mail.id);
        let living = state.documents.get(&id);
        let living = living.filter(|entry| entry.document.status != DocumentStatus::Deleting);
        if !is_attached && living.is_some_and(|entry| entry.document.acl != mail.acl) {
            return Err(CatalogueError::UriTaken);
        }
        let begun = state.put(version, |_| true, job, now)?;
        state.attached.insert(id, (mail.id, lease.generation));
        Ok(begun)
    }

    async fn list_attachments(&self, document: DocumentId) -> CatalogueResult<Vec<AttachedDocument>> {
        let state = lock(&self.state);
        let all = state.attached.iter().filter(|(_, (of, _))| *of == document);
        Ok(all
            .map(|(&document, &(_, by))| AttachedDocument {
                document,
                mail_generation: by,
            })
            .collect())
    }

    async fn remove_attachment(
        &self,
        lease: &JobLease,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let mut state = lock(&self.state);
        state.leased(lease)?;
        let is_older = state
            .attached
            .get(&document)
            .is_some_and(|(of, by)| *of == lease.document && *by < lease.generation);
        let Some(entry) = state.documents.get(&document).filter(|_| is_older).cloned() else {
            return Ok(None);
        };
        Ok(Some(state.bury_document(entry, job, now)))
    }
}
