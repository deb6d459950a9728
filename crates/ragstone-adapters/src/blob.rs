//! Blob stores: a bucket, and the removal of unfinished uploads, which the store of a folder does not list.

pub mod reserved;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "s3")]
#[cfg(test)]
#[path = "blob/tests.rs"]
mod stores_tests;

use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Removes the files that a killed process left unfinished; returns how many. `before` is the time when the calling
/// process took ownership of the folder: younger files may belong to uploads in progress. Blocks.
///
/// `object_store` writes beside the destination, under its name with `#` and digits, and renames. Its lists omit such
/// names.
pub fn remove_unfinished(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let mut removed = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() && is_unfinished(&entry, before) => {
                    std::fs::remove_file(entry.path())?;
                    removed += 1;
                }
                _ => {}
            }
        }
    }
    Ok(removed)
}

fn is_unfinished(entry: &std::fs::DirEntry, before: SystemTime) -> bool {
    let name = entry.file_name();
    let Some((_, number)) = name.to_str().and_then(|name| name.rsplit_once('#')) else {
        return false;
    };
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && modified.is_ok_and(|modified| modified < before)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use object_store::local::LocalFileSystem;
    use object_store::path::Path as Key;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;

    #[tokio::test]
    async fn only_what_is_unfinished_and_older_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let key = Key::from("incoming/1");
        let mut upload = store.put_multipart(&key).await.unwrap();
        upload.put_part(PutPayload::from("half a file")).await.unwrap();
        // The process dies here: nothing is cleaned up.
        std::mem::forget(upload);
        store
            .put(&Key::from("incoming/2"), PutPayload::from("whole"))
            .await
            .unwrap();
        let names = || {
            let entries = std::fs::read_dir(folder.path().join("incoming")).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(), ["1#1", "2"]);
        let (past, future) = (
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40),
        );
        assert_eq!(remove_unfinished(folder.path(), past).unwrap(), 0);
        assert_eq!(names(), ["1#1", "2"], "it may be on its way");
        assert_eq!(remove_unfinished(folder.path(), future).unwrap(), 1);
        assert_eq!(names(), ["2"]);
    }

    /// `fsck` compares listed keys with the keys that it would give.
    #[tokio::test]
    async fn keys_are_listed_as_they_were_given() {
        use futures::TryStreamExt;
        use object_store::ObjectStore;
        use ragstone_core::id::{DocumentId, Generation, TenantId};
        use ragstone_core::library::text::original_key;

        let folder = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let document = DocumentId("6f1c2f0e-6a0b-5d0e-9a53-726167737470".parse().unwrap());
        let mut given = Vec::new();
        for tenant in ["default", "Straße", "x@y.z", "incoming", "..", "a-b_c"] {
            let tenant: TenantId = tenant.parse().unwrap();
            let key = original_key(&tenant, document, Generation(7));
            store.put(&key, PutPayload::from("x")).await.unwrap();
            given.push(key);
        }
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        let mut listed: Vec<_> = listed.into_iter().map(|blob| blob.location).collect();
        listed.sort_unstable();
        given.sort_unstable();
        assert_eq!(listed, given);
    }
}
