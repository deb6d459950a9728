//! Writes a version's text while it is parsed.
//!
//! Invariant: at most one frame of text and one part of the blob are in memory, besides the positions of the pages.

use object_store::ObjectStore;
use object_store::path::Path;
use zstd::bulk::Compressor;

use super::read::TextTail;
use super::{FRAME_BYTES, MAGIC, StoredText, TextError, TextFrame, TextHead, ZSTD_LEVEL};
use crate::document::{DocumentOutline, PageSpan};
use crate::library::blob::BlobWriter;

/// Writer for the text of one version.
pub struct TextWriter<'a> {
    blobs: &'a dyn ObjectStore,
    key: Path,
    blob: BlobWriter<'a>,
    compressor: Compressor<'static>,
    /// The text of the frame that is not full yet.
    frame: Vec<u8>,
    frames: Vec<TextFrame>,
    pages: Vec<PageSpan>,
    /// Bytes of text, the open frame included.
    text_bytes: usize,
    is_blank: bool,
}

impl<'a> TextWriter<'a> {
    /// A writer for the text at `key`.
    pub fn new(blobs: &'a dyn ObjectStore, key: Path) -> Result<Self, TextError> {
        let compressor = || {
            let mut compressor = Compressor::new(ZSTD_LEVEL)?;
            compressor.include_checksum(true)?;
            std::io::Result::Ok(compressor)
        };
        Ok(Self {
            blobs,
            blob: BlobWriter::new(blobs, key.clone()),
            compressor: compressor().map_err(|_| TextError::Damaged(key.clone()))?,
            key,
            frame: Vec::new(),
            frames: Vec::new(),
            pages: Vec::new(),
            text_bytes: 0,
            is_blank: true,
        })
    }

    /// Appends a page. A page that does not fit the open frame begins a new one; longer pages are cut every
    /// `FRAME_BYTES`.
    pub async fn write_page(&mut self, page: Option<u32>, text: &str) -> Result<(), TextError> {
        let start = self.text_bytes;
        if self.frame.len() + text.len() > FRAME_BYTES {
            self.end_frame().await?;
        }
        for piece in text.as_bytes().chunks(FRAME_BYTES) {
            self.frame.extend_from_slice(piece);
            self.text_bytes += piece.len();
            if self.frame.len() == FRAME_BYTES {
                self.end_frame().await?;
            }
        }
        self.is_blank &= text.trim().is_empty();
        self.pages.push(PageSpan {
            page,
            range: start..self.text_bytes,
        });
        Ok(())
    }

    /// Whether the text so far is only white space.
    pub fn is_blank(&self) -> bool {
        self.is_blank
    }

    /// Writes the head, which makes the text readable; `parser` is the fingerprint of the parser.
    pub async fn finish(
        mut self,
        parser: &str,
        media_type: String,
        outline: DocumentOutline,
    ) -> Result<StoredText<'a>, TextError> {
        self.end_frame().await?;
        let head = TextHead {
            parser: parser.to_owned(),
            media_type,
            outline,
            pages: self.pages,
            frames: self.frames,
        };
        let bytes = serde_json::to_vec(&head).expect("a struct of text and numbers serialises");
        let length = u32::try_from(bytes.len()).map_err(|_| TextError::Damaged(self.key.clone()))?;
        self.blob.write(&bytes).await?;
        self.blob.write(&length.to_le_bytes()).await?;
        self.blob.write(MAGIC).await?;
        self.blob.finish().await?;
        Ok(StoredText {
            blobs: self.blobs,
            key: self.key,
            head,
            end: TextTail::default(),
        })
    }

    /// Removes everything that was written.
    pub async fn abort(self) {
        self.blob.abort().await;
    }

    async fn end_frame(&mut self) -> Result<(), TextError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let packed = self
            .compressor
            .compress(&self.frame)
            .map_err(|_| TextError::Damaged(self.key.clone()))?;
        let start = self.frames.last().map_or(0, |frame| frame.stored.end);
        self.blob.write(&packed).await?;
        self.frames.push(TextFrame {
            text: self.text_bytes - self.frame.len()..self.text_bytes,
            stored: start..start + packed.len() as u64,
        });
        self.frame.clear();
        Ok(())
    }
}
