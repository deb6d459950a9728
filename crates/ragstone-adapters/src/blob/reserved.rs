//! A blob store that accepts no new content while the disk reserve is not held.
//!
//! Invariant: reading, renaming and removing always pass, and so do the library's small bookkeeping blobs (its marker,
//! manifests, deletion records): a start, a patch and a delete write them.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use crate::disk_reserve::DiskReserve;

/// The store of a folder, with the reserve of its disk.
#[derive(Debug)]
pub struct ReservedStore {
    inner: Arc<dyn ObjectStore>,
    reserve: DiskReserve,
}

impl ReservedStore {
    /// Wraps `inner`, whose files lie on the disk of `reserve`.
    pub fn new(inner: Arc<dyn ObjectStore>, reserve: DiskReserve) -> Self {
        Self { inner, reserve }
    }
}

impl fmt::Display for ReservedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with a reserve", self.inner)
    }
}

/// Key prefix of accepted bytes that are not processed yet.
const INCOMING: &str = "incoming";
/// Last key parts of a document's content.
const CONTENT: [&str; 2] = ["original", "text"];
/// Largest blob, in bytes, that counts as bookkeeping and not as content.
const SMALL_BYTES: usize = 128 * 1024;

/// Whether a blob of this size is new content, and not bookkeeping about existing content.
fn is_content(at: &Path, bytes: usize) -> bool {
    let is_incoming = at.parts().next().is_some_and(|first| first.as_ref() == INCOMING);
    is_incoming || bytes > SMALL_BYTES || at.filename().is_some_and(|name| CONTENT.contains(&name))
}

fn check_free_space(reserve: &DiskReserve, at: &Path, bytes: usize) -> Result<()> {
    match !is_content(at, bytes) || reserve.has_room_for(bytes as u64) {
        true => Ok(()),
        false => Err(object_store::Error::Generic {
            store: "folder",
            source: Box::new(io::Error::from(io::ErrorKind::StorageFull)),
        }),
    }
}

#[async_trait]
impl ObjectStore for ReservedStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        check_free_space(&self.reserve, at, payload.content_length())?;
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        check_free_space(&self.reserve, at, 0)?;
        let inner = self.inner.put_multipart_opts(at, options).await?;
        let (reserve, at) = (self.reserve.clone(), at.clone());
        Ok(Box::new(ReservedUpload { inner, reserve, at }))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct ReservedUpload {
    inner: Box<dyn MultipartUpload>,
    reserve: DiskReserve,
    at: Path,
}

#[async_trait]
impl MultipartUpload for ReservedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match check_free_space(&self.reserve, &self.at, data.content_length()) {
            Ok(()) => self.inner.put_part(data),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;
    use ragstone_core::id::{DocumentId, Generation, TenantId};
    use ragstone_core::library::text::{original_key, text_key};

    use super::*;

    #[tokio::test]
    async fn only_what_is_new_is_refused_while_the_reserve_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = DiskReserve::open(folder.path(), 1 << 20).unwrap();
        let inner = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let store = ReservedStore::new(Arc::new(inner), reserve.clone());
        let document = DocumentId("6f1c2f0e-6a0b-5d0e-9a53-726167737470".parse().unwrap());
        let key = |of: fn(&TenantId, DocumentId, Generation) -> Path| of(&TenantId::default(), document, Generation(1));
        let (here, there) = (Path::from("incoming/1"), key(original_key));
        store.put(&here, PutPayload::from("text")).await.unwrap();
        let mut under_way = store.put_multipart(&key(text_key)).await.unwrap();
        reserve.note_disk_full();
        let is_full = |error: object_store::Error| {
            let source = std::error::Error::source(&error).unwrap();
            let error = source.downcast_ref::<io::Error>().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        };
        is_full(store.put(&there, PutPayload::from("text")).await.unwrap_err());
        is_full(store.put_multipart(&there).await.unwrap_err());
        is_full(under_way.put_part(PutPayload::from("text")).await.unwrap_err());
        under_way.abort().await.unwrap();
        is_full(store.put(&key(text_key), PutPayload::from("text")).await.unwrap_err());
        let note = Path::from("a/note");
        is_full(store.put(&note, vec![0; SMALL_BYTES + 1].into()).await.unwrap_err());
        store.put(&note, vec![0; SMALL_BYTES].into()).await.unwrap();
        store.delete(&note).await.unwrap();
        store.rename(&here, &there).await.unwrap();
        let text = store.get(&there).await.unwrap().bytes().await.unwrap();
        assert_eq!(text, "text");
        store.delete(&there).await.unwrap();
        let left: Vec<_> = store.list(Some(&Path::from("default"))).try_collect().await.unwrap();
        assert!(left.is_empty());
        reserve.adjust_reserve().unwrap();
        store.put(&there, PutPayload::from("text")).await.unwrap();
    }
}
