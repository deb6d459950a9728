//! Making a catalogue again from what lies in the blob store.
//!
//! Invariant: no document is more open than its newest manifest; one that is noted as closed, that came in a mail which
//! is closed or gone, or that has no manifest, is the operator's alone, and one that is noted as deleted stays deleted.
//! Every step may be repeated: what has a row is left as it is.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Serialize;

use super::accept::UploadMetadata;
use super::arrival::AcceptError;
use super::manifest::ManifestError;
use super::restore::Importer;
use crate::access::{Acl, Principal, Reader};
use crate::document::{BoundedMetadata, UriError};
use crate::id::{CollectionName, DocumentId, Generation, SourceName, TenantId};
use crate::library::layout::{BlobKey, manifest_key, quarantine_key};
use crate::library::mark::{MarkError, marked_generation};
use crate::seam::CatalogueError;
use crate::seam::manifest::{DocumentManifest, RevisionStamp};

/// The source of documents that are taken in without a manifest; their URIs begin with it.
const SOURCE: &str = "recovered";
/// Rows read at a time.
const PAGE: usize = 500;
/// Largest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// What came of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RecoveryCounts {
    /// Documents that have a row again.
    pub documents: u64,
    /// Those of them that only the operator may read, as it is not sure who else may.
    pub closed: u64,
    /// Documents that had a row.
    pub present: u64,
    /// Originals without a manifest, taken in for the operator alone under a URI of their own.
    pub without_manifest: u64,
    /// Documents that were deleted and whose originals are removed now.
    pub deleted: u64,
    /// Manifests that cannot be read.
    pub damaged: u64,
}

