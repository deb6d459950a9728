//! Dense vectors in memory: one byte per component for scanning, two more for exact scores.
//!
//! Invariant: with scale `s`, a component is `s * (coarse + fine / FINE)` to within `s / (2 * FINE)`, about 1e-8 for a
//! unit vector, which is the precision of a float. The error of the coarse part alone is bounded by
//! [`ScoreEstimates::error`], so a search that retains all candidates within that bound loses none: the scan is exact,
//! not approximate. Every processor stores the same bytes and gives the same scores.

pub mod bits;
mod dot;
pub mod near;
mod rotation;

use dot::{DotKernel, LINE, VectorLine};

/// Steps of the fine part per step of the coarse part.
const FINE: f32 = 65_534.0;
/// Largest absolute value of a coarse component.
const COARSE: f32 = 127.0;
/// Most slots estimated in one call.
pub const RUN: usize = 64;

/// Vectors of one length; a point without a vector has a slot of zeros.
#[derive(Debug, Default)]
pub struct VectorTable {
    dimensions: usize,
    /// Lines per coarse vector.
    lines: usize,
    coarse: Vec<VectorLine>,
    fine: Vec<i16>,
    scale: Vec<f32>,
    /// Length of the coarse part's error; -inf for a slot without a vector.
    rest: Vec<f32>,
    /// Length of the coarse part.
    length: Vec<f32>,
}

/// A query vector prepared for comparison.
#[derive(Debug)]
pub struct QueryVector {
    exact: Vec<f32>,
    length: f32,
    coarse: Vec<VectorLine>,
    scale: f32,
    rest: f32,
    level: DotKernel,
}

/// Estimated scores of a run of slots, from the coarse parts.
#[derive(Debug)]
pub struct ScoreEstimates {
    products: [i32; RUN],
    /// Scores of the coarse parts alone.
    pub score: [f32; RUN],
    /// Bound on the error of each score: by Cauchy-Schwarz, `q(x - x') + (q - q')x'`. Negative, and below every error,
    /// for a slot without a vector.
    pub error: [f32; RUN],
}

impl Default for ScoreEstimates {
    fn default() -> Self {
        Self {
            products: [0; RUN],
            score: [0.0; RUN],
            error: [0.0; RUN],
        }
    }
}

impl QueryVector {
    /// Prepares `vector` as a query.
    pub fn new(vector: &[f32]) -> Self {
        let scale = scale_of(vector);
        let mut coarse = Vec::with_capacity(VectorLine::count_lines(vector.len()));
        let mut fine = Vec::with_capacity(vector.len());
        let (rest, _) = encode_vector(vector, scale, &mut coarse, &mut fine);
        Self {
            exact: vector.to_vec(),
            length: vector.iter().map(|x| x * x).sum::<f32>().sqrt(),
            rest: rest.sqrt() * scale,
            coarse,
            scale,
            level: DotKernel::best(),
        }
    }
}

impl VectorTable {
    /// An empty table with capacity for `points` vectors of `dimensions` components.
    pub fn with_capacity(dimensions: usize, points: usize) -> Self {
        let lines = VectorLine::count_lines(dimensions);
        let mut coarse = Vec::with_capacity(lines * points);
        let mut fine = Vec::with_capacity(dimensions * points);
        near::advise_large_pages(&mut coarse);
        near::advise_large_pages(&mut fine);
        Self {
            dimensions,
            lines,
            coarse,
            fine,
            scale: Vec::with_capacity(points),
            rest: Vec::with_capacity(points),
            length: Vec::with_capacity(points),
        }
    }

