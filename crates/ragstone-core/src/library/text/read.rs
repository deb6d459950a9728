//! Reads a version's stored text: whole pages, or the few bytes of a quote.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use super::{FRAME_BYTES, HEAD_GUESS, MAGIC, MAX_HEAD_BYTES, TAIL_BYTES, TextError, TextHead};
use crate::document::{DocumentOutline, PageSpan, TextRange};

/// A version's stored text, with its head already read.
#[derive(Debug)]
pub struct StoredText<'a> {
    pub(super) blobs: &'a dyn ObjectStore,
    pub(super) key: Path,
    pub(super) head: TextHead,
    /// Bytes that were read to find the head: often all of a short text.
    pub(super) end: TextTail,
}

/// The last bytes of an object, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct TextTail {
    start: u64,
    bytes: Bytes,
}

impl TextTail {
    /// The bytes at `range` of the object, if they were read.
    fn get(&self, range: &std::ops::Range<u64>) -> Option<Bytes> {
        let at = |place: u64| usize::try_from(place.checked_sub(self.start)?).ok();
        let (start, end) = (at(range.start)?, at(range.end)?);
        (start <= end && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

impl<'a> StoredText<'a> {
    /// Opens a stored text by reading its head. Fails with [`TextError::Damaged`] if the head is invalid.
    pub async fn open_text(blobs: &'a dyn ObjectStore, key: Path) -> Result<StoredText<'a>, TextError> {
        let (head, end) = read_head(blobs, &key).await?;
        Ok(Self { blobs, key, head, end })
    }

    /// Copies the text to another key, and returns the copy.
    pub async fn copy_to(self, to: Path) -> Result<StoredText<'a>, TextError> {
        self.blobs.copy(&self.key, &to).await?;
        Ok(Self { key: to, ..self })
    }

    /// Fingerprint of the parser that extracted the text.
    pub fn parser_fingerprint(&self) -> &str {
        &self.head.parser
    }

    /// The media type, detected from the file's name and bytes.
    pub fn media_type(&self) -> &str {
        &self.head.media_type
    }

    /// Title, sections, warnings and attachments.
    pub fn outline(&self) -> &DocumentOutline {
        &self.head.outline
    }

    /// Byte range of each page.
    pub fn pages(&self) -> &[PageSpan] {
        &self.head.pages
    }

    /// The text of `range`; `None` if it is not a range of this text.
    pub async fn read_range(&self, range: &TextRange) -> Result<Option<String>, TextError> {
        self.range_reader().read_range(range).await
    }

    /// The error for bytes that are not what was written.
    pub(crate) fn damaged_error(&self) -> TextError {
        TextError::Damaged(self.key.clone())
    }

    /// A reader for several ranges, best in ascending order.
    pub fn range_reader(&self) -> TextReader<'_> {
        TextReader {
            stored: self,
            open: None,
        }
    }
}

async fn read_head(blobs: &dyn ObjectStore, key: &Path) -> Result<(TextHead, TextTail), TextError> {
    let damaged = || TextError::Damaged(key.clone());
    let options = GetOptions {
        range: Some(GetRange::Suffix(HEAD_GUESS)),
        ..GetOptions::default()
    };
    let last = blobs.get_opts(key, options).await?;
    let size = last.meta.size;
    let last = last.bytes().await?;
    let (rest, tail) = last.split_last_chunk::<TAIL_BYTES>().ok_or_else(damaged)?;
    let (length, magic) = tail.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    if magic != MAGIC || length > MAX_HEAD_BYTES || (length + TAIL_BYTES) as u64 > size {
        return Err(damaged());
    }
    let end = TextTail {
        start: size.saturating_sub(last.len() as u64),
        bytes: last.clone(),
    };
    let parsed = match rest.len().checked_sub(length) {
        Some(start) => serde_json::from_slice(&rest[start..]),
        None => {
            let end = size - TAIL_BYTES as u64;
            let head = blobs.get_range(key, end - length as u64..end).await?;
            serde_json::from_slice(&head)
        }
    };
    let head = parsed.map_err(|_| damaged())?;
    Ok((head, end))
}

/// Reads ranges of a text, and decompresses a frame once for all consecutive ranges in it.
pub struct TextReader<'a> {
    stored: &'a StoredText<'a>,
    /// Index and text of the frame that was read last.
    open: Option<(usize, Vec<u8>)>,
}

impl TextReader<'_> {
    /// The text of `range`; `None` if it is not a range of this text.
    pub async fn read_range(&mut self, range: &TextRange) -> Result<Option<String>, TextError> {
        let stored = self.stored;
        let frames = &stored.head.frames;
        let first = frames.partition_point(|frame| frame.text.end <= range.start);
        let last = frames.partition_point(|frame| frame.text.start < range.end);
        let end = frames.last().map_or(0, |frame| frame.text.end);
        if range.start > range.end || range.end > end {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(range.len());
        for (number, frame) in frames.iter().enumerate().take(last).skip(first) {
            let frame = frame.text.clone();
            let cut = range.start.max(frame.start) - frame.start..range.end.min(frame.end) - frame.start;
            let piece = self.read_frame(number).await?.get(cut);
            bytes.extend_from_slice(piece.ok_or_else(|| stored.damaged_error())?);
        }
        Ok(String::from_utf8(bytes).ok())
    }

    async fn read_frame(&mut self, number: usize) -> Result<&[u8], TextError> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let StoredText { blobs, key, head, end } = self.stored;
            let stored = head.frames[number].stored.clone();
            let packed = match end.get(&stored) {
                Some(packed) => packed,
                None => blobs.get_range(key, stored).await?,
            };
            let text = zstd::bulk::decompress(&packed, FRAME_BYTES).map_err(|_| TextError::Damaged(key.clone()))?;
            self.open = Some((number, text));
        }
        Ok(self.open.as_ref().map_or(&[], |(_, text)| text))
    }
}
