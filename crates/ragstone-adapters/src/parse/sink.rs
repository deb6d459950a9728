//! Receivers of parsed text: page by page, normalised, counted against the limit.
//!
//! Invariant: the byte ranges that a parser reports are those of the text as it was written here.

use async_trait::async_trait;
pub use ragstone_core::document::DocumentOutline;
use ragstone_core::document::{AttachedFile, PageSpan, ParsedDocument};
use ragstone_core::seam::parser::{PageReceiver, ReceiverClosedError};

use super::error::ParseProblem;

/// Receives a document's text, page by page.
pub trait PageSink {
    /// Receives the whole text of one page (`None` if the format has no pages).
    fn write_page(&mut self, page: Option<u32>, text: &str) -> Result<(), ParseProblem>;

    /// Receives a file contained in the document, after its pages; ignored by default.
    fn write_attachment(&mut self, _file: &AttachedFile, _bytes: &[u8]) -> Result<(), ParseProblem> {
        Ok(())
    }
}

/// Collects a document in memory, up to a limit on its text.
#[derive(Debug, Default)]
pub struct DocumentCollector {
    text: String,
    pages: Vec<PageSpan>,
    limit: u64,
}

impl DocumentCollector {
    /// Creates a collector that refuses text beyond `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Returns the document, once its outline is known.
    pub fn finish(self, media_type: &str, outline: DocumentOutline) -> ParsedDocument {
        let DocumentOutline {
            title,
            sections,
            warnings,
            attachments,
        } = outline;
        ParsedDocument {
            title,
            media_type: media_type.to_owned(),
            text: self.text,
            pages: self.pages,
            sections,
            warnings,
            attachments,
        }
    }
}

impl PageSink for DocumentCollector {
    fn write_page(&mut self, page: Option<u32>, text: &str) -> Result<(), ParseProblem> {
        let start = self.text.len();
        if (start + text.len()) as u64 > self.limit {
            return Err(ParseProblem::TooMuchText { limit: self.limit });
        }
        self.text.push_str(text);
        self.pages.push(PageSpan {
            page,
            range: start..self.text.len(),
        });
        Ok(())
    }
}

#[async_trait]
impl PageReceiver for DocumentCollector {
    async fn receive_page(&mut self, page: Option<u32>, text: &str) -> Result<(), ReceiverClosedError> {
        PageSink::write_page(self, page, text).map_err(|_| ReceiverClosedError)
    }
}
