//! One bit per component: a first pass over many vectors that selects those worth a second one.
//!
//! After a rotation only the sign of each component is stored, with a factor for how well the signs represent their
//! vector. The dot product with a query is then known up to an error with a nearly normal distribution (RaBitQ, Gao
//! and Long, 2024). Its standard deviation is known for each vector, and [`DEVIATIONS`] of them are allowed for.
//!
//! Invariant: an estimate is wrong by more than [`SignEstimates::doubt`] about once in a hundred thousand times. So
//! this is the only step of a search without a proof of exactness; what it lets through is scored exactly.

use super::VectorTable;
use super::rotation::VectorRotation;

/// Slots that are estimated together: one word of each, side by side.
pub const BLOCK: usize = 8;
/// Bits of a word.
const WORD: usize = u64::BITS as usize;
/// Bits per component of the query.
const PLANES: usize = 4;
/// Standard deviations that an estimate may be wrong by.
const DEVIATIONS: f32 = 4.5;

/// The same word of each vector of a block.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct BlockWords([u64; BLOCK]);

/// The sign bits of a segment's vectors.
#[derive(Debug)]
pub struct SignBits {
    rotation: VectorRotation,
    /// Block by block, each with its words in order.
    words: Vec<BlockWords>,
    /// One entry for each block.
    facts: Vec<BlockFacts>,
}

/// Values about the vectors of a block besides their signs.
#[derive(Debug, Clone, Copy)]
struct BlockFacts {
    /// Number of one bits of each vector.
    ones: [f32; BLOCK],
    /// Factor from the product of signs to the estimate.
    gain: [f32; BLOCK],
    /// Standard deviation of the estimate for a query of length 1; infinite for a slot without a vector.
    deviation: [f32; BLOCK],
}

impl BlockFacts {
    const NONE: Self = Self {
        ones: [0.0; BLOCK],
        gain: [0.0; BLOCK],
        deviation: [f32::INFINITY; BLOCK],
    };
}

/// A query as bit planes.
#[derive(Debug)]
pub struct SignQuery {
    /// For each word the planes of its components, lowest bit first.
    planes: Vec<[u64; PLANES]>,
    /// `step`: value of a one bit of the lowest plane; `least`: value of a component without any bit.
    step: f32,
    least: f32,
    /// Sum of the query's components.
    sum: f32,
    /// Length of the quantisation error of the planes.
    rest: f32,
    length: f32,
}

/// Estimates for the slots of a block.
#[derive(Debug, Default, Clone, Copy)]
pub struct SignEstimates {
    /// Estimated dot products, by slot of the block.
    pub score: [f32; BLOCK],
    /// Bound on the error of each estimate.
    pub doubt: [f32; BLOCK],
}

impl SignBits {
    /// Computes the sign bits of all vectors of `vectors`.
    pub fn from_vectors(vectors: &VectorTable) -> Self {
        let rotation = VectorRotation::new(vectors.dimensions(), WORD);
        let (slots, width) = (vectors.len(), rotation.width());
        let words = width / WORD;
        let blocks = slots.div_ceil(BLOCK);
        let mut bits = Self {
            words: vec![BlockWords([0; BLOCK]); blocks * words],
            facts: vec![BlockFacts::NONE; blocks],
            rotation,
        };
        let mut vector = Vec::with_capacity(width);
        for slot in (0..slots).filter(|slot| vectors.has_vector(*slot)) {
            vectors.restore_vector(slot, &mut vector);
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            bits.rotation.rotate_vector(&mut vector);
            bits.set_slot(slot, &vector, length);
        }
        bits
    }

