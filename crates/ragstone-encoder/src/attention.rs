//! Self-attention within one text, head by head, in register tiles: keys and values are packed as panels, and scores
//! stay in the first-level cache.

use super::activation::exp2;
use super::aligned::AlignedBuffer;
use super::matrix::{MatrixElement, RegisterTile, multiply_tile, split_into_tiles};
use super::simd::{MOST_TILE_ROWS, PADDING, Simd, SimdKernel, SimdLevel};

/// Number and size of attention heads.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionHeads {
    /// Number of attention heads.
    pub count: usize,
    /// Dimensions of each head, a multiple of 32.
    pub size: usize,
}

impl AttentionHeads {
    /// Factor that is multiplied into the query weights: 1/√size for attention, log₂e so that softmax can use powers of
    /// two.
    pub fn query_scale(self) -> f32 {
        std::f32::consts::LOG2_E / (self.size as f32).sqrt()
    }
}

/// Buffers of one thread, reused for every text.
#[derive(Debug, Default)]
pub(super) struct AttentionBuffers {
    keys: AlignedBuffer<f32>,
    values: AlignedBuffer<f32>,
    scores: AlignedBuffer<f32>,
}

/// Queries, keys and values of one text, side by side in rows of `stride` floats; each part is `stride / 3` wide.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProjectedRows<'a> {
    /// The rows, one per token.
    pub rows: &'a [f32],
    /// Number of floats per row.
    pub stride: usize,
}

/// Writes the output, `stride / 3` per token, to `out`. Queries must be scaled by [`AttentionHeads::query_scale`].
pub(super) fn compute_attention<E: MatrixElement>(
    level: SimdLevel,
    heads: AttentionHeads,
    projected: ProjectedRows<'_>,
    workspace: &mut AttentionBuffers,
    out: &mut [E],
) {
    let tokens = projected.rows.len() / projected.stride;
    let keys = tokens.next_multiple_of(PADDING);
    workspace.keys.set_length(keys * heads.size);
    workspace.values.set_length(tokens * heads.size);
    workspace.scores.set_length(keys * MOST_TILE_ROWS);
    assert!(heads.size.is_multiple_of(PADDING) && heads.size * heads.count <= projected.stride / 3);
    assert_eq!(out.len(), tokens * projected.stride / 3, "one output row a token");
    level.run_kernel(AttentionKernel {
        heads,
        projected,
        tokens,
        workspace,
        out,
    });
}

struct AttentionKernel<'a, E> {
    heads: AttentionHeads,
    projected: ProjectedRows<'a>,
    tokens: usize,
    workspace: &'a mut AttentionBuffers,
    out: &'a mut [E],
}

impl<E: MatrixElement> SimdKernel for AttentionKernel<'_, E> {
    #[inline(always)]
    fn run_with<S: Simd>(mut self, simd: S) {
        for head in 0..self.heads.count {
            self.pack_head(simd, head);
            for (first, rows) in split_into_tiles(self.tokens, S::TILE_ROWS) {
                self.compute_scores(simd, head, first, rows);
                let mut shares = [0.0; MOST_TILE_ROWS];
                let width = self.padded_tokens();
                for (scores, share) in self
                    .workspace
                    .scores
                    .chunks_exact_mut(width)
                    .zip(&mut shares)
                    .take(rows)
                {
                    *share = 1.0 / softmax(simd, scores, self.tokens);
                }
                self.mix_values(simd, head, first, rows, &shares);
            }
        }
    }
}

