//! What a version adds to the tenant's term statistics.

use std::collections::HashMap;

use crate::rank::bm25::{SparseVector, TermId};
use crate::rank::late::distinct_pieces;
use crate::seam::catalogue::StatisticsDelta;

/// Counts in how many chunks each term and wordpiece stands. Pairs count as df 1 and are not counted.
#[derive(Default)]
pub(super) struct TermCounter {
    chunks: u64,
    terms: HashMap<TermId, u32>,
    pieces: HashMap<u32, u32>,
}

impl TermCounter {
    /// Adds a chunk.
    pub fn add_chunk(&mut self, lexical: &SparseVector, piece_ids: &[u32]) {
        self.chunks += 1;
        for (term, _) in &lexical.unigrams {
            *self.terms.entry(*term).or_default() += 1;
        }
        for piece in distinct_pieces(piece_ids) {
            *self.pieces.entry(piece).or_default() += 1;
        }
    }

    /// The counts in order of id.
    pub fn into_delta(self) -> StatisticsDelta {
        let (mut terms, mut pieces): (Vec<_>, Vec<_>) =
            (self.terms.into_iter().collect(), self.pieces.into_iter().collect());
        terms.sort_unstable();
        pieces.sort_unstable();
        StatisticsDelta {
            chunks: self.chunks,
            terms,
            pieces,
        }
    }
}