    fn set_slot(&mut self, slot: usize, rotated: &[f32], length: f32) {
        let per_slot = rotated.len() / WORD;
        let (block, place) = (slot / BLOCK, slot % BLOCK);
        let facts = &mut self.facts[block];
        for (at, components) in rotated.chunks_exact(WORD).enumerate() {
            let bit = |(n, component): (usize, &f32)| u64::from(*component > 0.0) << n;
            let word = components.iter().enumerate().map(bit).fold(0, |word, bit| word | bit);
            self.words[block * per_slot + at].0[place] = word;
            facts.ones[place] += word.count_ones() as f32;
        }
        let width = rotated.len() as f32;
        let sum: f32 = rotated.iter().map(|x| x.abs()).sum();
        // Cosine between the vector and its signs.
        let likeness = sum / (width.sqrt() * length.max(f32::MIN_POSITIVE));
        if likeness > 0.0 {
            facts.gain[place] = length / (likeness * width.sqrt());
            let unlike = (1.0 - likeness * likeness).max(0.0).sqrt();
            facts.deviation[place] = length * unlike / (likeness * (width - 1.0).max(1.0).sqrt());
        }
    }

    /// Prepares a query for [`Self::estimate_block`].
    pub fn prepare_query(&self, vector: &[f32]) -> SignQuery {
        let mut rotated = vector.to_vec();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        self.rotation.rotate_vector(&mut rotated);
        let least = rotated.iter().copied().fold(f32::INFINITY, f32::min);
        let most = rotated.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let levels = ((1 << PLANES) - 1) as f32;
        let step = ((most - least) / levels).max(f32::MIN_POSITIVE);
        let mut planes = vec![[0; PLANES]; rotated.len() / WORD];
        let mut rest = 0.0;
        for (at, component) in rotated.iter().enumerate() {
            let level = ((component - least) / step).round().clamp(0.0, levels);
            rest += (component - least - level * step).powi(2);
            for (plane, bits) in planes[at / WORD].iter_mut().enumerate() {
                *bits |= (level as u64 >> plane & 1) << (at % WORD);
            }
        }
        SignQuery {
            planes,
            step,
            least,
            sum: rotated.iter().sum(),
            rest: rest.sqrt(),
            length,
        }
    }

    /// Estimates the slots of `block`, writing to `looks`.
    pub fn estimate_block(&self, block: usize, question: &SignQuery, looks: &mut SignEstimates) {
        let per_slot = question.planes.len();
        let words = &self.words[block * per_slot..(block + 1) * per_slot];
        let products = block_products(words, &question.planes);
        let BlockFacts { ones, gain, deviation } = &self.facts[block];
        for at in 0..BLOCK {
            // Signs are 1 and -1: twice the sum over the ones, minus the sum over all.
            let shared = question.least * ones[at] + question.step * products[at] as f32;
            looks.score[at] = gain[at] * (2.0 * shared - question.sum);
            let (vector, rounding) = (deviation[at] * question.length, gain[at] * question.rest);
            looks.doubt[at] = DEVIATIONS * (vector * vector + rounding * rounding).sqrt();
        }
    }
}

/// For each slot the number of shared one bits with each plane, summed with the plane's weight.
fn block_products(words: &[BlockWords], planes: &[[u64; PLANES]]) -> [u64; BLOCK] {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vpopcntdq") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { products_avx512(words, planes) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            // SAFETY: as above.
            return unsafe { products_popcnt(words, planes) };
        }
    }
    products_portable(words, planes)
}

