//! What a parser makes of a file: text, and the map from its bytes back to pages and sections.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The part of a document's text that stands on one page.
///
/// Spans are consecutive and cover the text; every range is in UTF-8 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageSpan {
    /// Physical page, counted from 1; `None` where the format has no pages.
    pub page: Option<u32>,
    /// Bytes of the document's text.
    pub range: Range<usize>,
}

/// The part of a document's text that stands under one heading, up to the next heading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionSpan {
    /// Heading path, such as `Setup > Linux`.
    pub path: String,
    /// Bytes of the document's text, the heading included.
    pub range: Range<usize>,
}

/// Something a reader of the document should know although its text was extracted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseWarning {
    /// Stable name, such as `pages_without_text`.
    pub code: String,
    /// One sentence for people.
    pub detail: String,
    /// Pages concerned, counted from 1; empty where the format has none.
    pub pages: Vec<u32>,
}

/// A file after parsing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParsedDocument {
    /// Title the file gives itself, if it does.
    pub title: Option<String>,
    /// What name and bytes say the file is, not what its sender declared.
    pub media_type: String,
    /// The extracted text; every range in this crate points into it.
    pub text: String,
    /// Consecutive spans that cover `text`.
    pub pages: Vec<PageSpan>,
    /// Headings with what stands under them, in order of their start, not overlapping.
    pub sections: Vec<SectionSpan>,
    /// What went less than well.
    pub warnings: Vec<ParseWarning>,
}
