//! One sync of one source: lists its items, takes in new and changed ones, and handles missing ones.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use super::failures::FailureList;
use super::guard::DeletionPolicy;
use super::plan::{ItemPlan, fetch_content};
use super::{SourceSyncer, source_job_error};
use crate::access::{Acl, Principal};
use crate::document::{DocumentUri, JobError, SourceUrl, UriError};
use crate::id::{DocumentId, JobId};
use crate::ingest::{AcceptError, UploadMetadata};
use crate::seam::CatalogueError;
use crate::seam::catalogue::{BeginOutcome, DocumentPatch};
use crate::seam::source::{
    DocumentSource, ItemContent, ItemState, ItemStates, ListEntry, ListGap, SourceError, SourceItem, SourceRecord,
    SyncReport,
};

/// The item states are saved after this many items, so that an interrupted sync keeps its progress.
const SAVE_EVERY: u64 = 200;

/// State of a running sync.
pub(super) struct SyncRun<'a> {
    pub(super) syncer: &'a SourceSyncer,
    pub(super) record: &'a SourceRecord,
    pub(super) principal: Principal,
    /// Item states that earlier syncs saved.
    pub(super) before: ItemStates,
    /// Item states that this sync has seen.
    pub(super) now: ItemStates,
    /// URIs of the documents of all items, before and now.
    pub(super) taken: BTreeSet<String>,
    /// Documents that did not exist before this sync.
    pub(super) begun: BTreeSet<DocumentId>,
    /// The batch of the jobs that this sync queues.
    batch: JobId,
    pub(super) deletions: DeletionPolicy,
    pub(super) failures: FailureList,
    pub(super) report: SyncReport,
    /// Whether it has completed, so that the failures of the last sync no longer count.
    is_complete: bool,
}

/// Everything that a source lists.
struct SourceListing {
    items: Vec<SourceItem>,
    gaps: Vec<ListGap>,
}

/// Result of syncing one item.
enum ItemOutcome {
    New,
    Changed,
    Unchanged,
}

/// Why an item was not taken in. The sync continues after `Item`, and stops after `Library`.
enum SyncItemError {
    Item(JobError),
    Library(JobError),
}

impl<'a> SyncRun<'a> {
    pub(super) async fn begin_sync(
        syncer: &'a SourceSyncer,
        record: &'a SourceRecord,
        deletions: DeletionPolicy,
    ) -> Result<Self, CatalogueError> {
        let before = syncer.sources.load_item_states(&record.tenant, record.id).await?;
        let sync = Self {
            syncer,
            record,
            principal: (syncer.operator)(record.tenant.clone()),
            taken: before.values().map(|known| known.uri.clone()).collect(),
            before,
            now: ItemStates::new(),
            begun: BTreeSet::new(),
            batch: JobId((syncer.new_id)()),
            deletions,
            failures: FailureList::default(),
            report: SyncReport {
                started_at: (syncer.clock)(),
                ended_at: None,
                job: None,
                counts: Default::default(),
                failures: Vec::new(),
                error: None,
                held: 0,
            },
            is_complete: false,
        };
        sync.save_report().await?;
        Ok(sync)
    }

    /// Runs the sync to its end and returns the report.
    pub(super) async fn run_to_end(mut self, source: &dyn DocumentSource) -> SyncReport {
        if let Err(error) = self.sync_items(source).await {
            self.report.error = Some(error);
        }
        self.report.ended_at = Some((self.syncer.clock)());
        self.build_report()
    }

    async fn sync_items(&mut self, source: &dyn DocumentSource) -> Result<(), JobError> {
        let SourceListing { items, gaps } = match self.list_items(source).await {
            Ok(listed) => listed,
            Err(error) => return self.hold_all_documents(&error).await.map_err(catalogue_job_error),
        };
        let plans = self.apply_access_changes(&items).await.map_err(catalogue_job_error)?;
        let keys: BTreeSet<&str> = items.iter().map(|item| item.key.as_str()).collect();
        self.retain_hidden_items(&gaps, &keys);
        // An item that a gap may hide is not gone, so no new item can be its renamed copy.
        let mut gone: BTreeMap<String, ItemState> = self.before.clone();
        gone.retain(|key, _| !keys.contains(key.as_str()) && !self.now.contains_key(key));
        let wanted = |n: usize| fetch_content(source, &items[n], &plans[n]);
        let contents = futures::stream::iter(0..items.len()).map(wanted);
        let mut contents = contents.buffered(source.max_concurrent_fetches().max(1));
        for ((item, plan), number) in items.iter().zip(&plans).zip(1_u64..) {
            let content = contents.next().await.flatten();
            match self.sync_item(item, plan, content, &mut gone).await {
                Ok(ItemOutcome::New) => self.report.counts.new += 1,
                Ok(ItemOutcome::Changed) => self.report.counts.changed += 1,
                Ok(ItemOutcome::Unchanged) => self.report.counts.unchanged += 1,
                Err(SyncItemError::Item(error)) => self.record_failure(item, error),
                Err(SyncItemError::Library(error)) => return Err(error),
            }
            if number % SAVE_EVERY == 0 {
                self.save_progress().await.map_err(catalogue_job_error)?;
            }
        }
        self.handle_missing(&gaps, items.is_empty())
            .await
            .map_err(catalogue_job_error)?;
        self.is_complete = true;
        self.save_state(self.now.clone()).await.map_err(catalogue_job_error)
    }

