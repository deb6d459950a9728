//! Finds the documents that a source's list no longer names, and deletes or holds them.

use std::collections::BTreeSet;

use super::guard::{DeletionPolicy, MissingCounts};
use super::one::SyncRun;
use super::{PAGE, source_job_error};
use crate::document::{ATTACHMENT_MARK, Document, JobError};
use crate::id::DocumentId;
use crate::seam::CatalogueError;
use crate::seam::catalogue::{DocumentFilter, PageRequest};
use crate::seam::source::{HiddenItems, ListGap, SourceError};

/// Error code of a sync that held deletions back.
const HELD: &str = "sync_held";
/// Error code of a sync whose source listed nothing.
const NOTHING_LISTED: &str = "source_empty";

/// Most gaps that are compared with each known item; with more of them, any item may be behind one.
const MAX_GAPS: usize = 1_000;

/// The documents of a source, sorted by whether a listed item has them.
#[derive(Default)]
struct SourceDocuments {
    missing: Vec<DocumentId>,
    /// Number of documents that this sync has not created itself.
    before: u64,
}

impl SyncRun<'_> {
    /// Keeps the state of items that may be behind a gap, and reports each gap as a failure.
    pub(super) fn retain_hidden_items(&mut self, gaps: &[ListGap], listed: &BTreeSet<&str>) {
        let hiding = || gaps.iter().filter(|gap| gap.hides != HiddenItems::None);
        let is_too_many = hiding().nth(MAX_GAPS).is_some();
        for (key, known) in &self.before {
            let is_hidden = || is_too_many || hiding().any(|gap| gap.hides.contains(key));
            if !listed.contains(key.as_str()) && is_hidden() {
                self.now.insert(key.clone(), known.clone());
            }
        }
        for gap in gaps {
            self.failures.add_failure(&gap.uri, source_job_error(&gap.error));
        }
    }

    /// Deletes the documents that the list no longer names, or holds them all if they are unusually many. `is_empty` is
    /// true if the list was empty.
    pub(super) async fn handle_missing(&mut self, gaps: &[ListGap], is_empty: bool) -> Result<(), CatalogueError> {
        let SourceDocuments { missing, before } = self.sort_documents(gaps).await?;
        let leftover = MissingCounts {
            missing: missing.len() as u64,
            before,
            is_empty,
        };
        let is_held = leftover.is_held(self.syncer.max_deleted_share);
        if is_held && self.deletions == DeletionPolicy::Guarded {
            self.hold_deletions(leftover, gaps);
            return Ok(());
        }
        if before == 0 && is_empty && self.failures.is_empty() {
            self.report.error = Some(empty_listing_error());
        }
        for document in missing {
            let deleted = self
                .syncer
                .ingestor
                .uploads()
                .delete_document(&self.principal, document)
                .await?;
            if deleted.is_some() {
                self.report.counts.deleted += 1;
                (self.syncer.notify_workers)();
            }
        }
        Ok(())
    }

    /// Keeps the missing documents and the state of their items, so that an item that comes back is recognised.
    fn hold_deletions(&mut self, leftover: MissingCounts, gaps: &[ListGap]) {
        let renamed: BTreeSet<&str> = self.now.values().map(|known| known.uri.as_str()).collect();
        let missing: Vec<_> = self
            .before
            .iter()
            .filter(|(key, known)| !self.now.contains_key(*key) && !renamed.contains(known.uri.as_str()))
            .map(|(key, known)| (key.clone(), known.clone()))
            .collect();
        self.now.extend(missing);
        self.report.held = leftover.missing;
        let why = match gaps.first().filter(|_| leftover.is_empty) {
            Some(gap) => format!("the source lists nothing ({})", gap.error),
            None if leftover.is_empty => "the source lists nothing".to_owned(),
            None => "that is more than a sync deletes by itself".to_owned(),
        };
        let (missing, before) = (leftover.missing, leftover.before);
        self.report.error = Some(JobError {
            code: HELD.into(),
            detail: format!("{missing} of {before} documents are missing from the list and were kept: {why}"),
            hint: format!("if they are to go, {} deletes them", self.allow_deletions_command()),
        });
    }

    /// Reports that the source could not be listed: every document is kept, even if deletions were allowed.
    pub(super) async fn hold_all_documents(&mut self, error: &SourceError) -> Result<(), CatalogueError> {
        let mut told = source_job_error(error);
        if !matches!(error, SourceError::Refused(_)) {
            let all = self.sort_documents(&[]).await?.before;
            self.report.held = all;
            if all > 0 {
                told.hint = format!(
                    "its {all} documents were kept; it is tried again at the next sync. Once it answers and they are to go, \
                     {} deletes them",
                    self.allow_deletions_command()
                );
            }
        }
        self.report.error = Some(told);
        Ok(())
    }

    fn allow_deletions_command(&self) -> String {
        format!("`ragstone source sync {} --allow-deletions`", self.record.name)
    }

    /// Sorts every document of the source. Attachments of a kept document are kept; a document without a saved item
    /// state is kept if there is a gap that may hide its item.
    async fn sort_documents(&self, gaps: &[ListGap]) -> Result<SourceDocuments, CatalogueError> {
        let kept: BTreeSet<DocumentId> = self.now.values().map(|known| self.document_id(&known.uri)).collect();
        let remembered: BTreeSet<DocumentId> = self.before.values().map(|known| self.document_id(&known.uri)).collect();
        let hides_any = gaps.iter().any(|gap| gap.hides != HiddenItems::None);
        let of = |document: &Document| match document.uri.split_once(ATTACHMENT_MARK) {
            Some((mail, _)) if !kept.contains(&document.id) && !remembered.contains(&document.id) => {
                self.document_id(mail)
            }
            _ => document.id,
        };
        let filter = DocumentFilter {
            source: Some(self.record.name.clone()),
            ..DocumentFilter::default()
        };
        let (scope, mut cursor, mut sorted) = (self.principal.scope(), None, SourceDocuments::default());
        loop {
            let page = PageRequest { cursor, limit: PAGE };
            let found = self.syncer.catalogue.list_documents(&scope, &filter, &page).await?;
            for document in &found.items {
                let id = of(document);
                sorted.before += u64::from(!self.begun.contains(&id));
                if !kept.contains(&id) && (remembered.contains(&id) || !hides_any) {
                    sorted.missing.push(document.id);
                }
            }
            match found.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(sorted),
            }
        }
    }
}

fn empty_listing_error() -> JobError {
    JobError {
        code: NOTHING_LISTED.into(),
        detail: "the source lists nothing that could be taken in".into(),
        hint: "compare its settings, such as path, patterns and addresses, with what is there".into(),
    }
}
