//! What a parser makes of a file: one text, and where its pages and sections lie in it.
//!
//! Invariant: every range is in bytes of [`ParsedDocument::text`] and starts and ends on character boundaries.

use std::ops::Range;

/// The formats that are told apart after parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// Pages with text.
    Pdf,
    /// Markdown as it stands.
    Markdown,
    /// A web page; its text is Markdown once parsed.
    Html,
    /// Text without structure.
    Text,
}

/// One page of a document. Spans are consecutive and cover the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSpan {
    /// The page's number from 1, or none in formats without pages.
    pub page: Option<u32>,
    /// The page's bytes.
    pub range: Range<usize>,
}

/// One section of a document: from its heading to the next heading of any level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionSpan {
    /// The headings above and including its own, such as `Setup > Linux`.
    pub path: String,
    /// The section's bytes, heading included.
    pub range: Range<usize>,
}

/// The text of a document and its structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedDocument {
    /// The title that the document gives itself.
    pub title: Option<String>,
    /// The media type that name and bytes decided.
    pub media_type: String,
    /// The extracted text; Markdown where the format has structure.
    pub text: String,
    /// Pages in order.
    pub pages: Vec<PageSpan>,
    /// Sections in order.
    pub sections: Vec<SectionSpan>,
    /// What could not be read.
    pub warnings: Vec<ParseWarning>,
}

/// Something that a parser could not read, without failing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseWarning {
    /// A stable name, such as `no_text`.
    pub code: String,
    /// What happened, for people.
    pub detail: String,
    /// The pages concerned, from 1; empty if it concerns the whole document.
    pub pages: Vec<u32>,
}