/// Why a catalogue could not be made again.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The blob store failed.
    #[error("the blob store failed: {0}")]
    Blobs(#[from] object_store::Error),
    /// The mark of the library cannot be read.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// An original could not be taken in.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The key of an original is no name for a document.
    #[error("an original cannot be named after its key: {0}")]
    Name(#[from] UriError),
    /// A manifest could not be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// What the blob store holds of one document.
#[derive(Debug, Default)]
struct DocumentBlobs {
    /// Every key, by generation.
    blobs: Vec<(Generation, Path)>,
    originals: Vec<Generation>,
    manifests: Vec<(Generation, RevisionStamp, Path)>,
    is_closed: bool,
    /// Everything below is deleted.
    deleted_below: Generation,
}

impl DocumentBlobs {
    fn is_live(&self, generation: Generation) -> bool {
        generation >= self.deleted_below
    }

    /// The newest generation that has both its original and a manifest.
    fn newest_complete(&self) -> Option<&(Generation, RevisionStamp, Path)> {
        let whole =
            |entry: &&(Generation, RevisionStamp, Path)| self.is_live(entry.0) && self.originals.contains(&entry.0);
        self.manifests
            .iter()
            .filter(whole)
            .max_by_key(|(generation, stamp, _)| (*generation, *stamp))
    }

    /// The manifest with the newest readers, whatever its generation.
    fn newest_readers(&self) -> Option<&Path> {
        let living = self
            .manifests
            .iter()
            .filter(|(generation, ..)| self.is_live(*generation));
        let newest = living.max_by_key(|(generation, stamp, _)| (stamp.revision, *generation, *stamp));
        newest.map(|(.., key)| key)
    }

    /// The newest original that is not deleted.
    fn newest_original(&self) -> Option<&(Generation, Path)> {
        let is_original = |(generation, key): &&(Generation, Path)| self.is_live(*generation) && is_original(key);
        self.blobs
            .iter()
            .filter(is_original)
            .max_by_key(|(generation, _)| *generation)
    }
}

/// What the blob store holds.
#[derive(Debug, Default)]
struct BlobInventory {
    documents: BTreeMap<DocumentId, DocumentBlobs>,
    incoming: Vec<Path>,
    highest: Generation,
}

impl BlobInventory {
    fn add_blob(&mut self, key: Path) {
        match BlobKey::from_path(&key) {
            BlobKey::Incoming => self.incoming.push(key),
            BlobKey::Generation(document, generation) => {
                let is_original = is_original(&key);
                let traces = self.add_generation_blob(document, generation, key);
                if is_original {
                    traces.originals.push(generation);
                }
            }
            BlobKey::Manifest(document, generation, stamp) => {
                let entry = (generation, stamp, key.clone());
                self.add_generation_blob(document, generation, key)
                    .manifests
                    .push(entry);
            }
            BlobKey::Deleted(document, generation) => {
                let traces = self.add_generation_blob(document, generation, key);
                traces.deleted_below = traces.deleted_below.max(generation);
            }
            BlobKey::Closing(document) => {
                self.documents.entry(document).or_default().is_closed = true;
            }
            BlobKey::Mark | BlobKey::Quarantined(_) | BlobKey::Foreign => {}
        }
    }

    /// Notes a blob of a generation.
    fn add_generation_blob(&mut self, document: DocumentId, generation: Generation, key: Path) -> &mut DocumentBlobs {
        self.highest = self.highest.max(generation);
        let traces = self.documents.entry(document).or_default();
        traces.blobs.push((generation, key));
        traces
    }
}

impl Importer {
    /// Makes rows of everything that the blob store holds; `operator` names the local operator of a tenant. Points and
    /// statistics are to be made again afterwards.
    pub async fn recover_catalogue(
        &self,
        operator: fn(TenantId) -> Principal,
    ) -> Result<RecoveryCounts, RecoveryError> {
        let found = self.inventory_blobs().await?;
        let marked = marked_generation(self.context.stores.blobs.as_ref()).await?;
        let highest = found.highest.max(marked.unwrap_or_default());
        // Before the first row: nothing that is there is written over by a job of these rows.
        self.context.stores.catalogue.raise_generation(highest).await?;
        let mut recovered = RecoveryCounts::default();
        let (mut manifests, mut unknown) = (BTreeMap::new(), Vec::new());
        for (id, traces) in &found.documents {
            match self.newest_manifest(*id, traces, &mut recovered).await? {
                Some(manifest) => {
                    manifests.insert(*id, manifest);
                }
                None => unknown.push((*id, traces)),
            }
        }
        for (id, manifest) in &manifests {
            let is_closed = is_closed(*id, &manifests, &found.documents);
            self.recover_row(manifest.clone(), is_closed, &mut recovered).await?;
        }
        for (id, traces) in unknown {
            self.recover_without_manifest(id, traces, operator, &mut recovered)
                .await?;
        }
        self.recover_incoming(&found.incoming, operator, &mut recovered).await?;
        self.marker.record_generation(highest).await;
        Ok(recovered)
    }

    async fn inventory_blobs(&self) -> Result<BlobInventory, RecoveryError> {
        let mut found = BlobInventory::default();
        let blobs: &dyn ObjectStore = self.context.stores.blobs.as_ref();
        let mut listed = blobs.list(None);
        while let Some(blob) = listed.next().await {
            found.add_blob(blob?.location);
        }
        Ok(found)
    }

    /// The manifest of the newest version, with the newest readers.
    async fn newest_manifest(
        &self,
        id: DocumentId,
        traces: &DocumentBlobs,
        recovered: &mut RecoveryCounts,
    ) -> Result<Option<DocumentManifest>, RecoveryError> {
        let (Some((.., key)), Some(readers)) = (traces.newest_complete(), traces.newest_readers()) else {
            return Ok(None);
        };
        let newest = self.read_manifest(id, key).await?;
        let readers = match readers == key {
            true => newest.clone(),
            false => self.read_manifest(id, readers).await?,
        };
        let (Some(mut newest), Some(readers)) = (newest, readers) else {
            tracing::warn!(document = %id, "its manifest cannot be read: the operator alone may read it");
            recovered.damaged += 1;
            return Ok(None);
        };
        newest.document.acl = readers.document.acl;
        newest.document.acl_revision = readers.document.acl_revision;
        Ok(Some(newest))
    }

    /// The manifest of this document at `key`, if it is one that belongs there.
    async fn read_manifest(&self, id: DocumentId, key: &Path) -> Result<Option<DocumentManifest>, RecoveryError> {
        let found = self.context.stores.blobs.get(key).await?;
        if found.meta.size > MAX_MANIFEST_BYTES {
            return Ok(None);
        }
        let manifest: Option<DocumentManifest> = serde_json::from_slice(&found.bytes().await?).ok();
        Ok(manifest.filter(|manifest| {
            let (packed, stamp) = (&manifest.document, manifest.stamp());
            packed.id == id
                && packed.has_correct_id()
                && manifest_key(&packed.acl.tenant, id, packed.generation, stamp) == *key
        }))
    }

    async fn recover_row(
        &self,
        mut manifest: DocumentManifest,
        is_closed: bool,
        recovered: &mut RecoveryCounts,
    ) -> Result<(), RecoveryError> {
        if is_closed {
            let packed = &mut manifest.document;
            packed.acl = operator_only_acl(packed.acl.tenant.clone());
            packed.acl_revision += 1;
        }
        if !self.context.stores.catalogue.recover_document(&manifest).await? {
            recovered.present += 1;
            return Ok(());
        }
        recovered.documents += 1;
        recovered.closed += u64::from(is_closed);
        if is_closed {
            // What is known from now on, also to the next recovery, which finds the note gone.
            self.manifests.update_manifest(manifest.document.id).await?;
        }
        Ok(())
    }

    /// A document without a usable manifest: deleted, or taken in under a URI of its own.
    async fn recover_without_manifest(
        &self,
        id: DocumentId,
        traces: &DocumentBlobs,
        operator: fn(TenantId) -> Principal,
        recovered: &mut RecoveryCounts,
    ) -> Result<(), RecoveryError> {
        if !self.context.stores.catalogue.get_document_refs(&[id]).await?.is_empty() {
            // An earlier recovery took it in, and its job goes on.
            recovered.present += 1;
            return Ok(());
        }
        if let Some((generation, from)) = traces.newest_original() {
            let uri = format!("{SOURCE}://{id}/{generation}");
            self.accept_for_operator(&operator(tenant_from_key(from)), uri, from)
                .await?;
            recovered.without_manifest += 1;
        } else if traces.deleted_below > Generation(0) {
            recovered.deleted += 1;
        }
        for (generation, key) in &traces.blobs {
            match traces.is_live(*generation) {
                // It has been copied; what the operator makes of it is another document.
                true if BlobKey::from_path(key) != BlobKey::Deleted(id, *generation) => {
                    self.move_to_quarantine(key).await?
                }
                _ => self.context.remove_blob(key).await?,
            }
        }
        Ok(())
    }

    /// Accepted bytes whose document never got so far as to have its place: of whatever tenant, as nothing tells.
    async fn recover_incoming(
        &self,
        incoming: &[Path],
        operator: fn(TenantId) -> Principal,
        recovered: &mut RecoveryCounts,
    ) -> Result<(), RecoveryError> {
        let waiting = match incoming.is_empty() {
            true => HashSet::new(),
            false => self.list_waiting_keys().await?,
        };
        for key in incoming.iter().filter(|key| !waiting.contains(key.as_ref())) {
            let uri = format!("{SOURCE}://{key}");
            self.accept_for_operator(&operator(TenantId::default()), uri, key)
                .await?;
            self.move_to_quarantine(key).await?;
            recovered.without_manifest += 1;
        }
        Ok(())
    }

    /// Accepted bytes that rows name.
    async fn list_waiting_keys(&self) -> Result<HashSet<String>, RecoveryError> {
        let (mut waiting, mut after) = (HashSet::new(), None);
        loop {
            let rows = self.context.stores.catalogue.list_document_refs(after, PAGE).await?;
            waiting.extend(rows.iter().filter_map(|row| row.incoming_key().map(str::to_owned)));
            match rows.last() {
                Some(last) => after = Some(last.document),
                None => return Ok(waiting),
            }
        }
    }

    async fn move_to_quarantine(&self, key: &Path) -> Result<(), RecoveryError> {
        let to = quarantine_key(key, self.context.now().unix_timestamp());
        match self.context.stores.blobs.rename(key, &to).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes bytes in as a document that only the operator may read.
    async fn accept_for_operator(&self, principal: &Principal, uri: String, from: &Path) -> Result<(), RecoveryError> {
        let name = uri.rsplit('/').next().unwrap_or(&uri).to_owned();
        let upload = UploadMetadata {
            collection: CollectionName::default(),
            source: SourceName::default(),
            title: Some(format!("Recovered without its name: {uri}")),
            uri: uri.parse()?,
            may_replace: true,
            name,
            declared_media_type: None,
            acl: operator_only_acl(principal.tenant().clone()),
            department_id: None,
            metadata: BoundedMetadata::default(),
            source_url: None,
            batch: None,
        };
        let bytes = self.context.stores.blobs.get(from).await?.into_stream();
        self.uploads
            .accept_upload(principal, upload, bytes.map_err(|error| error.to_string()))
            .await?;
        Ok(())
    }
}

fn is_original(key: &Path) -> bool {
    matches!(BlobKey::from_path(key), BlobKey::Generation(..)) && key.filename() == Some("original")
}

/// The tenant whose blob lies at `key`; the default one where its name is written otherwise in keys, as the operator, who
/// alone may read what is taken in, has all of them.
fn tenant_from_key(key: &Path) -> TenantId {
    let first = key.parts().next();
    let tenant: Option<TenantId> = first.as_ref().and_then(|part| part.as_ref().parse().ok());
    tenant
        .filter(|tenant| Path::from_iter([tenant.as_str()]).parts().next() == first)
        .unwrap_or_default()
}

/// Whether a document, or a mail that it came in, is noted as closed, or that mail is gone.
fn is_closed(
    id: DocumentId,
    manifests: &BTreeMap<DocumentId, DocumentManifest>,
    traces: &BTreeMap<DocumentId, DocumentBlobs>,
) -> bool {
    let (mut next, mut depth) = (Some(id), 0);
    while let Some(document) = next {
        let noted = traces.get(&document).is_some_and(|traces| traces.is_closed);
        let Some(manifest) = manifests.get(&document).filter(|_| !noted && depth < MAX_DEPTH) else {
            return true;
        };
        (next, depth) = (manifest.attached_to, depth + 1);
    }
    false
}

/// Mails in mails, and one more.
const MAX_DEPTH: usize = 4;

fn operator_only_acl(tenant: TenantId) -> Acl {
    Acl::any_of(tenant, [Reader::nobody()])
}
