//! A library in one file: what `export` writes and `import` reads.
//!
//! A tar archive without compression, so that any tool can look into it:
//!
//! | entry | holds |
//! |---|---|
//! | `ragstone.json` | format, version, and which embedder and lexical encoder made the vectors; the first entry |
//! | `documents/N/original`, `…/text` | the bytes as they were sent, and the stored text as a blob store object |
//! | `documents/N/chunks/K.jsonl` | one line per chunk; vectors as base64 of little-endian numbers |
//! | `documents/N/document.json` | readers, metadata, statistics, the entries above with SHA-256; ends the document |
//! | `sources.jsonl`, `settings.json`, `questions.jsonl` | the other exported data |
//! | `index.jsonl` | one line per document that counts; of a document written twice only the last copy counts |
//! | `end.json` | totals, and the SHA-256 of everything before it |
//!
//! Invariant: an archive is read to its end and verified before any of it is used; a truncated or changed one is
//! refused with the byte offset. No key and no secret is ever written to one.

mod line;
mod part;
mod read;
mod tar;
#[cfg(test)]
mod tests;
mod walk;
mod write;

use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::index::IndexSpec;
use ragstone_core::seam::portable::ExportedVersion;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use line::{decode_line, encode_line};
pub use read::{ArchiveReader, ArchivedDocument};
pub use write::{ArchiveWriter, DocumentWriter};

/// Value of `format` in every archive header.
const FORMAT: &str = "ragstone-archive";
/// Newest layout that is read; raised when an older program could not read the new one.
const VERSION: u32 = 1;
const HEADER: &str = "ragstone.json";
const SOURCES: &str = "sources.jsonl";
const SETTINGS: &str = "settings.json";
const QUESTIONS: &str = "questions.jsonl";
const INDEX: &str = "index.jsonl";
const END: &str = "end.json";
const ORIGINAL: &str = "original";
const TEXT: &str = "text";
const DOCUMENT: &str = "document.json";
/// Largest entry, in bytes, that is read into memory at once: a document's record, or the questions.
const MAX_IN_MEMORY: u64 = 256 << 20;

/// First entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveHeader {
    /// Always the constant `FORMAT`.
    format: String,
    /// Version of the layout.
    version: u32,
    /// Name and version of the program that wrote it.
    pub written_by: String,
    /// Embedder and lexical encoder that made vectors and weights; `None` if the library had no active spec.
    pub spec: Option<IndexSpec>,
}

impl ArchiveHeader {
    /// A header in this program's layout.
    pub fn new(written_by: impl Into<String>, spec: Option<IndexSpec>) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            written_by: written_by.into(),
            spec,
        }
    }
}

/// Identifies a state of a document, to detect that it changed after it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionStamp {
    /// Id of the document.
    pub id: DocumentId,
    /// Generation that was published then.
    pub generation: Generation,
    /// Revision of its readers.
    pub acl_revision: u64,
    /// Time of its last change.
    pub updated_at: OffsetDateTime,
}

impl VersionStamp {
    /// Stamp of an exported version.
    pub fn from_version(packed: &ExportedVersion) -> Self {
        Self {
            id: packed.id,
            generation: packed.generation,
            acl_revision: packed.acl_revision,
            updated_at: packed.updated_at,
        }
    }
}

/// An entry of the archive, as the record of its document lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EntryRecord {
    name: String,
    /// Offset of its first byte in the file.
    offset: u64,
    size: u64,
    sha256: String,
}

/// A document with its entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DocumentRecord {
    document: ExportedVersion,
    entries: Vec<EntryRecord>,
}

/// Line of `index.jsonl`: a document that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IndexRecord {
    number: u64,
    id: DocumentId,
    chunks: u32,
    record: EntryRecord,
}

/// Contents of the entry `end.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EndRecord {
    documents: u64,
    chunks: u64,
    /// Bytes before this entry.
    bytes: u64,
    /// SHA-256 of those bytes, in hexadecimal.
    sha256: String,
}

/// Totals of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveTotals {
    /// Number of documents that count.
    pub documents: u64,
    /// Number of their chunks.
    pub chunks: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Why an archive was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// Path of the archive file.
        path: String,
        /// Error from the operating system.
        error: std::io::Error,
    },
    /// The file ends before its last entry.
    #[error("the archive is cut off at byte {at}, in {within}; hint: copy or export it again")]
    Truncated {
        /// Offset in bytes at which it ends.
        at: u64,
        /// Name of the incomplete entry.
        within: String,
    },
    /// The contents differ from what was written.
    #[error("the archive was changed: {what}, at byte {at}; hint: copy or export it again")]
    Changed {
        /// What does not match.
        what: String,
        /// Offset in bytes of the difference.
        at: u64,
    },
    /// The file is no archive, or one of a later program.
    #[error("{0}")]
    Unusable(String),
}
