//! The extracted text of a version, stored as one object: compressed frames with an index, so that reading one
//! chunk does not unpack a book.
//!
//! Layout: magic `RST1`, length of the head (u32, little endian), the head as JSON, then zstd frames one after
//! another. Invariant: the bytes read for a range are the bytes that were written for it, or an error.

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::document::{PageSpan, ParseWarning, ParsedDocument, SectionSpan, TextRange};
use crate::id::{DocumentId, Generation, TenantId};

const MAGIC: &[u8; 4] = b"RST1";
/// Text bytes of a frame; a page longer than this takes several.
const FRAME_BYTES: usize = 64 * 1024;
/// zstd's default level: text shrinks to about a third.
const LEVEL: i32 = 3;
/// Bytes read at first, which usually hold the head.
const HEAD_GUESS: u64 = 16 * 1024;
/// Largest head that is believed.
const MAX_HEAD_BYTES: usize = 64 * 1024 * 1024;

/// Why stored text could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The blob store failed.
    #[error("the blob store failed: {0}")]
    Store(#[from] object_store::Error),
    /// The object is not what was written.
    #[error("stored text {0} is damaged")]
    Damaged(Path),
}

/// Where the original bytes of a generation lie.
pub fn original_key(tenant: &TenantId, document: DocumentId, generation: Generation) -> Path {
    Path::from_iter([
        tenant.as_str(),
        &document.to_string(),
        &generation.to_string(),
        "original",
    ])
}

/// Where the extracted text of a generation lies.
pub fn text_key(tenant: &TenantId, document: DocumentId, generation: Generation) -> Path {
    Path::from_iter([
        tenant.as_str(),
        &document.to_string(),
        &generation.to_string(),
        "text",
    ])
}

#[derive(Serialize, Deserialize)]
struct Head {
    parser: String,
    title: Option<String>,
    media_type: String,
    pages: Vec<PageSpan>,
    sections: Vec<SectionSpan>,
    warnings: Vec<ParseWarning>,
    frames: Vec<Frame>,
}

#[derive(Serialize, Deserialize)]
struct Frame {
    text: Range<usize>,
    stored: Range<usize>,
}

/// Stores what `parser` made of a file.
pub async fn write(
    blobs: &dyn ObjectStore,
    key: &Path,
    parser: &str,
    document: &ParsedDocument,
) -> Result<(), TextError> {
    let mut body = Vec::new();
    let mut frames = Vec::new();
    for text in frame_ranges(document) {
        let start = body.len();
        let frame = zstd::bulk::compress(&document.text.as_bytes()[text.clone()], LEVEL)
            .map_err(|_| TextError::Damaged(key.clone()))?;
        body.extend_from_slice(&frame);
        frames.push(Frame {
            text,
            stored: start..body.len(),
        });
    }
    let head = Head {
        parser: parser.to_owned(),
        title: document.title.clone(),
        media_type: document.media_type.clone(),
        pages: document.pages.clone(),
        sections: document.sections.clone(),
        warnings: document.warnings.clone(),
        frames,
    };
    let head = serde_json::to_vec(&head).expect("a struct of text and numbers serialises");
    let mut object = Vec::with_capacity(8 + head.len() + body.len());
    object.extend_from_slice(MAGIC);
    object.extend_from_slice(
        &u32::try_from(head.len())
            .map_err(|_| TextError::Damaged(key.clone()))?
            .to_le_bytes(),
    );
    object.extend_from_slice(&head);
    object.extend_from_slice(&body);
    blobs.put(key, PutPayload::from(object)).await?;
    Ok(())
}

/// Frames begin where pages begin; longer pages are cut every [`FRAME_BYTES`].
fn frame_ranges(document: &ParsedDocument) -> Vec<Range<usize>> {
    let whole = [PageSpan {
        page: None,
        range: 0..document.text.len(),
    }];
    let pages = if document.pages.is_empty() {
        &whole[..]
    } else {
        &document.pages
    };
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for page in pages {
        match ranges.last_mut() {
            Some(last) if last.end == page.range.start && page.range.end - last.start <= FRAME_BYTES => {
                last.end = page.range.end;
            }
            _ => ranges.extend(
                page.range
                    .clone()
                    .step_by(FRAME_BYTES)
                    .map(|at| at..page.range.end.min(at + FRAME_BYTES)),
            ),
        }
    }
    ranges
}

/// A version's stored text, opened.
pub struct StoredText<'a> {
    blobs: &'a dyn ObjectStore,
    key: Path,
    head: Head,
    body: u64,
}

