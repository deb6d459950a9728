//! The extracted text of a version, stored as one object: compressed frames with an index, so that it can be written
//! while the file is parsed, and reading one chunk does not decompress the whole text.
//!
//! Layout: zstd frames with checksums one after another, the head as JSON, its length (u32, little endian), magic
//! `RST2`. The head comes last because it is complete only then. Invariant: reading a range gives the bytes that were
//! written for it, or an error.

mod read;
mod write;

use std::ops::Range;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

pub use read::{StoredText, TextReader};
pub use write::TextWriter;

use crate::document::{DocumentOutline, PageSpan};
use crate::id::{DocumentId, Generation, TenantId};

const MAGIC: &[u8; 4] = b"RST2";
/// Bytes behind the head: its length and the magic.
const TAIL_BYTES: usize = 8;
/// Most text bytes of a frame; a longer page takes several.
const FRAME_BYTES: usize = 64 * 1024;
/// zstd's default level: text shrinks to about a third.
const ZSTD_LEVEL: i32 = 3;
/// Bytes of the first read, from the end of the object; they usually contain the head.
const HEAD_GUESS: u64 = 16 * 1024;
/// Largest head that is accepted; a greater length counts as damage.
const MAX_HEAD_BYTES: usize = 64 * 1024 * 1024;

/// Why stored text could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The blob store failed.
    #[error("the blob store failed: {0}")]
    Store(#[from] object_store::Error),
    /// The object is not what was written.
    #[error("stored text {0} is damaged")]
    Damaged(Path),
}

/// Key of the blob that contains the id of the library that owns the store.
pub const OWNER_KEY: &str = "ragstone-library";

/// Key of the original bytes of a generation.
pub fn original_key(tenant: &TenantId, document: DocumentId, generation: Generation) -> Path {
    Path::from_iter([
        tenant.as_str(),
        &document.to_string(),
        &generation.to_string(),
        "original",
    ])
}

/// Key of the extracted text of a generation.
pub fn text_key(tenant: &TenantId, document: DocumentId, generation: Generation) -> Path {
    Path::from_iter([tenant.as_str(), &document.to_string(), &generation.to_string(), "text"])
}

#[derive(Debug, Serialize, Deserialize)]
struct TextHead {
    parser: String,
    media_type: String,
    outline: DocumentOutline,
    pages: Vec<PageSpan>,
    frames: Vec<TextFrame>,
}

/// Position of one frame in the text and in the object, in bytes.
#[derive(Debug, Serialize, Deserialize)]
struct TextFrame {
    text: Range<usize>,
    stored: Range<u64>,
}

#[cfg(test)]
mod tests;
