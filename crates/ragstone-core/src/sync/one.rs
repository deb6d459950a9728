//! One sync of one source.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use super::failures::Failures;
use super::guard::Deletions;
use super::plan::{Plan, fetched};
use super::{Syncer, trouble};
use crate::access::{Acl, Principal};
use crate::document::{DocumentUri, JobError, SourceUrl, UriError};
use crate::id::{DocumentId, JobId};
use crate::ingest::{AcceptError, Upload};
use crate::seam::CatalogueError;
use crate::seam::catalogue::{Begun, DocumentPatch};
use crate::seam::source::{
    Content, Item, Known, ListEntry, ListGap, Memory, Source, SourceError, SourceRecord, SyncReport,
};

/// Items after which what is remembered is kept, so that a sync that is cut off has not worked for nothing.
const KEEP_EVERY: u64 = 200;

/// A sync on its way.
pub(super) struct Sync<'a> {
    pub(super) syncer: &'a Syncer,
    pub(super) record: &'a SourceRecord,
    pub(super) principal: Principal,
    /// What the last syncs left.
    pub(super) before: Memory,
    /// What this one has seen.
    pub(super) now: Memory,
    /// URIs of documents that some item has, before or now.
    pub(super) taken: BTreeSet<String>,
    /// Documents that were not there before this sync.
    pub(super) begun: BTreeSet<DocumentId>,
    /// The batch of what this sync queues.
    batch: JobId,
    pub(super) deletions: Deletions,
    pub(super) failures: Failures,
    pub(super) report: SyncReport,
    /// Whether it came to its end, so that what the last sync reported no longer holds.
    is_complete: bool,
}

/// What a source lists.
struct Listed {
    items: Vec<Item>,
    gaps: Vec<ListGap>,
}

/// What became of an item.
enum Fate {
    New,
    Changed,
    Unchanged,
}

/// Why an item was not taken in; the rest goes on unless the library itself failed.
enum Trouble {
    Item(JobError),
    Library(JobError),
}

