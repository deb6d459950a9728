//! What a parser extracts from a file: its text with pages and sections, warnings, and the files in it.

use serde::{Deserialize, Serialize};

use super::TextRange;

/// Everything that a parser extracted from a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ParsedDocument {
    /// The title that the file gives itself.
    pub title: Option<String>,
    /// The media type, detected from name and bytes.
    pub media_type: String,
    /// The extracted text of all pages.
    pub text: String,
    /// Consecutive spans that cover the text; one without a number where the format has no pages.
    pub pages: Vec<PageSpan>,
    /// Headings in order of their start; a section reaches to the start of the next.
    pub sections: Vec<SectionSpan>,
    /// What the reader of a result should know.
    pub warnings: Vec<ParseWarning>,
    /// Files contained in this one, such as the attachments of a mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachedFile>,
}

/// What a parser knows of a document only after all of its text was extracted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentOutline {
    /// The title that the file gives itself.
    pub title: Option<String>,
    /// Headings in order of their start; a section reaches to the start of the next.
    pub sections: Vec<SectionSpan>,
    /// What the reader of a result should know.
    pub warnings: Vec<ParseWarning>,
    /// Files contained in this one, which are documents of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachedFile>,
}

/// A file attached to a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedFile {
    /// Its number among the files of the mail, from 1.
    pub number: u32,
    /// File name that the mail gives it.
    pub name: String,
    /// The media type that the mail declares; only a hint.
    pub media_type: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Position of a page in the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageSpan {
    /// The physical page, from 1; `None` if the format has no pages.
    pub page: Option<u32>,
    /// Byte range of its text.
    pub range: TextRange,
}

/// Position of a section in the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionSpan {
    /// The heading path, such as `Setup > Linux`.
    pub path: String,
    /// Byte range from its heading to the next heading.
    pub range: TextRange,
}

/// Something about a file that its reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseWarning {
    /// A stable code, such as `pages_without_text`.
    pub code: String,
    /// Describes what the parser found.
    pub detail: String,
    /// Numbers of the pages concerned.
    pub pages: Vec<u32>,
}
