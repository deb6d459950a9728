//! The mark on a blob store: which library owns the blobs, and which generation it has reached.
//!
//! The store holds the library's id, and the highest generation with which one of its workers ended a job. A process
//! that opens the stores compares both with the catalogue before it writes or sweeps anything, and refuses a mismatch:
//! a catalogue that is missing, another library's, or older than the blobs has rows for few of them, and all other
//! blobs would look like leftovers to the sweep.
//!
//! Invariant: the marked generation is never above what the catalogue has committed, so a library that was killed at
//! any point matches its mark. The mark is written after the commit of the claim that drew the generation, seldom and
//! in the background, so it may lag behind; what a lagging mark does not show, the sweep sees in its own listing
//! (`ingest::fsck`), at no extra cost. The mark is not computed from a listing at start, because that takes one request
//! per thousand blobs of a bucket.

use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::layout::{BlobKey, GENERATION_KEY};
use super::text::OWNER_KEY;
use crate::id::Generation;
use crate::seam::{Catalogue, CatalogueError};

/// Setting of the catalogue that contains the library's id.
pub const LIBRARY_SETTING: &str = "library";
/// Setting of the catalogue that contains the state of its recovery: [`RECOVERING_ROWS`], then [`RECOVERING_POINTS`],
/// then nothing.
pub const RECOVERY_SETTING: &str = "recovery";
/// Recovery state: the rows of the catalogue are being restored.
pub const RECOVERING_ROWS: &str = "rows";
/// Recovery state: the rows are restored, the points of the index are not.
pub const RECOVERING_POINTS: &str = "points";
/// Most blobs that are compared with the rows before a store is accepted without a matching mark: enough to distinguish
/// a library's own catalogue from another one, and quick in any store.
const MAX_COMPARED: usize = 20_000;
/// Blobs compared with the rows at a time.
const BATCH: usize = 500;
/// Compared documents that may lack a row, whatever their share: leftovers of interrupted work.
const TOLERATED_MISSING: usize = 10;
/// Of many compared documents, one in this many may lack a row.
const MISSING_DIVISOR: usize = 20;

/// Why catalogue and blobs do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreMismatch {
    /// The catalogue has no documents, but the blobs contain originals.
    #[error("the database holds no documents, and the blobs hold originals")]
    Empty,
    /// The catalogue is older than the blobs.
    #[error(
        "the database is older than the blobs: it has come to generation {catalogue}, and they to generation {blobs}"
    )]
    Older {
        /// Highest generation of the catalogue.
        catalogue: Generation,
        /// Highest generation of the blobs.
        blobs: Generation,
    },
    /// The blobs belong to another library.
    #[error("the blobs are those of another database")]
    Foreign,
    /// A recovery of the catalogue was interrupted.
    #[error("a recovery of the database did not come to its end")]
    Unfinished,
    /// The catalogue lacks rows for too many of the documents in the blobs.
    #[error("the database explains only {known} of {seen} documents in the blobs")]
    Unexplained {
        /// Documents with a row.
        known: usize,
        /// Documents that were compared.
        seen: usize,
    },
}