    /// Appends a vector of the right length, or an empty slot.
    pub fn push(&mut self, vector: Option<&[f32]>) {
        let Some(vector) = vector else {
            self.coarse.resize(self.coarse.len() + self.lines, VectorLine::ZERO);
            self.fine.resize(self.fine.len() + self.dimensions, 0);
            self.scale.push(0.0);
            self.rest.push(f32::NEG_INFINITY);
            self.length.push(0.0);
            return;
        };
        debug_assert_eq!(vector.len(), self.dimensions);
        let scale = scale_of(vector);
        let (rest, length) = encode_vector(vector, scale, &mut self.coarse, &mut self.fine);
        self.scale.push(scale);
        self.rest.push(rest.sqrt() * scale);
        self.length.push(length.sqrt() * scale);
    }

    /// Appends the vectors at `slots` of `other`.
    pub fn extend_from(&mut self, other: &VectorTable, slots: std::ops::Range<usize>) {
        let of = |width: usize| slots.start * width..slots.end * width;
        self.coarse.extend_from_slice(&other.coarse[of(self.lines)]);
        self.fine.extend_from_slice(&other.fine[of(self.dimensions)]);
        self.scale.extend_from_slice(&other.scale[slots.clone()]);
        self.rest.extend_from_slice(&other.rest[slots.clone()]);
        self.length.extend_from_slice(&other.length[slots]);
    }

    /// Components of a vector; 0 in a lexical index.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of slots, with and without a vector.
    pub fn len(&self) -> usize {
        self.scale.len()
    }

    /// Writes the stored vector at `slot` to `vector`, replacing its contents.
    fn restore_vector(&self, slot: usize, vector: &mut Vec<f32>) {
        let coarse = self.coarse[slot * self.lines..(slot + 1) * self.lines].iter();
        let coarse = coarse.flat_map(|line| line.0);
        let fine = &self.fine[slot * self.dimensions..(slot + 1) * self.dimensions];
        let component = |(coarse, fine): (i8, &i16)| self.scale[slot] * (f32::from(coarse) + f32::from(*fine) / FINE);
        vector.clear();
        vector.extend(coarse.zip(fine).map(component));
    }

    /// Whether there is a vector at `slot`.
    pub fn has_vector(&self, slot: usize) -> bool {
        self.dimensions > 0 && self.rest[slot] >= 0.0
    }

    /// Estimates the scores of `slots`, at most [`RUN`] of them; the result starts at index 0.
    pub fn estimate_scores(&self, slots: std::ops::Range<usize>, query: &QueryVector, found: &mut ScoreEstimates) {
        let count = slots.len();
        let rows = &self.coarse[slots.start * self.lines..slots.end * self.lines];
        let products = &mut found.products[..count];
        query.level.dot_products(rows, &query.coarse, products);
        let scale = &self.scale[slots.clone()];
        for ((score, product), scale) in found.score[..count].iter_mut().zip(products).zip(scale) {
            *score = *product as f32 * scale * query.scale;
        }
        let lengths = self.rest[slots.clone()].iter().zip(&self.length[slots]);
        for (error, (rest, length)) in found.error[..count].iter_mut().zip(lengths) {
            *error = query.length * rest + query.rest * length;
        }
    }

    /// Prefetches what [`Self::estimate_scores`] reads for `slots`.
    pub fn prefetch_estimate(&self, slots: std::ops::Range<usize>) {
        near::prefetch_lines(&self.coarse[slots.start * self.lines..slots.end * self.lines]);
    }

    /// Prefetches what [`Self::exact_score`] reads for `slot`.
    pub fn prefetch_exact(&self, slot: usize) {
        self.prefetch_estimate(slot..slot + 1);
        near::prefetch_lines(&self.fine[slot * self.dimensions..(slot + 1) * self.dimensions]);
    }

    /// Dot product of the stored vector with the query.
    pub fn exact_score(&self, slot: usize, query: &QueryVector) -> f64 {
        let coarse = &self.coarse[slot * self.lines..(slot + 1) * self.lines];
        let fine = &self.fine[slot * self.dimensions..(slot + 1) * self.dimensions];
        f64::from(self.scale[slot]) * dot_product(coarse, fine, &query.exact) / f64::from(FINE)
    }
}

