//! The mark on a blob store: whose blobs they are, and how far that library had come.
//!
//! The store holds the library's id, and the highest generation that a worker of it ended a job with. Whoever opens the
//! stores compares both with the catalogue before anything is written or swept, and refuses what does not fit: a
//! catalogue that is missing, another library's, or older than the blobs explains few of them, and everything that it does
//! not explain looks like a leftover.
//!
//! Invariant: the marked generation is never above what the catalogue has committed, so a library that was killed at any
//! place fits its mark. It is written after the claim that drew it was committed, seldom and in the background, and may
//! lag behind; what a mark that lags does not show, the sweep sees in its listing (`ingest::fsck`), which costs nothing
//! more. It is not taken from a listing at start: that is a request for each thousand blobs of a bucket.

use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::layout::{BlobKey, GENERATION_KEY};
use super::text::OWNER_KEY;
use crate::id::Generation;
use crate::seam::{Catalogue, CatalogueError};

/// The setting of the catalogue that holds the library's id.
pub const LIBRARY_SETTING: &str = "library";
/// The setting of the catalogue that holds how far its recovery is, if it was made again: [`RECOVERING_ROWS`], then [`RECOVERING_POINTS`], then
/// nothing.
pub const RECOVERY_SETTING: &str = "recovery";
/// Its rows are being made.
pub const RECOVERING_ROWS: &str = "rows";
/// Its rows are there, and their points are not.
pub const RECOVERING_POINTS: &str = "points";
/// Most blobs that are compared with the rows when a store without a mark is taken over: enough to tell a library's own
/// catalogue from another one, and quick in any store.
const MAX_COMPARED: usize = 20_000;
/// Blobs compared with the rows at a time.
const BATCH: usize = 500;
/// Documents that may lack their row in a store that is taken over, whatever their share: leftovers of interrupted work.
const TOLERATED_MISSING: usize = 10;
/// One in so many documents may.
const MISSING_DIVISOR: usize = 20;

/// Why catalogue and blobs do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreMismatch {
    /// The catalogue holds nothing, the blobs hold originals.
    #[error("the database holds no documents, and the blobs hold originals")]
    Empty,
    /// The catalogue is of an earlier time.
    #[error(
        "the database is older than the blobs: it has come to generation {catalogue}, and they to generation {blobs}"
    )]
    Older {
        /// The highest generation of the catalogue.
        catalogue: Generation,
        /// The highest one of the blobs.
        blobs: Generation,
    },
    /// The blobs are another library's.
    #[error("the blobs are those of another database")]
    Foreign,
    /// A recovery of the catalogue was cut off.
    #[error("a recovery of the database did not come to its end")]
    Unfinished,
    /// The blobs bear no mark, and the catalogue does not know most of them.
    #[error("the database explains only {known} of {seen} documents in the blobs")]
    Unexplained {
        /// Documents with a row.
        known: usize,
        /// Documents that were looked at.
        seen: usize,
    },
}

/// Why it is not known whether they belong together, or that they do not.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// They do not.
    #[error(transparent)]
    Mismatch(#[from] StoreMismatch),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The blob store failed.
    #[error("the blob store failed: {0}")]
    Blobs(#[from] object_store::Error),
    /// A mark cannot be read.
    #[error("the mark {0} of the blob store is damaged")]
    Damaged(&'static str),
}

/// Who else may have the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOwners {
    /// This process has them alone.
    One,
    /// Any number of processes, and perhaps another library that was given the same place by mistake.
    Many,
}

/// Makes sure that blobs and catalogue are of one library, and marks blobs that bear no mark; gives the library's id.
/// `drawn` becomes that if it has none.
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
        // What bears a mark and holds nothing may be what another library was just given.
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
                // Before the mark: a store that is marked for nobody would be nobody's.
                catalogue.set_setting(LIBRARY_SETTING, &library).await?;
            }
            let marked = write_library_mark(blobs, &library).await?;
            if is_drawn && marked != library {
                // Another process of a new library drew as well, and was faster.
                catalogue.set_setting(LIBRARY_SETTING, &marked).await?;
            } else if marked != library {
                return Err(StoreMismatch::Foreign.into());
            }
            Ok(marked)
        }
    }
}

/// Writes the library's id, unless another process was faster; gives the one that stands there.
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

/// The catalogue has come at least as far as the blobs are marked.
async fn check_catalogue_age(catalogue: &dyn Catalogue, blobs: &dyn ObjectStore) -> Result<(), MarkError> {
    // The mark first: what is drawn meanwhile makes the catalogue's number greater.
    let Some(blobs) = marked_generation(blobs).await? else {
        return Ok(());
    };
    let catalogue = catalogue.highest_generation().await?;
    match blobs > catalogue {
        true => Err(StoreMismatch::Older { catalogue, blobs }.into()),
        false => Ok(()),
    }
}

/// Whether the blobs hold anything of a document.
async fn has_originals(blobs: &dyn ObjectStore) -> Result<bool, MarkError> {
    let mut listed = blobs.list(None);
    while let Some(blob) = listed.next().await {
        if let BlobKey::Generation(..) = BlobKey::from_path(&blob?.location) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The catalogue has a row for nearly all documents that are looked at, and none of them is newer than it.
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

/// The library's id as the blobs are marked with it, if they are.
pub async fn marked_library(blobs: &dyn ObjectStore) -> Result<Option<String>, MarkError> {
    read_mark(blobs, OWNER_KEY).await
}

/// The highest generation that was marked, if any was.
pub async fn marked_generation(blobs: &dyn ObjectStore) -> Result<Option<Generation>, MarkError> {
    let text = read_mark(blobs, GENERATION_KEY).await?;
    let number = text.map(|text| text.trim().parse());
    let number = number.transpose().map_err(|_| MarkError::Damaged(GENERATION_KEY))?;
    Ok(number.map(Generation))
}

/// Marks that the library has come to `generation`, which is committed; a higher mark stays. Two processes that mark at
/// once may leave the lower of two marks: it may lag.
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
