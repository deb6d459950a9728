//! Blobs that no row names.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use time::OffsetDateTime;

use super::{BATCH, ConsistencyCheck, FsckError, FsckRun, ORPHAN_AGE, UploadSharing};
use crate::document::JobKind;
use crate::id::{DocumentId, Generation};
use crate::library::layout::{BlobKey, INCOMING_PREFIX, manifest_key};
use crate::library::text::{original_key, text_key};
use crate::seam::audit::{DocumentRefs, Reference};
use crate::seam::manifest::RevisionStamp;

/// How old a note that readers are being taken away must be before it is one that its writer left: longer than any change
/// takes.
const CLOSING_AGE: Duration = Duration::from_secs(10 * 60);

/// Accepted bytes.
pub(super) struct IncomingBlob {
    key: Path,
    age: Duration,
    /// An upload of this process that is not begun yet.
    in_flight: bool,
    /// A row names them.
    pub(super) named: bool,
}

impl ConsistencyCheck {
    /// Notes which accepted bytes there are, before any row is read.
    pub(super) async fn list_incoming(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        let blobs: &dyn ObjectStore = self.context.stores.blobs.as_ref();
        let listed: Vec<_> = blobs.list(Some(&Path::from(INCOMING_PREFIX))).try_collect().await?;
        for blob in listed {
            if let BlobKey::Incoming = BlobKey::from_path(&blob.location) {
                let waiting = IncomingBlob {
                    age: blob_age(&blob, check.now),
                    in_flight: self.incoming.is_receiving(&blob.location),
                    named: false,
                    key: blob.location,
                };
                check.incoming.insert(waiting.key.to_string(), waiting);
            }
        }
        Ok(())
    }

    /// Accepted bytes that no row named.
    pub(super) async fn check_incoming(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        for (_, waiting) in std::mem::take(&mut check.incoming) {
            if waiting.named {
                continue;
            }
            let old = check
                .remedies
                .min_incoming_age
                .is_some_and(|limit| waiting.age >= limit);
            let elsewhere = check.uploads == UploadSharing::Shared && waiting.age < ORPHAN_AGE;
            if waiting.in_flight || elsewhere && !old {
                check.report.pending.blobs += 1;
                continue;
            }
            match old {
                true => check.leftovers.add_upload(waiting.key),
                false => check.report_orphan_blob(waiting.key, false),
            }
        }
        Ok(())
    }

    /// Compares originals and texts with the rows.
    pub(super) async fn check_blobs(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        let mut batches = self.context.stores.blobs.list(None).chunks(BATCH);
        while let Some(batch) = batches.next().await {
            let batch: Vec<_> = batch.into_iter().collect::<Result<_, _>>()?;
            let documents = batch
                .iter()
                .filter_map(|blob| match BlobKey::from_path(&blob.location) {
                    BlobKey::Generation(document, _)
                    | BlobKey::Manifest(document, ..)
                    | BlobKey::Deleted(document, _) => Some(document),
                    _ => None,
                });
            let rows = self.load_rows(documents).await?;
            for blob in &batch {
                match BlobKey::from_path(&blob.location) {
                    BlobKey::Incoming | BlobKey::Mark => {}
                    BlobKey::Quarantined(since) => {
                        let age = check.now.unix_timestamp().saturating_sub(since);
                        let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
                        let keep = self.context.settings.quarantine;
                        check.leftovers.add_if_expired(blob.location.clone(), age, keep);
                    }
                    BlobKey::Foreign => match check.remedies.rebuild_missing && is_old(blob, check) {
                        true => check.leftovers.add_orphan(blob.location.clone()),
                        false => check.report_orphan_blob(blob.location.clone(), false),
                    },
                    BlobKey::Generation(document, generation) => {
                        let row = rows.get(&document);
                        check_blob(check, blob, row, (document, generation));
                    }
                    BlobKey::Manifest(document, generation, stamp) => {
                        let row = rows.get(&document);
                        check_manifest(check, blob, row, (document, generation), stamp)?;
                    }
                    BlobKey::Deleted(document, _) => check_deletion_note(check, blob, rows.get(&document)),
                    BlobKey::Closing(_) => {
                        if check.remedies.remove_orphans && blob_age(blob, check.now) >= CLOSING_AGE {
                            check.leftovers.add_outdated(blob.location.clone());
                        }
                    }
                }
            }
        }
        self.check_catalogue_age(check).await
    }
}