    /// Reads the whole list before anything else, since renames are recognised by what is gone. It has names, no bytes.
    async fn list_items(&self, source: &dyn DocumentSource) -> Result<SourceListing, SourceError> {
        let markers = self
            .before
            .iter()
            .map(|(key, known)| (key.clone(), known.marker.clone()));
        source.set_known_markers(markers.collect());
        let (mut items, mut gaps) = (Vec::new(), Vec::new());
        let mut entries = source.list_items();
        while let Some(entry) = entries.next().await {
            match entry? {
                ListEntry::Item(item) => items.push(item),
                ListEntry::Gap(gap) => gaps.push(gap),
            }
        }
        Ok(SourceListing { items, gaps })
    }

    async fn sync_item(
        &mut self,
        item: &SourceItem,
        plan: &ItemPlan,
        content: Option<Result<ItemContent, SourceError>>,
        gone: &mut BTreeMap<String, ItemState>,
    ) -> Result<ItemOutcome, SyncItemError> {
        let known = self.before.get(&item.key).cloned();
        let (content, told) = match (plan, &known) {
            (ItemPlan::Closed(error), _) => return Err(SyncItemError::Item(error.clone())),
            (ItemPlan::Keep { moved }, Some(known)) => {
                self.now.insert(item.key.clone(), known.clone());
                return Ok(if *moved {
                    ItemOutcome::Changed
                } else {
                    ItemOutcome::Unchanged
                });
            }
            (ItemPlan::Keep { moved } | ItemPlan::Fetch { moved }, _) => (content, *moved),
        };
        let gone_at_once = || Err(SourceError::Gone(item.key.clone()));
        let content = content
            .unwrap_or_else(gone_at_once)
            .map_err(|error| SyncItemError::Item(source_job_error(&error)))?;
        let uri = match &known {
            Some(known) => known.uri.clone(),
            None => self.choose_free_uri(&item.uri),
        };
        let name = uri
            .parse()
            .map_err(|error| SyncItemError::Item(bad_uri_error(&error)))?;
        let (uploads, incoming) = (self.syncer.ingestor.uploads(), self.syncer.ingestor.incoming());
        let received = incoming
            .receive_file(&item.name, content.bytes)
            .await
            .map_err(accept_item_error)?;
        let hash = received.content_hash().to_string();
        if let Some((key, moved)) = find_moved_item(&known, &hash, item, gone) {
            incoming.discard_received(received).await.map_err(accept_item_error)?;
            gone.remove(&key);
            return self.rename_document(item, moved).await;
        }
        let upload = self.build_upload(item, name, content.media_type);
        let begun = uploads
            .begin_version(&self.principal, upload, received)
            .await
            .map_err(accept_item_error)?;
        let fate = match (&begun, &known) {
            (BeginOutcome::Unchanged(_), _) if !told => ItemOutcome::Unchanged,
            (BeginOutcome::Unchanged(_), _) => ItemOutcome::Changed,
            (BeginOutcome::Updated(_), _) | (BeginOutcome::Started(..), Some(_)) => ItemOutcome::Changed,
            (BeginOutcome::Started(document, _), None) if document.version > 1 => ItemOutcome::Changed,
            (BeginOutcome::Started(document, _), None) => {
                self.begun.insert(document.id);
                ItemOutcome::New
            }
        };
        if let BeginOutcome::Started(..) = begun {
            self.report.job = Some(self.batch);
            (self.syncer.notify_workers)();
        }
        self.taken.insert(uri.clone());
        let marker = item.marker.clone();
        self.now.insert(item.key.clone(), ItemState { uri, marker, hash });
        Ok(fate)
    }

    /// Handles an item with the same bytes under another name: its document stays and gets the new address, and the new
    /// name as title unless it has a title of its own.
    async fn rename_document(&mut self, item: &SourceItem, known: ItemState) -> Result<ItemOutcome, SyncItemError> {
        let (scope, id) = (self.principal.scope(), self.document_id(&known.uri));
        let found = self.syncer.catalogue.get_document(&scope, id).await;
        let found = found.map_err(|error| SyncItemError::Library(catalogue_job_error(error)))?;
        let is_name = |title: &str| title == file_stem(&known.uri);
        let patch = DocumentPatch {
            title: item.title.clone().or_else(|| {
                let named = found.filter(|document| is_name(&document.title));
                named.map(|_| file_stem(&item.name).to_owned())
            }),
            source_url: Some(SourceUrl::from_text(item.source_url.as_deref())),
            acl: Some(self.item_acl(item)),
            ..DocumentPatch::default()
        };
        let uploads = self.syncer.ingestor.uploads();
        let patched = uploads.patch_document(&self.principal, id, patch);
        patched
            .await
            .map_err(|error| SyncItemError::Library(catalogue_job_error(error)))?;
        let marker = item.marker.clone();
        self.now.insert(item.key.clone(), ItemState { marker, ..known });
        Ok(ItemOutcome::Changed)
    }