impl<'a> StoredText<'a> {
    /// Reads the head.
    pub async fn open(blobs: &'a dyn ObjectStore, key: Path) -> Result<StoredText<'a>, TextError> {
        let damaged = || TextError::Damaged(key.clone());
        let first = blobs.get_range(&key, 0..HEAD_GUESS).await?;
        if first.len() < 8 || &first[..4] != MAGIC {
            return Err(damaged());
        }
        let length = u32::from_le_bytes([first[4], first[5], first[6], first[7]]) as usize;
        if length > MAX_HEAD_BYTES {
            return Err(damaged());
        }
        let body = 8 + length as u64;
        let head = match first.get(8..8 + length) {
            Some(head) => Bytes::copy_from_slice(head),
            None => blobs.get_range(&key, 8..body).await?,
        };
        let head = serde_json::from_slice(&head).map_err(|_| damaged())?;
        Ok(Self {
            blobs,
            key,
            head,
            body,
        })
    }

    /// The parser that made it.
    pub fn parser(&self) -> &str {
        &self.head.parser
    }

    /// Where each page stands.
    pub fn pages(&self) -> &[PageSpan] {
        &self.head.pages
    }

    /// The text of `range`; none if it is not a range of this text.
    pub async fn read(&self, range: &TextRange) -> Result<Option<String>, TextError> {
        let damaged = || TextError::Damaged(self.key.clone());
        let mut bytes = Vec::with_capacity(range.len());
        for frame in &self.head.frames {
            let (start, end) = (range.start.max(frame.text.start), range.end.min(frame.text.end));
            if start >= end {
                continue;
            }
            let stored = self.body + frame.stored.start as u64..self.body + frame.stored.end as u64;
            let packed = self.blobs.get_range(&self.key, stored).await?;
            let text = zstd::bulk::decompress(&packed, FRAME_BYTES).map_err(|_| damaged())?;
            let cut = start - frame.text.start..end - frame.text.start;
            bytes.extend_from_slice(text.get(cut).ok_or_else(damaged)?);
        }
        Ok(match bytes.len() == range.len() {
            true => String::from_utf8(bytes).ok(),
            false => None,
        })
    }

    /// The whole document, as it was parsed.
    pub async fn document(self) -> Result<ParsedDocument, TextError> {
        let length = self.head.frames.last().map_or(0, |frame| frame.text.end);
        let text = self
            .read(&(0..length))
            .await?
            .ok_or_else(|| TextError::Damaged(self.key.clone()))?;
        let Head {
            title,
            media_type,
            pages,
            sections,
            warnings,
            ..
        } = self.head;
        Ok(ParsedDocument {
            title,
            media_type,
            text,
            pages,
            sections,
            warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn document(pages: &[&str]) -> ParsedDocument {
        let mut document = ParsedDocument {
            media_type: "text/plain".into(),
            ..Default::default()
        };
        for (n, page) in pages.iter().enumerate() {
            let start = document.text.len();
            document.text.push_str(page);
            document.pages.push(PageSpan {
                page: Some(n as u32 + 1),
                range: start..document.text.len(),
            });
        }
        document
    }

    #[tokio::test]
    async fn what_was_written_is_read_whole_and_in_ranges() {
        let long = "Ünïcödé text. ".repeat(20_000);
        for pages in [
            &["one", "two", ""][..],
            &[&long, "after"][..],
            &["", ""][..],
            &[][..],
        ] {
            let (blobs, key) = (InMemory::new(), Path::from("t/d/1/text"));
            let document = document(pages);
            write(&blobs, &key, "p1", &document).await.unwrap();
            let stored = StoredText::open(&blobs, key.clone()).await.unwrap();
            assert_eq!(stored.parser(), "p1");
            for span in stored.pages() {
                let text = stored.read(&span.range).await.unwrap();
                assert_eq!(text.as_deref(), document.text.get(span.range.clone()));
            }
            assert_eq!(stored.read(&(0..document.text.len() + 1)).await.unwrap(), None);
            assert_eq!(stored.document().await.unwrap(), document);
        }
    }

    #[tokio::test]
    async fn a_damaged_object_is_named() {
        let (blobs, key) = (InMemory::new(), Path::from("t/d/1/text"));
        for bytes in [
            &b""[..],
            b"RST",
            b"RST2....",
            b"RST1\xff\xff\xff\xff",
            b"RST1\x02\0\0\0[]",
        ] {
            blobs.put(&key, PutPayload::from(bytes.to_vec())).await.unwrap();
            assert!(StoredText::open(&blobs, key.clone()).await.is_err(), "{bytes:?}");
        }
    }
}