impl<'a> Sync<'a> {
    pub(super) async fn begin(
        syncer: &'a Syncer,
        record: &'a SourceRecord,
        deletions: Deletions,
    ) -> Result<Self, CatalogueError> {
        let before = syncer.sources.memory(&record.tenant, record.id).await?;
        let sync = Self {
            syncer,
            record,
            principal: (syncer.operator)(record.tenant.clone()),
            taken: before.values().map(|known| known.uri.clone()).collect(),
            before,
            now: Memory::new(),
            begun: BTreeSet::new(),
            batch: JobId((syncer.new_id)()),
            deletions,
            failures: Failures::default(),
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
        sync.note().await?;
        Ok(sync)
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self, source: &dyn Source) -> SyncReport {
        if let Err(error) = self.through(source).await {
            self.report.error = Some(error);
        }
        self.report.ended_at = Some((self.syncer.clock)());
        self.told()
    }

    async fn through(&mut self, source: &dyn Source) -> Result<(), JobError> {
        let Listed { items, gaps } = match self.list(source).await {
            Ok(listed) => listed,
            Err(error) => return self.hold_all(&error).await.map_err(library),
        };
        let plans = self.tell_access(&items).await.map_err(library)?;
        let keys: BTreeSet<&str> = items.iter().map(|item| item.key.as_str()).collect();
        self.keep_hidden(&gaps, &keys);
        // What a gap may hide has not moved elsewhere.
        let mut gone: BTreeMap<String, Known> = self.before.clone();
        gone.retain(|key, _| !keys.contains(key.as_str()) && !self.now.contains_key(key));
        let wanted = |n: usize| fetched(source, &items[n], &plans[n]);
        let contents = futures::stream::iter(0..items.len()).map(wanted);
        let mut contents = contents.buffered(source.at_once().max(1));
        for ((item, plan), number) in items.iter().zip(&plans).zip(1_u64..) {
            let content = contents.next().await.flatten();
            match self.take(item, plan, content, &mut gone).await {
                Ok(Fate::New) => self.report.counts.new += 1,
                Ok(Fate::Changed) => self.report.counts.changed += 1,
                Ok(Fate::Unchanged) => self.report.counts.unchanged += 1,
                Err(Trouble::Item(error)) => self.failed(item, error),
                Err(Trouble::Library(error)) => return Err(error),
            }
            if number % KEEP_EVERY == 0 {
                self.keep_both().await.map_err(library)?;
            }
        }
        self.settle_missing(&gaps, items.is_empty()).await.map_err(library)?;
        self.is_complete = true;
        self.keep(self.now.clone()).await.map_err(library)
    }

    /// The whole list: renames are told from what is gone, so it comes first; it holds names, no bytes.
    async fn list(&self, source: &dyn Source) -> Result<Listed, SourceError> {
        let markers = self
            .before
            .iter()
            .map(|(key, known)| (key.clone(), known.marker.clone()));
        source.recall(markers.collect());
        let (mut items, mut gaps) = (Vec::new(), Vec::new());
        let mut entries = source.items();
        while let Some(entry) = entries.next().await {
            match entry? {
                ListEntry::Item(item) => items.push(item),
                ListEntry::Gap(gap) => gaps.push(gap),
            }
        }
        Ok(Listed { items, gaps })
    }

    async fn take(
        &mut self,
        item: &Item,
        plan: &Plan,
        content: Option<Result<Content, SourceError>>,
        gone: &mut BTreeMap<String, Known>,
    ) -> Result<Fate, Trouble> {
        let known = self.before.get(&item.key).cloned();
        let (content, told) = match (plan, &known) {
            (Plan::Closed(error), _) => return Err(Trouble::Item(error.clone())),
            (Plan::Keep { moved }, Some(known)) => {
                self.now.insert(item.key.clone(), known.clone());
                return Ok(if *moved { Fate::Changed } else { Fate::Unchanged });
            }
            (Plan::Keep { moved } | Plan::Fetch { moved }, _) => (content, *moved),
        };
        let gone_at_once = || Err(SourceError::Gone(item.key.clone()));
        let content = content
            .unwrap_or_else(gone_at_once)
            .map_err(|error| Trouble::Item(trouble(&error)))?;
        let uri = match &known {
            Some(known) => known.uri.clone(),
            None => self.free_uri(&item.uri),
        };
        let name = uri.parse().map_err(|error| Trouble::Item(odd_name(&error)))?;
        let ingestor = &self.syncer.ingestor;
        let received = ingestor.receive(&item.name, content.bytes).await.map_err(accepting)?;
        let hash = received.content_hash().to_string();
        if let Some((key, moved)) = moved(&known, &hash, item, gone) {
            ingestor.discard_received(received).await.map_err(accepting)?;
            gone.remove(&key);
            return self.rename(item, moved).await;
        }
        let upload = self.upload(item, name, content.media_type);
        let begun = ingestor
            .begin(&self.principal, upload, received)
            .await
            .map_err(accepting)?;
        let fate = match (&begun, &known) {
            (Begun::Unchanged(_), _) if !told => Fate::Unchanged,
            (Begun::Unchanged(_), _) => Fate::Changed,
            (Begun::Updated(_), _) | (Begun::Started(..), Some(_)) => Fate::Changed,
            (Begun::Started(document, _), None) if document.version > 1 => Fate::Changed,
            (Begun::Started(document, _), None) => {
                self.begun.insert(document.id);
                Fate::New
            }
        };
        if let Begun::Started(..) = begun {
            self.report.job = Some(self.batch);
            (self.syncer.doorbell)();
        }
        self.taken.insert(uri.clone());
        let marker = item.marker.clone();
        self.now.insert(item.key.clone(), Known { uri, marker, hash });
        Ok(fate)
    }

    /// The same bytes in another place: the document stays, and says where it is now. A title of its own stays too.
    async fn rename(&mut self, item: &Item, known: Known) -> Result<Fate, Trouble> {
        let (scope, id) = (self.principal.scope(), self.id(&known.uri));
        let found = self.syncer.catalogue.document(&scope, id).await;
        let found = found.map_err(|error| Trouble::Library(library(error)))?;
        let is_name = |title: &str| title == stem(&known.uri);
        let patch = DocumentPatch {
            title: item.title.clone().or_else(|| {
                let named = found.filter(|document| is_name(&document.title));
                named.map(|_| stem(&item.name).to_owned())
            }),
            source_url: Some(SourceUrl::of_text(item.source_url.as_deref())),
            acl: Some(self.acl(item)),
            ..DocumentPatch::default()
        };
        let patched = self.syncer.ingestor.patch(&self.principal, id, patch);
        patched.await.map_err(|error| Trouble::Library(library(error)))?;
        let marker = item.marker.clone();
        self.now.insert(item.key.clone(), Known { marker, ..known });
        Ok(Fate::Changed)
    }

    fn upload(&self, item: &Item, uri: DocumentUri, media_type: Option<String>) -> Upload {
        Upload {
            collection: self.record.collection.clone(),
            source: self.record.name.clone(),
            uri,
            may_replace: true,
            name: item.name.clone(),
            title: item.title.clone(),
            declared_media_type: media_type,
            acl: self.acl(item),
            department_id: None,
            metadata: Default::default(),
            // An address that is none costs the document its link, and nothing else.
            source_url: SourceUrl::of_text(item.source_url.as_deref()),
            batch: Some(self.batch),
        }
    }

    pub(super) fn acl(&self, item: &Item) -> Acl {
        Acl {
            tenant: self.record.tenant.clone(),
            sets: item.access.narrowed(&self.record.readers),
        }
    }

    pub(super) fn id(&self, uri: &str) -> DocumentId {
        DocumentId::of(&self.record.tenant, &self.record.collection, &self.record.name, uri)
    }

    /// The URI of a new item, or one beside it where a document that moved away has that one still.
    fn free_uri(&self, wanted: &str) -> String {
        let numbered = (2..).map(|n| format!("{wanted}#{n}"));
        let mut all = std::iter::once(wanted.to_owned()).chain(numbered);
        all.find(|uri| !self.taken.contains(uri))
            .expect("the numbers do not end")
    }

    /// An item that could not be read now keeps the document that it has.
    fn failed(&mut self, item: &Item, error: JobError) {
        if let Some(known) = self.before.get(&item.key) {
            let known = Known {
                marker: None,
                ..known.clone()
            };
            self.now.insert(item.key.clone(), known);
        }
        self.failures.add(&item.uri, error);
    }

    /// Keeps what is known in the middle: of this sync, and of the last ones what this one has not come to.
    async fn keep_both(&self) -> Result<(), CatalogueError> {
        let mut memory = self.before.clone();
        memory.extend(self.now.clone());
        self.keep(memory).await
    }

    async fn keep(&self, memory: Memory) -> Result<(), CatalogueError> {
        let record = self.record;
        self.syncer.sources.remember(&record.tenant, record.id, memory).await?;
        self.note().await
    }

    async fn note(&self) -> Result<(), CatalogueError> {
        let (record, report) = (self.record, self.told());
        self.syncer
            .sources
            .note_sync(&record.tenant, record.id, report)
            .await
            .map(drop)
    }

    /// The report as it is kept and shown.
    fn told(&self) -> SyncReport {
        let mut report = self.report.clone();
        match self.is_complete {
            true => self.failures.report(&mut report),
            false => self.failures.report_with(self.record.last_sync.as_ref(), &mut report),
        }
        report
    }
}

/// The item that is gone and had the same bytes under the same ending, if this one is new.
fn moved(known: &Option<Known>, hash: &str, item: &Item, gone: &BTreeMap<String, Known>) -> Option<(String, Known)> {
    let ending = |name: &str| name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let same = |(key, old): &(&String, &Known)| old.hash == hash && ending(key) == ending(&item.name);
    let found = gone.iter().find(same).filter(|_| known.is_none());
    found.map(|(key, known)| (key.clone(), known.clone()))
}

fn library(error: CatalogueError) -> JobError {
    JobError {
        code: "catalogue_failed".into(),
        detail: error.to_string(),
        hint: "it is tried again at the next sync".into(),
    }
}

/// The place's own name of the item cannot be a document's.
fn odd_name(error: &UriError) -> JobError {
    JobError {
        code: "bad_uri".into(),
        detail: error.to_string(),
        hint: "give it a shorter or plainer name where it comes from".into(),
    }
}

fn accepting(error: AcceptError) -> Trouble {
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
        true => Trouble::Library(trouble),
        false => Trouble::Item(trouble),
    }
}

/// The last part of a name, without its extension.
fn stem(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.rsplit_once('.').map_or(last, |(stem, _)| stem)
}
