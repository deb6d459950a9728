//! Which chunks of a version its embedder could not embed, or not whole, as warnings of its document.

use std::collections::BTreeSet;

use super::embedding::ChunkEmbedding;
use crate::document::ParseWarning;

/// Most pages that one warning names.
const MAX_PAGES: usize = 100;

/// Code of the warning that chunks have no vector.
pub(super) const WITHOUT_VECTORS: &str = "chunks_without_vectors";
/// Code of the warning that the vectors of chunks stand for their beginnings.
pub(super) const PARTIAL_VECTORS: &str = "chunks_embedded_in_part";

/// How a chunk's vector stands to its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VectorCoverage {
    /// It is the whole text's, or the version has none by its settings.
    Whole,
    /// It is the beginning's.
    Beginning,
    /// There is none, and why.
    None(String),
}

impl VectorCoverage {
    pub fn from_embedding(embedding: &ChunkEmbedding) -> Self {
        match embedding {
            ChunkEmbedding::Whole(_) => Self::Whole,
            ChunkEmbedding::Beginning(_) => Self::Beginning,
            ChunkEmbedding::None(why) => Self::None(why.clone()),
        }
    }
}

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct VectorReport {
    chunks: u64,
    without: ChunkGroup,
    cut: ChunkGroup,
    /// Why the first one without a vector has none.
    why: Option<String>,
}

#[derive(Debug, Default)]
struct ChunkGroup {
    chunks: u64,
    pages: BTreeSet<u32>,
}

impl VectorReport {
    /// Adds a chunk.
    pub fn add_chunk(&mut self, page: Option<u32>, vector: VectorCoverage) {
        self.chunks += 1;
        let group = match vector {
            VectorCoverage::Whole => return,
            VectorCoverage::Beginning => &mut self.cut,
            VectorCoverage::None(why) => {
                self.why.get_or_insert(why);
                &mut self.without
            }
        };
        group.chunks += 1;
        if group.pages.len() < MAX_PAGES {
            group.pages.extend(page);
        }
    }

    /// What the document's readers should know.
    pub fn into_warnings(self) -> Vec<ParseWarning> {
        let chunks = self.chunks;
        let why = self.why.unwrap_or_default();
        let without = |n| format!("{n} of {chunks} chunks have no vector and are found by their words alone: {why}");
        let cut = |n| format!("the embedding model takes only the beginning of {n} of {chunks} chunks");
        let warning = |code: &str, detail: String, group: ChunkGroup| ParseWarning {
            code: code.to_owned(),
            detail,
            pages: group.pages.into_iter().collect(),
        };
        let mut warnings = Vec::new();
        if self.without.chunks > 0 {
            warnings.push(warning(WITHOUT_VECTORS, without(self.without.chunks), self.without));
        }
        if self.cut.chunks > 0 {
            warnings.push(warning(PARTIAL_VECTORS, cut(self.cut.chunks), self.cut));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_warned_of_by_kind_with_its_pages() {
        let mut report = VectorReport::default();
        let none = |why: &str| VectorCoverage::None(why.to_owned());
        for (page, vector) in [
            (1, VectorCoverage::Whole),
            (2, none("500: not a number")),
            (2, none("other")),
            (3, VectorCoverage::Beginning),
        ] {
            report.add_chunk(Some(page), vector);
        }
        let told: Vec<(String, String, Vec<u32>)> = report
            .into_warnings()
            .into_iter()
            .map(|warning| (warning.code, warning.detail, warning.pages))
            .collect();
        let expected = [
            (
                WITHOUT_VECTORS,
                "2 of 4 chunks have no vector and are found by their words alone: 500: not a number",
                vec![2],
            ),
            (
                PARTIAL_VECTORS,
                "the embedding model takes only the beginning of 1 of 4 chunks",
                vec![3],
            ),
        ];
        assert_eq!(
            told,
            expected.map(|(code, detail, pages)| (code.to_owned(), detail.to_owned(), pages))
        );
    }

    #[test]
    fn a_document_with_all_its_vectors_is_not_warned_of() {
        let mut report = VectorReport::default();
        report.add_chunk(None, VectorCoverage::Whole);
        assert!(report.into_warnings().is_empty());
    }
}
