//! A chunk that answers a question, as search, ask and prompts see it.

use serde::{Deserialize, Serialize};

use crate::document::{Chunk, SourceUrl, TextRange};
use crate::id::{CollectionName, Generation, PointId};

/// Where each leg put a passage, from 1; none where it is not among the leg's candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PassageRanks {
    /// By cosine.
    pub dense: Option<u32>,
    /// By words.
    pub lexical: Option<u32>,
}

/// A sentence of a passage with its score against the question.
#[derive(Debug, Clone, PartialEq)]
pub struct PassageSentence {
    /// Where in the passage's text, in bytes.
    pub range: TextRange,
    /// Higher fits better; comparable within one search only.
    pub score: f64,
}

/// A chunk with what a reader of an answer needs to know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// The chunk.
    pub chunk: Chunk,
    /// The point it was read from.
    pub point: PointId,
    /// The generation it belongs to.
    pub generation: Generation,
    /// The collection of its document.
    pub collection: CollectionName,
    /// The document's title.
    pub title: String,
    /// The document's URI.
    pub uri: String,
    /// Where a person can open the document.
    pub source_url: Option<SourceUrl>,
    /// The final score; comparable within one search only.
    pub score: f64,
    /// Where each leg put it.
    pub ranks: PassageRanks,
    /// Its sentences, best first; empty unless the search asked for them.
    pub sentences: Vec<PassageSentence>,
}