/// The scale at which the largest component becomes the largest byte.
fn scale_of(vector: &[f32]) -> f32 {
    let largest = fold_lanes(vector, |largest: f32, x| largest.max(x.abs()));
    let largest = largest.into_iter().fold(0f32, f32::max);
    (largest / COARSE).max(f32::MIN_POSITIVE)
}

/// Number of partial sums, so that the compiler can use wide registers and no sum grows large enough to lose digits.
const LANES: usize = 16;

fn fold_lanes(values: &[f32], add: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = add(*lane, *value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = add(*lane, *value);
    }
    lanes
}

/// Appends both parts of a vector; returns the squared lengths, in steps, of the coarse part's error and of the coarse
/// part.
fn encode_vector(vector: &[f32], scale: f32, coarse: &mut Vec<VectorLine>, fine: &mut Vec<i16>) -> (f32, f32) {
    let inverse = 1.0 / scale;
    let (mut rest, mut length) = ([0f32; LANES], [0f32; LANES]);
    for components in vector.chunks(LINE) {
        let mut line = VectorLine::ZERO;
        let mut left = [0i16; LINE];
        for (at, component) in components.iter().enumerate() {
            let steps = component * inverse;
            let (whole, byte) = nearest_integer(steps);
            let part = steps - whole;
            line.0[at] = byte as i8;
            left[at] = nearest_integer(part * FINE).1 as i16;
            rest[at % LANES] += part * part;
            length[at % LANES] += whole * whole;
        }
        coarse.push(line);
        fine.extend_from_slice(&left[..components.len()]);
    }
    (rest.iter().sum(), length.iter().sum())
}

/// Rounds to the nearest integer, ties to even, as a float and as an integer, for magnitudes below 2^22. Adding the
/// constant leaves no bits for a fraction and puts the integer into the lowest bits.
fn nearest_integer(value: f32) -> (f32, u32) {
    const ROUNDER: f32 = 12_582_912.0;
    let rounded = value + ROUNDER;
    (rounded - ROUNDER, rounded.to_bits())
}

/// [`FINE`] times the dot product of a vector, in steps, with the query, in the widest registers of the processor.
/// Fused multiply-add is disabled, because it rounds differently from other processors.
fn dot_product(coarse: &[VectorLine], fine: &[i16], query: &[f32]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for.
        return unsafe { product_avx2(coarse, fine, query) };
    }
    product_portable(coarse, fine, query)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn product_avx2(coarse: &[VectorLine], fine: &[i16], query: &[f32]) -> f64 {
    product_portable(coarse, fine, query)
}

/// Processes line by line: the length must be known to the compiler for it to use vector registers.
#[inline(always)]
fn product_portable(coarse: &[VectorLine], fine: &[i16], query: &[f32]) -> f64 {
    let mut sums = [0f32; LANES];
    let (fine, fine_rest) = fine.as_chunks::<LINE>();
    let (query, query_rest) = query.as_chunks::<LINE>();
    for ((coarse, fine), query) in coarse.iter().zip(fine).zip(query) {
        add_products(&coarse.0, fine, query, &mut sums);
    }
    if let Some(coarse) = coarse.get(fine.len()) {
        let (mut fine, mut query) = ([0; LINE], [0.0; LINE]);
        fine[..fine_rest.len()].copy_from_slice(fine_rest);
        query[..query_rest.len()].copy_from_slice(query_rest);
        add_products(&coarse.0, &fine, &query, &mut sums);
    }
    sums.iter().copied().map(f64::from).sum()
}

/// Adds the products of a line's components. Both parts of a component make a number below 2^23, which a float holds
/// exactly.
#[inline(always)]
fn add_products(coarse: &[i8; LINE], fine: &[i16; LINE], query: &[f32; LINE], sums: &mut [f32; LANES]) {
    for start in (0..LINE).step_by(LANES) {
        for (at, sum) in (start..).zip(sums.iter_mut()) {
            *sum += (f32::from(coarse[at]) * FINE + f32::from(fine[at])) * query[at];
        }
    }
}
