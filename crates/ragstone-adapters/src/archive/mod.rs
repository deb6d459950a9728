//! A library in one file: what `export` writes and `import` reads.
//!
//! A tar archive without compression, so that any tool can look into it:
//!
//! | entry | holds |
//! |---|---|
//! | `ragstone.json` | format, version, and which embedder and lexical side made the vectors; stands first |
//! | `documents/N/original`, `…/text` | the bytes as they were sent, and the stored text as an object of the blob store |
//! | `documents/N/chunks/K.jsonl` | a line a chunk; vectors as base64 of little-endian numbers |
//! | `documents/N/document.json` | readers, metadata, statistics, and the entries above with their SHA-256; ends the document |
//! | `sources.jsonl`, `settings.json`, `questions.jsonl` | what else moves |
//! | `index.jsonl` | a line a document that counts; one that changed meanwhile stands in the file twice and counts once |
//! | `end.json` | how much there is, and the SHA-256 of everything before it |
//!
//! Invariant: an archive is read to its end and compared before anything of it is believed; what is cut off or changed is
//! refused with the place. No key and no secret ever stands in one.

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

/// What stands first in every archive.
const FORMAT: &str = "ragstone-archive";
/// The newest layout, which is read; it changes when an older program could not read the newer one.
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
/// Largest entry that is read into memory at once: a document's record, or its questions.
const MAX_IN_MEMORY: u64 = 256 << 20;

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveHeader {
    /// Always the same word.
    format: String,
    /// The layout.
    version: u32,
    /// Which program wrote it.
    pub written_by: String,
    /// What made vectors and weights; none where the library had no active spec.
    pub spec: Option<IndexSpec>,
}

impl ArchiveHeader {
    /// A header of this program's layout.
    pub fn new(written_by: impl Into<String>, spec: Option<IndexSpec>) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            written_by: written_by.into(),
            spec,
        }
    }
}

/// By what a document is known to be still as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionStamp {
    /// The document.
    pub id: DocumentId,
    /// Its published generation.
    pub generation: Generation,
    /// The revision of its readers.
    pub acl_revision: u64,
    /// When it was changed last.
    pub updated_at: OffsetDateTime,
}

impl VersionStamp {
    /// The mark of a packed document.
    pub fn from_version(packed: &ExportedVersion) -> Self {
        Self {
            id: packed.id,
            generation: packed.generation,
            acl_revision: packed.acl_revision,
            updated_at: packed.updated_at,
        }
    }
}

/// An entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EntryRecord {
    name: String,
    /// Where its bytes begin.
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

/// A document that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IndexRecord {
    number: u64,
    id: DocumentId,
    chunks: u32,
    record: EntryRecord,
}

/// How much there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EndRecord {
    documents: u64,
    chunks: u64,
    /// Bytes before this entry.
    bytes: u64,
    /// Of those bytes.
    sha256: String,
}

/// How much an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveTotals {
    /// Documents that count.
    pub documents: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

/// Why an archive was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It ends before its end.
    #[error("the archive is cut off at byte {at}, in {within}; hint: copy or export it again")]
    Truncated {
        /// Where.
        at: u64,
        /// In which entry.
        within: String,
    },
    /// It is not what was written.
    #[error("the archive was changed: {what}, at byte {at}; hint: copy or export it again")]
    Changed {
        /// What does not fit.
        what: String,
        /// Where.
        at: u64,
    },
    /// It is none, or one of a later program.
    #[error("{0}")]
    Unusable(String),
}