/// Why catalogue and blobs could not be compared, or that they do not match.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// They do not belong together.
    #[error(transparent)]
    Mismatch(#[from] StoreMismatch),
    /// A call to the catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The blob store failed.
    #[error("the blob store failed: {0}")]
    Blobs(#[from] object_store::Error),
    /// A mark cannot be read.
    #[error("the mark {0} of the blob store is damaged")]
    Damaged(&'static str),
}

/// How many processes may use the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOwners {
    /// Only this process uses them.
    One,
    /// Any number of processes, and perhaps another library that was given the same place by mistake.
    Many,
}

/// Checks that blobs and catalogue belong to one library, marks blobs without a mark, and returns the library's id.
/// `drawn`, a fresh random id, becomes the id if there is none yet. Fails with [`StoreMismatch`] if they do not match.
pub async fn claim_stores(
    catalogue: &dyn Catalogue,
    blobs: &dyn ObjectStore,
    drawn: &str,
    owners: StoreOwners,
) -> Result<String, MarkError> {
    if catalogue.get_setting(RECOVERY_SETTING).await?.as_deref() == Some(RECOVERING_ROWS) {
        return Err(StoreMismatch::Unfinished.into());
    }
    let (marked, ours) = (
        read_mark(blobs, OWNER_KEY).await?,
        catalogue.get_setting(LIBRARY_SETTING).await?,
    );
    let is_empty = catalogue.list_document_refs(None, 1).await?.is_empty();
    match (marked, ours) {
        (Some(marked), Some(ours)) if marked == ours => {
            check_catalogue_age(catalogue, blobs).await?;
            Ok(marked)
        }
        (Some(_), _) if is_empty && has_originals(blobs).await? => Err(StoreMismatch::Empty.into()),
        // Blobs with a mark and without originals may have just been given to another library.
        (Some(_), Some(_)) => Err(StoreMismatch::Foreign.into()),
        (Some(_), None) if is_empty && owners == StoreOwners::Many => Err(StoreMismatch::Foreign.into()),
        (Some(marked), None) => {
            check_catalogue_age(catalogue, blobs).await?;
            check_documents_known(catalogue, blobs).await?;
            catalogue.set_setting(LIBRARY_SETTING, &marked).await?;
            Ok(marked)
        }
        (None, _) if is_empty && has_originals(blobs).await? => Err(StoreMismatch::Empty.into()),
        (None, ours) => {
            check_documents_known(catalogue, blobs).await?;
            let is_drawn = ours.is_none();
            let library = ours.unwrap_or_else(|| drawn.to_owned());
            if is_drawn {
                // Before the mark: a store marked with an id that no catalogue has would belong to no library.
                catalogue.set_setting(LIBRARY_SETTING, &library).await?;
            }
            let marked = write_library_mark(blobs, &library).await?;
            if is_drawn && marked != library {
                // Another process of this new library drew an id too, and was faster.
                catalogue.set_setting(LIBRARY_SETTING, &marked).await?;
            } else if marked != library {
                return Err(StoreMismatch::Foreign.into());
            }
            Ok(marked)
        }
    }
}

/// Writes the library's id, unless another process was faster; returns the id that is stored.
async fn write_library_mark(blobs: &dyn ObjectStore, library: &str) -> Result<String, MarkError> {
    let payload = PutPayload::from(library.to_owned());
    let key = Path::from(OWNER_KEY);
    match blobs.put_opts(&key, payload, PutMode::Create.into()).await {
        Ok(_) => Ok(library.to_owned()),
        Err(object_store::Error::AlreadyExists { .. }) => {
            let found = read_mark(blobs, OWNER_KEY).await?;
            found.ok_or(MarkError::Damaged(OWNER_KEY))
        }
        Err(error) => Err(error.into()),
    }
}

/// Checks that the catalogue has reached at least the marked generation.
async fn check_catalogue_age(catalogue: &dyn Catalogue, blobs: &dyn ObjectStore) -> Result<(), MarkError> {
    // The mark is read first: generations drawn meanwhile only raise the catalogue's number.
    let Some(blobs) = marked_generation(blobs).await? else {
        return Ok(());
    };
    let catalogue = catalogue.highest_generation().await?;
    match blobs > catalogue {
        true => Err(StoreMismatch::Older { catalogue, blobs }.into()),
        false => Ok(()),
    }
}

/// Whether the blobs contain an original or a text of any document.
async fn has_originals(blobs: &dyn ObjectStore) -> Result<bool, MarkError> {
    let mut listed = blobs.list(None);
    while let Some(blob) = listed.next().await {
        if let BlobKey::Generation(..) = BlobKey::from_path(&blob?.location) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks that the catalogue has a row for nearly all documents that are compared, and that none is newer than it.
async fn check_documents_known(catalogue: &dyn Catalogue, blobs: &dyn ObjectStore) -> Result<(), MarkError> {
    let (mut known, mut seen, mut highest) = (0, 0, Generation(0));
    let mut batches = blobs.list(None).take(MAX_COMPARED).chunks(BATCH);
    while let Some(batch) = batches.next().await {
        let mut documents = Vec::with_capacity(BATCH);
        for blob in batch {
            if let BlobKey::Generation(document, generation) = BlobKey::from_path(&blob?.location) {
                documents.push(document);
                highest = highest.max(generation);
            }
        }
        documents.sort_unstable();
        documents.dedup();
        seen += documents.len();
        known += catalogue.get_document_refs(&documents).await?.len();
    }
    let drawn = catalogue.highest_generation().await?;
    if highest > drawn {
        return Err(StoreMismatch::Older {
            catalogue: drawn,
            blobs: highest,
        }
        .into());
    }
    match seen - known > TOLERATED_MISSING.max(seen / MISSING_DIVISOR) {
        true => Err(StoreMismatch::Unexplained { known, seen }.into()),
        false => Ok(()),
    }
}

/// The library's id in the mark; `None` without a mark.
pub async fn marked_library(blobs: &dyn ObjectStore) -> Result<Option<String>, MarkError> {
    read_mark(blobs, OWNER_KEY).await
}

/// The highest marked generation; `None` without a mark.
pub async fn marked_generation(blobs: &dyn ObjectStore) -> Result<Option<Generation>, MarkError> {
    let text = read_mark(blobs, GENERATION_KEY).await?;
    let number = text.map(|text| text.trim().parse());
    let number = number.transpose().map_err(|_| MarkError::Damaged(GENERATION_KEY))?;
    Ok(number.map(Generation))
}

/// Raises the mark to `generation`, which must be committed; a higher mark stays. Two processes that write at once may
/// leave the lower of two marks, which is allowed to lag.
pub async fn advance_mark(blobs: &dyn ObjectStore, generation: Generation) -> Result<(), MarkError> {
    if marked_generation(blobs)
        .await?
        .is_some_and(|marked| marked >= generation)
    {
        return Ok(());
    }
    let payload = PutPayload::from(generation.to_string());
    blobs.put(&Path::from(GENERATION_KEY), payload).await?;
    Ok(())
}

async fn read_mark(blobs: &dyn ObjectStore, key: &'static str) -> Result<Option<String>, MarkError> {
    match blobs.get(&Path::from(key)).await {
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(found) => {
            let bytes = found.bytes().await?;
            let text = String::from_utf8(bytes.to_vec()).map_err(|_| MarkError::Damaged(key))?;
            Ok(Some(text))
        }
    }
}

#[cfg(test)]
mod tests;
