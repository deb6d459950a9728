//! Writes a blob piece by piece.
//!
//! Invariant: at most one part is in memory; nothing can be read before [`BlobWriter::finish`]; an unfinished blob
//! leaves nothing behind. (A store without files keeps the parts of a process that died until its own rule for
//! unfinished uploads removes them.)

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, Result};

/// Bytes of every part but the last: the minimum of S3; other stores require parts of equal length.
pub(crate) const PART_BYTES: usize = 5 * 1024 * 1024;

/// Writes one blob: in one call if it is small, in parts otherwise.
pub(crate) struct BlobWriter<'a> {
    blobs: &'a dyn ObjectStore,
    key: Path,
    parts: Option<Box<dyn MultipartUpload>>,
    part: Vec<u8>,
}

impl<'a> BlobWriter<'a> {
    /// A writer for the blob at `key`.
    pub fn new(blobs: &'a dyn ObjectStore, key: Path) -> Self {
        Self {
            blobs,
            key,
            parts: None,
            part: Vec::new(),
        }
    }

    /// Appends bytes. After an error the blob can only be aborted.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.parts.is_some() {
                self.part.reserve_exact(PART_BYTES - self.part.len());
            }
            let (taken, rest) = bytes.split_at(bytes.len().min(PART_BYTES - self.part.len()));
            self.part.extend_from_slice(taken);
            if self.part.len() == PART_BYTES {
                self.send_part().await?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Makes the blob readable; on an error, removes what was written.
    pub async fn finish(mut self) -> Result<()> {
        let finished = self.complete_upload().await;
        if finished.is_err() {
            self.abort().await;
        }
        finished
    }

    /// Removes what was written; logs a warning if the store fails to do so.
    pub async fn abort(self) {
        if let Some(mut parts) = self.parts
            && let Err(error) = parts.abort().await
        {
            tracing::warn!(key = %self.key, %error, "parts of an unfinished blob are left");
        }
    }

    async fn complete_upload(&mut self) -> Result<()> {
        if self.parts.is_none() {
            let whole = PutPayload::from(std::mem::take(&mut self.part));
            return self.blobs.put(&self.key, whole).await.map(|_| ());
        }
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        match &mut self.parts {
            Some(parts) => parts.complete().await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn send_part(&mut self) -> Result<()> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(self.blobs.put_multipart(&self.key).await?),
        };
        let part = std::mem::take(&mut self.part);
        parts.put_part(PutPayload::from(part)).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    async fn check(pieces: &[usize], finished: bool) {
        let (blobs, key) = (InMemory::new(), Path::from("a/b"));
        let mut writer = BlobWriter::new(&blobs, key.clone());
        let mut expected = Vec::new();
        for (n, length) in pieces.iter().enumerate() {
            let piece = vec![n as u8 + 1; *length];
            writer.write(&piece).await.unwrap();
            expected.extend_from_slice(&piece);
            assert!(writer.part.len() < PART_BYTES, "a full part is sent");
        }
        assert!(blobs.head(&key).await.is_err(), "nothing can be read before the end");
        match finished {
            true => writer.finish().await.unwrap(),
            false => writer.abort().await,
        }
        match blobs.get(&key).await {
            Ok(found) => assert!(finished && found.bytes().await.unwrap() == expected),
            Err(error) => assert!(!finished, "{error}"),
        }
    }

    #[tokio::test]
    async fn a_blob_is_whole_or_not_there() {
        for finished in [true, false] {
            check(&[], finished).await;
            check(&[1, 2, 3], finished).await;
            check(&[PART_BYTES], finished).await;
            check(&[PART_BYTES - 1, 2, PART_BYTES * 2, 7], finished).await;
        }
    }
}
