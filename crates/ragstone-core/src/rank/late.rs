//! Late interaction: every wordpiece of the question takes its best match among the wordpieces of a text (MS), and the
//! head of a fused list is re-ordered by S = F + g MS.

use super::bm25::idf;
use super::fusion::{RankedHit, compare_hits};
use super::stop_words::is_stop_word;

/// Weight of g MS in S.
pub const LATE_WEIGHT: f64 = 1.0;
/// Number of best hits by F that late interaction re-orders.
pub const TOP_LATE: usize = 30;
/// Added to a norm, so that a zero row stays zero.
const LEAST_NORM: f32 = 1e-9;
/// Least sum that token weights are divided by.
const LEAST_WEIGHT_SUM: f64 = 1e-9;

/// Unit vectors of wordpieces, one row each: the encoder's last hidden states without `[CLS]` and `[SEP]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenVectors {
    dimensions: usize,
    values: Vec<f32>,
}

impl TokenVectors {
    /// Divides each row of `dimensions` values by its Euclidean norm.
    ///
    /// # Panics
    /// If `dimensions` is 0 or the values do not fill whole rows.
    pub fn normalized(dimensions: usize, mut values: Vec<f32>) -> TokenVectors {
        assert!(
            values.len().is_multiple_of(dimensions),
            "{} values in rows of {dimensions}",
            values.len()
        );
        for row in values.chunks_exact_mut(dimensions) {
            let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt() + LEAST_NORM;
            row.iter_mut().for_each(|value| *value /= norm);
        }
        TokenVectors { dimensions, values }
    }

    /// Number of values in a row.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The vectors in the order of their wordpieces in the text.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dimensions)
    }

    /// Number of wordpieces, that is of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// Whether there is no wordpiece.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..(index + 1) * self.dimensions]
    }
}

/// MS in [-1, 1]: Σ over the question's pieces of weight times best cosine with any of the document's `rows`. 0 if
/// either side has none.
pub fn maxsim(
    query: &TokenVectors,
    weights: &[f64],
    document: &TokenVectors,
    rows: impl Iterator<Item = usize> + Clone,
) -> f64 {
    if rows.clone().next().is_none() {
        return 0.0;
    }
    let best = |piece: &[f32]| {
        rows.clone()
            .map(|row| dot_product(piece, document.row(row)))
            .fold(f32::MIN, f32::max)
    };
    query
        .rows()
        .zip(weights)
        .map(|(piece, weight)| weight * f64::from(best(piece)))
        .sum()
}

fn dot_product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Weights of the question's pieces: their idf over the library's chunks divided by the sum. `df` counts the chunks
/// that contain an id, with special tokens and truncation as the encoder applies them.
pub fn piece_weights(ids: &[u32], documents: u64, df: impl Fn(u32) -> u64) -> Vec<f64> {
    let idfs: Vec<f64> = ids.iter().map(|&id| idf(df(id).min(documents), documents)).collect();
    token_weights(&idfs)
}

/// Each idf of the question's pieces divided by their sum.
pub fn token_weights(idfs: &[f64]) -> Vec<f64> {
    let sum = idfs.iter().sum::<f64>().max(LEAST_WEIGHT_SUM);
    idfs.iter().map(|idf| idf / sum).collect()
}

/// The distinct ids of one text, ascending: those whose df it raises by one.
pub fn distinct_pieces(ids: &[u32]) -> Vec<u32> {
    let mut distinct = ids.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

/// Whether a document's wordpiece is worth storing: neither punctuation nor a stop word by itself. A continuation
/// (`##the`) does not count as a stop word.
pub fn keep_piece(piece: &str) -> bool {
    !is_stop_word(piece.as_bytes()) && piece.chars().any(char::is_alphanumeric)
}

/// Re-orders the first [`TOP_LATE`] hits of a list fused by F by their S; the rest keeps its order and its F, which is
/// on another scale. `maxsim_of` gives MS (0 for a text without stored vectors) and is not called if the gate is 0.
pub fn late_interaction<Id: Ord>(
    mut fused: Vec<RankedHit<Id>>,
    gate: f64,
    mut maxsim_of: impl FnMut(&Id) -> f64,
) -> Vec<RankedHit<Id>> {
    if gate > 0.0 {
        let head = fused.len().min(TOP_LATE);
        for hit in &mut fused[..head] {
            hit.score += LATE_WEIGHT * gate * maxsim_of(&hit.id);
        }
        fused[..head].sort_by(compare_hits);
    }
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_of_the_question_takes_its_best_match() {
        let query = TokenVectors::normalized(2, vec![2.0, 0.0, 0.0, 3.0]);
        let document = TokenVectors::normalized(2, vec![4.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        let weights = token_weights(&[3.0, 1.0]);
        assert!((maxsim(&query, &weights, &document, 0..3) - (0.75 + 0.25 * 0.8)).abs() < 1e-6);
        assert!((maxsim(&query, &weights, &document, 1..2) - (0.75 * 0.6 + 0.25 * 0.8)).abs() < 1e-6);
        assert_eq!(maxsim(&query, &weights, &document, 0..0), 0.0);
        assert_eq!(maxsim(&TokenVectors::normalized(2, vec![]), &[], &document, 0..3), 0.0);
    }

    #[test]
    fn weights_are_shares_of_idf() {
        let weights = piece_weights(&[5, 6], 10, |id| if id == 5 { 1 } else { 99 });
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12 && weights[0] > weights[1] && weights[1] > 0.0);
        assert!(piece_weights(&[], 10, |_| 0).is_empty());
        assert_eq!(distinct_pieces(&[9, 3, 9]), [3, 9]);
    }

    #[test]
    fn punctuation_and_stop_words_are_not_kept() {
        for (piece, kept) in [
            ("the", false),
            ("##the", true),
            ("—", false),
            ("é", true),
            ("[UNK]", true),
            ("##.", false),
        ] {
            assert_eq!(keep_piece(piece), kept, "{piece}");
        }
    }

    #[test]
    fn only_the_head_is_reordered() {
        let fused: Vec<_> = (0..40_u32)
            .map(|id| RankedHit {
                id,
                score: 1.0 - f64::from(id) / 100.0,
            })
            .collect();
        let reordered = late_interaction(fused.clone(), 0.5, |&id| f64::from(id) / 10.0);
        let ids: Vec<u32> = reordered.iter().map(|hit| hit.id).collect();
        assert_eq!(ids, (0..30).rev().chain(30..40).collect::<Vec<_>>());
        assert!((reordered[0].score - (0.71 + 1.45)).abs() < 1e-12);
        assert_eq!(late_interaction(fused.clone(), 0.0, |_| unreachable!()), fused);
    }
}
