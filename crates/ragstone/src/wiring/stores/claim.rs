//! Checks that catalogue and blobs belong to one library, before anything else is done with them.

use anyhow::{Context, anyhow};
use object_store::ObjectStore;
use ragstone_core::library::mark::{
    LIBRARY_SETTING, MarkError, RECOVERING_ROWS, RECOVERY_SETTING, StoreMismatch, StoreOwners,
    claim_stores as claim_blobs, marked_library,
};
use ragstone_core::library::text::OWNER_KEY;
use ragstone_core::seam::Catalogue;

use crate::clock::new_id;

/// Claims the blobs for the catalogue's library and returns its id. The error says what to do about stores that do not
/// belong together.
pub async fn claim_library(
    catalogue: &dyn Catalogue,
    blobs: &dyn ObjectStore,
    owners: StoreOwners,
) -> anyhow::Result<String> {
    match try_claim_library(catalogue, blobs, owners).await {
        Ok(library) => Ok(library),
        Err(MarkError::Mismatch(mismatch)) => Err(anyhow!("{mismatch}; hint: {}", describe_remedy(mismatch, owners))),
        Err(error) => Err(error).context("the mark of the library"),
    }
}

/// The same; a mismatch is returned for the caller to handle.
pub async fn try_claim_library(
    catalogue: &dyn Catalogue,
    blobs: &dyn ObjectStore,
    owners: StoreOwners,
) -> Result<String, MarkError> {
    let drawn = (new_id())().to_string();
    claim_blobs(catalogue, blobs, &drawn, owners).await
}

/// Prepares a catalogue for recovery from the blobs: gives it their library's id, and makes every other start refuse it
/// until the recovery is finished. Returns the id.
pub async fn begin_recovery(catalogue: &dyn Catalogue, blobs: &dyn ObjectStore) -> anyhow::Result<String> {
    catalogue.set_setting(RECOVERY_SETTING, RECOVERING_ROWS).await?;
    let marked = marked_library(blobs).await.context("the mark of the library")?;
    let library = match (marked, catalogue.get_setting(LIBRARY_SETTING).await?) {
        (Some(marked), _) => marked,
        (None, Some(ours)) => ours,
        (None, None) => (new_id())().to_string(),
    };
    catalogue.set_setting(LIBRARY_SETTING, &library).await?;
    Ok(library)
}

/// What to do about a mismatch; nothing was changed before it is reported.
fn describe_remedy(mismatch: StoreMismatch, owners: StoreOwners) -> String {
    let database = match owners {
        StoreOwners::One => "ragstone.db with its -wal file",
        StoreOwners::Many => "the database that data.database_url named before",
    };
    match mismatch {
        StoreMismatch::Empty | StoreMismatch::Older { .. } => format!(
            "nothing was changed; put {database} back, or make the database again from the blobs with `ragstone \
             recover`"
        ),
        StoreMismatch::Unfinished => "`ragstone recover` goes on with it".into(),
        StoreMismatch::Foreign => format!(
            "setting data.blobs_url: a place of its own for each library; if the blobs are this library's, put {database} \
             back, or remove {OWNER_KEY} from the blobs if the database was moved"
        ),
        StoreMismatch::Unexplained { .. } => format!(
            "nothing was changed; put {database} back, or make the database again from the blobs with `ragstone \
             recover`; if the blobs are nobody's any more, move them away"
        ),
    }
}
