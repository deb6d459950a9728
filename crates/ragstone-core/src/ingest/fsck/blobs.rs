//! Blobs that no row names.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use time::OffsetDateTime;

use super::{BATCH, Check, Disagreement, FsckError, ORPHAN_AGE, Uploads};
use crate::id::{DocumentId, Generation};
use crate::ingest::Ingestor;
use crate::ingest::arrival::INCOMING;
use crate::library::text::{OWNER_KEY, original_key, text_key};
use crate::seam::audit::{Explained, Named};

/// Accepted bytes.
pub(super) struct Waiting {
    key: Path,
    age: Duration,
    /// An upload of this process that is not begun yet.
    in_flight: bool,
    /// A row names them.
    pub(super) named: bool,
}

/// The name of a blob, read.
enum Key {
    Incoming,
    Generation(DocumentId, Generation),
    /// Whose store it is.
    Owner,
    /// None that this program gives.
    Foreign,
}

impl Key {
    fn read(key: &Path) -> Self {
        let parts: Vec<_> = key.parts().collect();
        match &parts[..] {
            [first, _] if first.as_ref() == INCOMING => Self::Incoming,
            [only] if only.as_ref() == OWNER_KEY => Self::Owner,
            [_, document, generation, _] => match (document.as_ref().parse(), generation.as_ref().parse()) {
                (Ok(document), Ok(generation)) => Self::Generation(document, Generation(generation)),
                _ => Self::Foreign,
            },
            _ => Self::Foreign,
        }
    }
}

impl Ingestor {
    /// Notes which accepted bytes there are, before any row is read.
    pub(super) async fn list_incoming(&self, check: &mut Check) -> Result<(), FsckError> {
        let blobs: &dyn ObjectStore = self.stores.blobs.as_ref();
        let listed: Vec<_> = blobs.list(Some(&Path::from(INCOMING))).try_collect().await?;
        for blob in listed {
            if let Key::Incoming = Key::read(&blob.location) {
                let waiting = Waiting {
                    age: age(&blob, check.now),
                    in_flight: self.is_receiving(&blob.location),
                    named: false,
                    key: blob.location,
                };
                check.incoming.insert(waiting.key.to_string(), waiting);
            }
        }
        Ok(())
    }

    /// Accepted bytes that no row named.
    pub(super) async fn check_incoming(&self, check: &mut Check) -> Result<(), FsckError> {
        for (_, waiting) in std::mem::take(&mut check.incoming) {
            if waiting.named {
                continue;
            }
            let old = check.remedies.incoming.is_some_and(|limit| waiting.age >= limit);
            let elsewhere = check.uploads == Uploads::Shared && waiting.age < ORPHAN_AGE;
            if waiting.in_flight || elsewhere && !old {
                check.report.pending.blobs += 1;
                continue;
            }
            self.orphan_blob(check, &waiting.key, old).await?;
        }
        Ok(())
    }

    /// Compares originals and texts with the rows.
    pub(super) async fn check_blobs(&self, check: &mut Check) -> Result<(), FsckError> {
        let mut batches = self.stores.blobs.list(None).chunks(BATCH);
        while let Some(batch) = batches.next().await {
            let batch: Vec<_> = batch.into_iter().collect::<Result<_, _>>()?;
            let documents = batch.iter().filter_map(|blob| match Key::read(&blob.location) {
                Key::Generation(document, _) => Some(document),
                Key::Incoming | Key::Owner | Key::Foreign => None,
            });
            let rows = self.rows_of(documents).await?;
            for blob in &batch {
                match Key::read(&blob.location) {
                    Key::Incoming | Key::Owner => {}
                    Key::Foreign => {
                        let old = check.remedies.restore && is_old(blob, check);
                        self.orphan_blob(check, &blob.location, old).await?;
                    }
                    Key::Generation(document, generation) => {
                        let row = rows.get(&document);
                        self.check_blob(check, blob, row, (document, generation)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn check_blob(
        &self,
        check: &mut Check,
        blob: &ObjectMeta,
        row: Option<&Named>,
        at: (DocumentId, Generation),
    ) -> Result<(), FsckError> {
        let (document, generation) = at;
        let known = row.filter(|row| {
            let (original, text) = (original_key, text_key);
            [original, text]
                .iter()
                .any(|key| key(&row.tenant, document, generation) == blob.location)
        });
        match known.map_or(Explained::Orphan, |row| row.explains_blobs(generation)) {
            Explained::Named if blob.location.filename() == Some("text") => {
                check.texts.insert(at);
            }
            Explained::Named => {
                check.originals.insert(at);
            }
            Explained::Pending => check.report.pending.blobs += 1,
            Explained::Orphan => {
                let replaced = known.is_some_and(|row| row.has_replaced(generation));
                if replaced && !check.remedies.finish {
                    // Who died between the publish and this removal leaves it to the sweep.
                    check.report.pending.blobs += 1;
                    return Ok(());
                }
                let old = is_old(blob, check) || replaced;
                self.orphan_blob(check, &blob.location, old).await?;
            }
        }
        Ok(())
    }

    async fn orphan_blob(&self, check: &mut Check, key: &Path, remove: bool) -> Result<(), FsckError> {
        if remove {
            self.remove_blob(key).await?;
        }
        check
            .report
            .found(Disagreement::OrphanBlob, key.to_string(), 1, remove);
        Ok(())
    }
}

fn is_old(blob: &ObjectMeta, check: &Check) -> bool {
    check
        .remedies
        .blobs
        .is_some_and(|limit| age(blob, check.now) >= limit)
}

/// Zero for a blob of the future: clocks differ a little.
fn age(blob: &ObjectMeta, now: OffsetDateTime) -> Duration {
    let modified = i128::from(blob.last_modified.timestamp_millis());
    let now = now.unix_timestamp_nanos() / 1_000_000;
    Duration::from_millis(u64::try_from(now - modified).unwrap_or(0))
}