impl<E: MatrixElement> AttentionKernel<'_, E> {
    #[inline(always)]
    fn padded_tokens(&self) -> usize {
        self.tokens.next_multiple_of(PADDING)
    }

    /// Packs keys into panels of columns (transposed) and values into panels of rows.
    #[inline(always)]
    fn pack_head<S: Simd>(&mut self, _simd: S, head: usize) {
        let (columns, size, part) = (2 * S::LANES, self.heads.size, self.projected.stride / 3);
        for (token, row) in self.projected.rows.chunks_exact(self.projected.stride).enumerate() {
            let key = &row[part + head * size..][..size];
            let panel = &mut self.workspace.keys[token / columns * columns * size + token % columns..];
            for (slot, value) in panel.iter_mut().step_by(columns).zip(key) {
                *slot = *value;
            }
            let value = &row[2 * part + head * size..][..size];
            for (panel, values) in value.chunks_exact(columns).enumerate() {
                let at = (panel * self.tokens + token) * columns;
                self.workspace.values[at..at + columns].copy_from_slice(values);
            }
        }
    }

    /// Computes the scores of `rows` queries with every key.
    #[inline(always)]
    fn compute_scores<S: Simd>(&mut self, simd: S, head: usize, first: usize, rows: usize) {
        let (columns, size, width) = (2 * S::LANES, self.heads.size, self.padded_tokens());
        let mut tile = RegisterTile::new();
        let queries = &self.projected.rows[first * self.projected.stride + head * size..];
        for (index, panel) in self
            .workspace
            .keys
            .chunks_exact(columns * size)
            .take(width / columns)
            .enumerate()
        {
            // SAFETY: the text has `first + rows` rows of queries; a panel holds `size * columns` floats.
            unsafe {
                let a = (queries.as_ptr(), self.projected.stride);
                multiply_tile(simd, a, panel.as_ptr(), size, (tile.as_mut_ptr(), true), rows);
            }
            for (scores, values) in self
                .workspace
                .scores
                .chunks_exact_mut(width)
                .zip(tile.rows())
                .take(rows)
            {
                scores[index * columns..][..columns].copy_from_slice(&values[..columns]);
            }
        }
    }

    /// Writes the values, weighted by the scores of `rows` queries and scaled by `shares`.
    #[inline(always)]
    fn mix_values<S: Simd>(&mut self, simd: S, head: usize, first: usize, rows: usize, shares: &[f32; MOST_TILE_ROWS]) {
        let (columns, size, part) = (2 * S::LANES, self.heads.size, self.projected.stride / 3);
        let mut tile = RegisterTile::new();
        for (index, panel) in self.workspace.values.chunks_exact(columns * self.tokens).enumerate() {
            // SAFETY: `scores` has `rows` rows of at least `tokens` floats; a panel has a row for each token; `out`
            // has a row of `part` elements for each token, and the head's columns lie inside it.
            unsafe {
                let a = (self.workspace.scores.as_ptr(), self.padded_tokens());
                multiply_tile(simd, a, panel.as_ptr(), self.tokens, (tile.as_mut_ptr(), true), rows);
                for (row, (values, share)) in tile.rows().iter().zip(shares).take(rows).enumerate() {
                    for half in [0, S::LANES] {
                        let value = simd.mul(simd.load_floats(values.as_ptr().add(half)), simd.splat(*share));
                        let at = (first + row) * part + head * size + index * columns + half;
                        E::store_elements(simd, self.out.as_mut_ptr().add(at), value);
                    }
                }
            }
        }
    }
}

/// Replaces scores by powers of two relative to the greatest and returns their sum. Scores from `tokens` on are
/// padding.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32], tokens: usize) -> f32 {
    scores[tokens..].fill(f32::NEG_INFINITY);
    let mut most = simd.splat(f32::NEG_INFINITY);
    for part in scores.chunks_exact(S::LANES) {
        // SAFETY: a chunk has `LANES` values.
        most = simd.max(most, unsafe { simd.load_floats(part.as_ptr()) });
    }
    let most = simd.splat(simd.max_lane(most));
    let mut sum = simd.splat(0.0);
    for part in scores.chunks_exact_mut(S::LANES) {
        // SAFETY: a chunk has `LANES` values.
        unsafe {
            let power = exp2(simd, simd.sub(simd.load_floats(part.as_ptr()), most));
            simd.store_floats(part.as_mut_ptr(), power);
            sum = simd.add(sum, power);
        }
    }
    simd.sum_lanes(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Noise, assert_close};

    /// Softmax of scaled products, written as in the textbook.
    fn reference(heads: AttentionHeads, rows: &[f32], tokens: usize) -> Vec<f32> {
        let part = heads.count * heads.size;
        let at = |token: usize, which: usize, head: usize| {
            &rows[token * 3 * part + which * part + head * heads.size..][..heads.size]
        };
        let mut out = vec![0.0; tokens * part];
        for head in 0..heads.count {
            for token in 0..tokens {
                let dot = |other| {
                    at(token, 0, head)
                        .iter()
                        .zip(at(other, 1, head))
                        .map(|(a, b)| a * b)
                        .sum::<f32>()
                };
                let powers: Vec<f32> = (0..tokens).map(|other| dot(other).exp2()).collect();
                let sum: f32 = powers.iter().sum();
                for (other, power) in powers.iter().enumerate() {
                    let slot = &mut out[token * part + head * heads.size..][..heads.size];
                    slot.iter_mut()
                        .zip(at(other, 2, head))
                        .for_each(|(to, from)| *to += power / sum * from);
                }
            }
        }
        out
    }

    #[test]
    fn every_level_attends_as_the_textbook_does() {
        for (tokens, count, size) in [(1, 2, 32), (13, 3, 32), (32, 1, 64), (45, 2, 64)] {
            let heads = AttentionHeads { count, size };
            let rows = Noise::new(tokens as u64).take(tokens * 3 * count * size);
            let expected = reference(heads, &rows, tokens);
            for level in SimdLevel::available_levels() {
                let mut out = vec![0.0_f32; tokens * count * size];
                let projected = ProjectedRows {
                    rows: &rows,
                    stride: 3 * count * size,
                };
                let mut workspace = AttentionBuffers::default();
                compute_attention(level, heads, projected, &mut workspace, &mut out);
                assert_close(&out, &expected, 2e-5, &format!("{level:?}, {tokens} tokens"));
            }
        }
    }
}