#[inline(always)]
fn products_portable(words: &[BlockWords], planes: &[[u64; PLANES]]) -> [u64; BLOCK] {
    let mut sums = [0u64; BLOCK];
    for (words, planes) in words.iter().zip(planes) {
        for (sum, word) in sums.iter_mut().zip(words.0) {
            for (plane, bits) in planes.iter().enumerate() {
                *sum += u64::from((word & bits).count_ones()) << plane;
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn products_popcnt(words: &[BlockWords], planes: &[[u64; PLANES]]) -> [u64; BLOCK] {
    products_portable(words, planes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn products_avx512(words: &[BlockWords], planes: &[[u64; PLANES]]) -> [u64; BLOCK] {
    use std::arch::x86_64::{
        _mm512_add_epi64, _mm512_and_si512, _mm512_load_si512, _mm512_popcnt_epi64, _mm512_set1_epi64,
        _mm512_setzero_si512, _mm512_slli_epi64, _mm512_store_si512,
    };
    let mut sums = [_mm512_setzero_si512(); PLANES];
    for (words, planes) in words.iter().zip(planes) {
        // SAFETY: the words are 64 bytes, aligned to as many.
        let words = unsafe { _mm512_load_si512(words.0.as_ptr().cast()) };
        for (sum, bits) in sums.iter_mut().zip(planes) {
            let shared = _mm512_and_si512(words, _mm512_set1_epi64(*bits as i64));
            *sum = _mm512_add_epi64(*sum, _mm512_popcnt_epi64(shared));
        }
    }
    let mut total = sums[PLANES - 1];
    for sum in sums.iter().rev().skip(1) {
        total = _mm512_add_epi64(_mm512_slli_epi64::<1>(total), *sum);
    }
    let mut products = BlockWords([0; BLOCK]);
    // SAFETY: as above.
    unsafe { _mm512_store_si512(products.0.as_mut_ptr().cast(), total) };
    products.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use ragstone_core::seam::contract::Sample;

    #[test]
    fn every_processor_counts_alike() {
        let mut state = 7u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state ^ (state >> 29)
        };
        let words: Vec<BlockWords> = (0..6).map(|_| BlockWords(std::array::from_fn(|_| word()))).collect();
        let planes: Vec<[u64; PLANES]> = (0..6).map(|_| std::array::from_fn(|_| word())).collect();
        assert_eq!(block_products(&words, &planes), products_portable(&words, &planes));
    }

    #[test]
    fn hardly_any_estimate_is_further_off_than_its_doubt() {
        for dimensions in [96, 384] {
            let mut sample = Sample::new(3, dimensions);
            let centers: Vec<_> = (0..8).map(|_| sample.vector()).collect();
            let mut vectors = VectorTable::with_capacity(dimensions, 2_003);
            for n in 0..2_003 {
                let vector = (n % 97 != 5).then(|| sample.vector_near(&centers[n % 8], 0.1));
                vectors.push(vector.as_deref());
            }
            let bits = SignBits::from_vectors(&vectors);
            let (mut misses, mut narrow) = (0, 0);
            for round in 0..20 {
                let asked = sample.vector_near(&centers[round % 8], 0.05);
                let (query, question) = (super::super::QueryVector::new(&asked), bits.prepare_query(&asked));
                for block in 0..2_003usize.div_ceil(BLOCK) {
                    let mut looks = SignEstimates::default();
                    bits.estimate_block(block, &question, &mut looks);
                    for slot in (block * BLOCK..2_003.min((block + 1) * BLOCK)).filter(|slot| vectors.has_vector(*slot))
                    {
                        let (score, doubt) = (looks.score[slot % BLOCK], looks.doubt[slot % BLOCK]);
                        let off = (f64::from(score) - vectors.exact_score(slot, &query)).abs();
                        misses += usize::from(off > f64::from(doubt));
                        narrow += usize::from(doubt < 0.5);
                    }
                }
            }
            assert!(misses <= 4, "{dimensions}: {misses} of 40,000");
            assert!(narrow > 39_000, "{dimensions}: {narrow}");
        }
    }

    #[test]
    fn a_slot_without_a_vector_is_never_ruled_out() {
        let mut vectors = VectorTable::with_capacity(96, 2);
        vectors.push(None);
        vectors.push(Some(&[0.1; 96]));
        let bits = SignBits::from_vectors(&vectors);
        let mut looks = SignEstimates::default();
        bits.estimate_block(0, &bits.prepare_query(&[0.1; 96]), &mut looks);
        assert!(looks.doubt[0].is_infinite() && looks.doubt[1].is_finite());
    }
}