/// Compares an original or a text with its document's row.
fn check_blob(check: &mut FsckRun, blob: &ObjectMeta, row: Option<&DocumentRefs>, at: (DocumentId, Generation)) {
    let (document, generation) = at;
    check.leftovers.blobs += 1;
    check.leftovers.highest = check.leftovers.highest.max(generation);
    let known = row.filter(|row| {
        let (original, text) = (original_key, text_key);
        [original, text]
            .iter()
            .any(|key| key(&row.tenant, document, generation) == blob.location)
    });
    match known.map_or(Reference::Orphan, |row| row.classify_blobs(generation)) {
        Reference::Live if blob.location.filename() == Some("text") => {
            check.texts.insert(at);
        }
        Reference::Live => {
            check.originals.insert(at);
        }
        Reference::Pending => check.report.pending.blobs += 1,
        Reference::Orphan => {
            let key = blob.location.clone();
            let replaced = known.is_some_and(|row| row.has_replaced(generation));
            match (is_old(blob, check), replaced) {
                (old, true) if old || check.remedies.remove_orphans => check.leftovers.add_replaced(key),
                // Who died between the publish and this removal leaves it to the sweep.
                (_, true) => check.report.pending.blobs += 1,
                (true, false) => check.leftovers.add_orphan(key),
                (false, false) => check.report_orphan_blob(key, false),
            }
        }
    }
}

/// Compares a manifest with its document's row. One that knows of newer readers than the row shows that the rows are older
/// than the blobs: it is written after the row, and was listed before the row was read.
fn check_manifest(
    check: &mut FsckRun,
    blob: &ObjectMeta,
    row: Option<&DocumentRefs>,
    at: (DocumentId, Generation),
    stamp: RevisionStamp,
) -> Result<(), FsckError> {
    let (document, generation) = at;
    check.leftovers.highest = check.leftovers.highest.max(generation);
    let key = blob.location.clone();
    let Some(row) = row.filter(|row| manifest_key(&row.tenant, document, generation, stamp) == key) else {
        check.leftovers.blobs += 1;
        match is_old(blob, check) {
            true => check.leftovers.add_orphan(key),
            false => check.report_orphan_blob(key, false),
        }
        return Ok(());
    };
    match row.classify_points(generation) {
        Reference::Live if stamp.revision > row.stamp.revision => {
            return Err(FsckError::OlderReaders { document });
        }
        Reference::Live => {
            let newest = check.manifests.entry(at).or_insert(stamp);
            *newest = stamp.max(*newest);
        }
        Reference::Pending => {}
        Reference::Orphan if check.remedies.remove_orphans => check.leftovers.add_outdated(key),
        Reference::Orphan => {}
    }
    Ok(())
}

/// A note that a document was deleted has served once no purge of it is left.
fn check_deletion_note(check: &mut FsckRun, blob: &ObjectMeta, row: Option<&DocumentRefs>) {
    let purges = |row: &DocumentRefs| !row.is_live() || row.jobs.iter().any(|job| job.kind == JobKind::Purge);
    if check.remedies.remove_orphans && !row.is_some_and(purges) {
        check.leftovers.add_outdated(blob.location.clone());
    }
}

fn is_old(blob: &ObjectMeta, check: &FsckRun) -> bool {
    check
        .remedies
        .min_blob_age
        .is_some_and(|limit| blob_age(blob, check.now) >= limit)
}

/// Zero for a blob of the future: clocks differ a little.
fn blob_age(blob: &ObjectMeta, now: OffsetDateTime) -> Duration {
    let modified = i128::from(blob.last_modified.timestamp_millis());
    let now = now.unix_timestamp_nanos() / 1_000_000;
    Duration::from_millis(u64::try_from(now - modified).unwrap_or(0))
}