    fn build_upload(&self, item: &SourceItem, uri: DocumentUri, media_type: Option<String>) -> UploadMetadata {
        UploadMetadata {
            collection: self.record.collection.clone(),
            source: self.record.name.clone(),
            uri,
            may_replace: true,
            name: item.name.clone(),
            title: item.title.clone(),
            declared_media_type: media_type,
            acl: self.item_acl(item),
            department_id: None,
            metadata: Default::default(),
            // A bad address costs the document only its link.
            source_url: SourceUrl::from_text(item.source_url.as_deref()),
            batch: Some(self.batch),
        }
    }

    pub(super) fn item_acl(&self, item: &SourceItem) -> Acl {
        Acl {
            tenant: self.record.tenant.clone(),
            sets: item.access.effective_reader_sets(&self.record.readers),
        }
    }

    pub(super) fn document_id(&self, uri: &str) -> DocumentId {
        DocumentId::from_uri(&self.record.tenant, &self.record.collection, &self.record.name, uri)
    }

    /// The URI of a new item, with a number if a document that moved away still has that URI.
    fn choose_free_uri(&self, wanted: &str) -> String {
        let numbered = (2..).map(|n| format!("{wanted}#{n}"));
        let mut all = std::iter::once(wanted.to_owned()).chain(numbered);
        all.find(|uri| !self.taken.contains(uri))
            .expect("the numbers do not end")
    }

    /// Records a failure. The item keeps its document, and loses its marker, so that the next sync reads it again.
    fn record_failure(&mut self, item: &SourceItem, error: JobError) {
        if let Some(known) = self.before.get(&item.key) {
            let known = ItemState {
                marker: None,
                ..known.clone()
            };
            self.now.insert(item.key.clone(), known);
        }
        self.failures.add_failure(&item.uri, error);
    }

    /// Saves the item states in the middle of a sync: its own, and earlier ones of items that it has not reached.
    async fn save_progress(&self) -> Result<(), CatalogueError> {
        let mut memory = self.before.clone();
        memory.extend(self.now.clone());
        self.save_state(memory).await
    }

    async fn save_state(&self, memory: ItemStates) -> Result<(), CatalogueError> {
        let record = self.record;
        self.syncer
            .sources
            .save_item_states(&record.tenant, record.id, memory)
            .await?;
        self.save_report().await
    }

    async fn save_report(&self) -> Result<(), CatalogueError> {
        let (record, report) = (self.record, self.build_report());
        self.syncer
            .sources
            .save_sync_report(&record.tenant, record.id, report)
            .await
            .map(drop)
    }

    /// The report as it is saved and shown.
    fn build_report(&self) -> SyncReport {
        let mut report = self.report.clone();
        match self.is_complete {
            true => self.failures.write_to_report(&mut report),
            false => self
                .failures
                .merge_into_report(self.record.last_sync.as_ref(), &mut report),
        }
        report
    }
}

/// For a new item, the gone item with the same bytes and file extension, which it was before a rename.
fn find_moved_item(
    known: &Option<ItemState>,
    hash: &str,
    item: &SourceItem,
    gone: &BTreeMap<String, ItemState>,
) -> Option<(String, ItemState)> {
    let ending = |name: &str| name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let same = |(key, old): &(&String, &ItemState)| old.hash == hash && ending(key) == ending(&item.name);
    let found = gone.iter().find(same).filter(|_| known.is_none());
    found.map(|(key, known)| (key.clone(), known.clone()))
}

fn catalogue_job_error(error: CatalogueError) -> JobError {
    JobError {
        code: "catalogue_failed".into(),
        detail: error.to_string(),
        hint: "it is tried again at the next sync".into(),
    }
}

/// The error for an item whose name in the source cannot be a document's URI.
fn bad_uri_error(error: &UriError) -> JobError {
    JobError {
        code: "bad_uri".into(),
        detail: error.to_string(),
        hint: "give it a shorter or plainer name where it comes from".into(),
    }
}

fn accept_item_error(error: AcceptError) -> SyncItemError {
    let (code, all) = match &error {
        AcceptError::TooLarge { .. } => ("too_large", false),
        AcceptError::Invalid(_) => ("bad_field", false),
        AcceptError::Interrupted { .. } => ("source_unavailable", false),
        AcceptError::Store(_) | AcceptError::Full(_) => ("storage_failed", true),
        AcceptError::Catalogue(CatalogueError::UriTaken) => ("uri_taken", false),
        AcceptError::Catalogue(_) => ("catalogue_failed", true),
    };
    let trouble = JobError {
        code: code.into(),
        detail: error.to_string(),
        hint: "it is tried again at the next sync".into(),
    };
    match all {
        true => SyncItemError::Library(trouble),
        false => SyncItemError::Item(trouble),
    }
}

/// The last part of a path, without its extension.
fn file_stem(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.rsplit_once('.').map_or(last, |(stem, _)| stem)
}
