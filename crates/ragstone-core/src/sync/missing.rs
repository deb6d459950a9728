//! What of a source's documents is missing from its list, and what becomes of it.

use std::collections::BTreeSet;

use super::guard::{Deletions, Leftover};
use super::one::Sync;
use super::{PAGE, trouble};
use crate::document::{ATTACHMENT_MARK, Document, JobError};
use crate::id::DocumentId;
use crate::seam::CatalogueError;
use crate::seam::catalogue::{DocumentFilter, PageRequest};
use crate::seam::source::{HiddenItems, ListGap, SourceError};

/// The code of a sync that held deletions back.
const HELD: &str = "sync_held";
/// The code of a sync that found nothing.
const NOTHING_LISTED: &str = "source_empty";

/// Gaps that are looked through for each known item; with more of them, anything may be behind one.
const MAX_GAPS: usize = 1_000;

/// The documents of a source, by whether an item of the list has them.
#[derive(Default)]
struct Sorted {
    missing: Vec<DocumentId>,
    /// Those that this sync has not begun itself.
    before: u64,
}

impl Sync<'_> {
    /// Keeps what is known of items that may be behind a gap, and tells of the gap.
    pub(super) fn keep_hidden(&mut self, gaps: &[ListGap], listed: &BTreeSet<&str>) {
        let hiding = || gaps.iter().filter(|gap| gap.hides != HiddenItems::None);
        let is_too_many = hiding().nth(MAX_GAPS).is_some();
        for (key, known) in &self.before {
            let is_hidden = || is_too_many || hiding().any(|gap| gap.hides.contains(key));
            if !listed.contains(key.as_str()) && is_hidden() {
                self.now.insert(key.clone(), known.clone());
            }
        }
        for gap in gaps {
            self.failures.add(&gap.uri, trouble(&gap.error));
        }
    }

    /// Deletes the documents that the list no longer names, or holds them all if they are unusually many. `is_empty` says
    /// whether the list named nothing.
    pub(super) async fn settle_missing(&mut self, gaps: &[ListGap], is_empty: bool) -> Result<(), CatalogueError> {
        let Sorted { missing, before } = self.sorted(gaps).await?;
        let leftover = Leftover {
            missing: missing.len() as u64,
            before,
            is_empty,
        };
        let is_held = leftover.is_held(self.syncer.max_deleted_share);
        if is_held && self.deletions == Deletions::Guarded {
            self.hold(leftover, gaps);
            return Ok(());
        }
        if before == 0 && is_empty && self.failures.is_empty() {
            self.report.error = Some(nothing_listed());
        }
        for document in missing {
            let deleted = self.syncer.ingestor.delete(&self.principal, document).await?;
            if deleted.is_some() {
                self.report.counts.deleted += 1;
                (self.syncer.doorbell)();
            }
        }
        Ok(())
    }

    /// Keeps the missing documents, and what is known of their items, so that one which comes back is known again.
    fn hold(&mut self, leftover: Leftover, gaps: &[ListGap]) {
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
            hint: format!("if they are to go, {} deletes them", self.allowing()),
        });
    }

    /// Notes that nothing can be said about what is there: every document is kept, whatever was allowed.
    pub(super) async fn hold_all(&mut self, error: &SourceError) -> Result<(), CatalogueError> {
        let mut told = trouble(error);
        if !matches!(error, SourceError::Refused(_)) {
            let all = self.sorted(&[]).await?.before;
            self.report.held = all;
            if all > 0 {
                told.hint = format!(
                    "its {all} documents were kept; it is tried again at the next sync. Once it answers and they are to go, \
                     {} deletes them",
                    self.allowing()
                );
            }
        }
        self.report.error = Some(told);
        Ok(())
    }

    fn allowing(&self) -> String {
        format!("`ragstone source sync {} --allow-deletions`", self.record.name)
    }

    /// Sorts every document of the source. What is attached to a kept one is kept, and what no sync remembers is kept if
    /// there is a gap that may hide it.
    async fn sorted(&self, gaps: &[ListGap]) -> Result<Sorted, CatalogueError> {
        let kept: BTreeSet<DocumentId> = self.now.values().map(|known| self.id(&known.uri)).collect();
        let remembered: BTreeSet<DocumentId> = self.before.values().map(|known| self.id(&known.uri)).collect();
        let hides_any = gaps.iter().any(|gap| gap.hides != HiddenItems::None);
        let of = |document: &Document| match document.uri.split_once(ATTACHMENT_MARK) {
            Some((mail, _)) if !kept.contains(&document.id) && !remembered.contains(&document.id) => self.id(mail),
            _ => document.id,
        };
        let filter = DocumentFilter {
            source: Some(self.record.name.clone()),
            ..DocumentFilter::default()
        };
        let (scope, mut cursor, mut sorted) = (self.principal.scope(), None, Sorted::default());
        loop {
            let page = PageRequest { cursor, limit: PAGE };
            let found = self.syncer.catalogue.documents(&scope, &filter, &page).await?;
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

fn nothing_listed() -> JobError {
    JobError {
        code: NOTHING_LISTED.into(),
        detail: "the source lists nothing that could be taken in".into(),
        hint: "compare its settings, such as path, patterns and addresses, with what is there".into(),
    }
}
