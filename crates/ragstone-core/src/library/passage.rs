//! A chunk that answers a question, as search, ask and prompts use it.

use serde::{Deserialize, Serialize};

use crate::document::{Chunk, SourceUrl, TextRange};
use crate::id::{CollectionName, Generation, PointId};

/// Rank of a passage in each leg, from 1; `None` if it is not among the leg's candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PassageRanks {
    /// Rank by cosine similarity.
    pub dense: Option<u32>,
    /// Rank by lexical score.
    pub lexical: Option<u32>,
}

/// A sentence of a passage with its score against the question.
#[derive(Debug, Clone, PartialEq)]
pub struct PassageSentence {
    /// Byte range in the passage's text.
    pub range: TextRange,
    /// Higher is better; comparable within one search only.
    pub score: f64,
}

/// A chunk with what a reader of an answer needs to know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// The chunk with its text.
    pub chunk: Chunk,
    /// The point of the index it was read from.
    pub point: PointId,
    /// The generation it belongs to.
    pub generation: Generation,
    /// The collection of its document.
    pub collection: CollectionName,
    /// Title of its document.
    pub title: String,
    /// URI of its document.
    pub uri: String,
    /// Where a person can open the document.
    pub source_url: Option<SourceUrl>,
    /// The final score; comparable within one search only.
    pub score: f64,
    /// Its rank in each leg.
    pub ranks: PassageRanks,
    /// Its sentences, best first; empty unless the search asked for them.
    pub sentences: Vec<PassageSentence>,
}
