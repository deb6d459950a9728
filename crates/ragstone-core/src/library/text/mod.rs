//! The extracted text of a version, stored as one object: compressed frames with an index, so that it is written while
//! it is parsed, and reading one chunk does not unpack a book.
//!
//! Layout: zstd frames with checksums one after another, the head as JSON, its length (u32, little endian), magic
//! `RST2`. The head stands last because it is known last. Invariant: the bytes read for a range are the bytes that
//! were written for it, or an error.

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
/// Length of the head and magic.
const TAIL_BYTES: usize = 8;
/// Text bytes of a frame; a page longer than this takes several.
const FRAME_BYTES: usize = 64 * 1024;
/// zstd's default level: text shrinks to about a third.
const ZSTD_LEVEL: i32 = 3;
/// Bytes read at first, from the end, which usually hold the head.
const HEAD_GUESS: u64 = 16 * 1024;
/// Largest head that is believed.
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

/// The key of the blob that names the library whose store it is, where a store might be taken for another one's.
pub const OWNER_KEY: &str = "ragstone-library";

/// Where the original bytes of a generation lie.
pub fn original_key(tenant: &TenantId, document: DocumentId, generation: Generation) -> Path {
    Path::from_iter([
        tenant.as_str(),
        &document.to_string(),
        &generation.to_string(),
        "original",
    ])
}

/// Where the extracted text of a generation lies.
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

/// Where a piece of the text stands in the object.
#[derive(Debug, Serialize, Deserialize)]
struct TextFrame {
    text: Range<usize>,
    stored: Range<u64>,
}

#[cfg(test)]
mod tests;
