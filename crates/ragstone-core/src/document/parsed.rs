//! What a parser makes of a file: its text with pages and sections, warnings, and the files in it.

use serde::{Deserialize, Serialize};

use super::TextRange;

/// What a parser made of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ParsedDocument {
    /// The title the file gives itself.
    pub title: Option<String>,
    /// The media type that name and bytes showed.
    pub media_type: String,
    /// The whole text.
    pub text: String,
    /// Consecutive spans that cover the text; one without a number where the format has no pages.
    pub pages: Vec<PageSpan>,
    /// Headings in order of their start; a section reaches to the start of the next.
    pub sections: Vec<SectionSpan>,
    /// What the reader of a result should know.
    pub warnings: Vec<ParseWarning>,
    /// Files that came in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachedFile>,
}

/// What a parser knows of a document only once all of its text is out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentOutline {
    /// Title the file gives itself.
    pub title: Option<String>,
    /// Headings in order of their start; a section reaches to the start of the next.
    pub sections: Vec<SectionSpan>,
    /// What the reader of a result should know.
    pub warnings: Vec<ParseWarning>,
    /// Files that came in it and are documents of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachedFile>,
}

/// A file in a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedFile {
    /// Counts what is attached to the mail, from 1.
    pub number: u32,
    /// Its file name.
    pub name: String,
    /// The media type that the mail gives it; a hint.
    pub media_type: Option<String>,
    /// How many bytes it has.
    pub bytes: u64,
}

/// Where a page's text stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageSpan {
    /// The physical page, from 1; none where the format has no pages.
    pub page: Option<u32>,
    /// Its text.
    pub range: TextRange,
}

/// Where a section's text stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionSpan {
    /// The heading path, such as `Setup > Linux`.
    pub path: String,
    /// From its heading to the next heading.
    pub range: TextRange,
}

/// Something about a file that its reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseWarning {
    /// A stable word, such as `pages_without_text`.
    pub code: String,
    /// What and which.
    pub detail: String,
    /// The pages concerned.
    pub pages: Vec<u32>,
}
