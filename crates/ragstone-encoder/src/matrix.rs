//! Matrix products: weights packed once into panels, multiplication in register tiles, post-processing of results.
//!
//! All row strides are multiples of [`PADDING`](super::simd::PADDING) and padding is zero, so kernels need no special
//! cases for odd sizes.

use super::activation::gelu;
use super::aligned::AlignedBuffer;
use super::simd::{Bf16, HalfFloat, MOST_TILE_ROWS, PADDING, Simd, SimdKernel, SimdLevel};

/// `size` rounded up to a multiple of the padding.
pub(super) fn padded_size(size: usize) -> usize {
    size.next_multiple_of(PADDING)
}

/// Number type of the inputs of a matrix product.
pub(super) trait MatrixElement: Copy + Default + Send + Sync + std::fmt::Debug + 'static {
    /// Number of consecutive inputs that one multiplication takes.
    const DEPTH: usize;

    /// The element nearest to `value`.
    fn from_f32(value: f32) -> Self;

    /// Writes a vector, rounded to elements of this type.
    ///
    /// # Safety
    /// `to` is writable for `S::LANES` elements.
    unsafe fn store_elements<S: Simd>(simd: S, to: *mut Self, values: S::FloatVector);

    /// Multiplies `R` rows of `a` with a panel of two vectors of columns. The result replaces `out` if `fresh`, else it
    /// is added.
    ///
    /// # Safety
    /// `a` is a pointer and a stride: `R` rows of `depth` elements at that stride. `panel` has `depth * 2 * S::LANES`
    /// elements; `depth` is a multiple of `DEPTH`; `out` has `R` rows of `PADDING` floats.
    unsafe fn tile<S: Simd, const R: usize>(
        simd: S,
        a: (*const Self, usize),
        panel: *const Self,
        depth: usize,
        out: *mut f32,
        fresh: bool,
    );
}

/// Loads the accumulators of a tile from memory; zeros if `fresh`.
///
/// # Safety
/// `out` has `R` rows of `PADDING` floats.
#[inline(always)]
unsafe fn load_sums<S: Simd, const R: usize>(simd: S, out: *const f32, fresh: bool) -> [[S::FloatVector; 2]; R] {
    let mut sums = [[simd.splat(0.0); 2]; R];
    if !fresh {
        for (row, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `row < R`, and two vectors fit into `PADDING`.
            *sum = unsafe {
                let from = out.add(row * PADDING);
                [simd.load_floats(from), simd.load_floats(from.add(S::LANES))]
            };
        }
    }
    sums
}

/// Writes the accumulators of a tile to memory.
///
/// # Safety
/// `out` has `R` rows of `PADDING` floats.
#[inline(always)]
unsafe fn store_sums<S: Simd, const R: usize>(simd: S, out: *mut f32, sums: [[S::FloatVector; 2]; R]) {
    for (row, [left, right]) in sums.into_iter().enumerate() {
        // SAFETY: `row < R`, and two vectors fit into `PADDING`.
        unsafe {
            let to = out.add(row * PADDING);
            simd.store_floats(to, left);
            simd.store_floats(to.add(S::LANES), right);
        }
    }
}

impl MatrixElement for f32 {
    const DEPTH: usize = 1;

    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    unsafe fn store_elements<S: Simd>(simd: S, to: *mut f32, values: S::FloatVector) {
        // SAFETY: as the caller promises.
        unsafe { simd.store_floats(to, values) }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize>(
        simd: S,
        (a, stride): (*const f32, usize),
        panel: *const f32,
        depth: usize,
        out: *mut f32,
        fresh: bool,
    ) {
        // SAFETY: as the caller promises.
        let mut sums = unsafe { load_sums::<S, R>(simd, out, fresh) };
        for step in 0..depth {
            // SAFETY: `step < depth` and `row < R`: inside what the caller promises.
            unsafe {
                let left = simd.load_floats(panel.add(step * 2 * S::LANES));
                let right = simd.load_floats(panel.add(step * 2 * S::LANES + S::LANES));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let value = simd.splat(*a.add(row * stride + step));
                    sum[0] = simd.mul_add(value, left, sum[0]);
                    sum[1] = simd.mul_add(value, right, sum[1]);
                }
            }
        }
        // SAFETY: as the caller promises.
        unsafe { store_sums::<S, R>(simd, out, sums) }
    }
}

impl MatrixElement for Bf16 {
    const DEPTH: usize = 2;

    fn from_f32(value: f32) -> Self {
        Self::round_f32(value)
    }

    #[inline(always)]
    unsafe fn store_elements<S: Simd>(simd: S, to: *mut Bf16, values: S::FloatVector) {
        // SAFETY: as the caller promises.
        unsafe { simd.store_bf16(to, values) }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize>(
        simd: S,
        (a, stride): (*const Bf16, usize),
        panel: *const Bf16,
        depth: usize,
        out: *mut f32,
        fresh: bool,
    ) {
        // SAFETY: as the caller promises.
        let mut sums = unsafe { load_sums::<S, R>(simd, out, fresh) };
        for step in (0..depth).step_by(2) {
            // SAFETY: `step + 1 < depth` as `depth` is even, and `row < R`: inside what the caller promises.
            unsafe {
                let left = simd.load_pairs(panel.add(step * 2 * S::LANES));
                let right = simd.load_pairs(panel.add(step * 2 * S::LANES + 2 * S::LANES));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let pair = simd.splat_pair(a.add(row * stride + step));
                    sum[0] = simd.dot_pairs(pair, left, sum[0]);
                    sum[1] = simd.dot_pairs(pair, right, sum[1]);
                }
            }
        }
        // SAFETY: as the caller promises.
        unsafe { store_sums::<S, R>(simd, out, sums) }
    }
}

impl MatrixElement for HalfFloat {
    const DEPTH: usize = 2;

    fn from_f32(value: f32) -> Self {
        Self::round_f32(value)
    }

    #[inline(always)]
    unsafe fn store_elements<S: Simd>(simd: S, to: *mut HalfFloat, values: S::FloatVector) {
        // SAFETY: as the caller promises.
        unsafe { simd.store_half(to, values) }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize>(
        simd: S,
        (a, stride): (*const HalfFloat, usize),
        panel: *const HalfFloat,
        depth: usize,
        out: *mut f32,
        fresh: bool,
    ) {
        // SAFETY: as the caller promises; vectors of `S` are no longer than half of `PADDING`.
        unsafe {
            let mut sums = load_sums::<S, R>(simd, out, fresh);
            for first in (0..depth).step_by(HALF_RUN) {
                let steps = HALF_RUN.min(depth - first) / 2;
                let (a, panel) = (a.add(first), panel.add(first * 2 * S::LANES));
                simd.add_half_products::<R>((a, stride), panel, steps, &mut sums);
            }
            store_sums::<S, R>(simd, out, sums);
        }
    }
}

/// Products of half floats are summed in half precision over this many inputs, even and odd ones separately; then the
/// sums are widened. Longer runs are faster and less exact: at 128 the error is that of brain floats.
const HALF_RUN: usize = 128;

/// [`MatrixElement::tile`] for a number of rows that is known only at run time.
///
/// # Safety
/// As [`MatrixElement::tile`] for `rows` rows, and `rows <= S::TILE_ROWS`.
#[inline(always)]
pub(super) unsafe fn multiply_tile<S: Simd, E: MatrixElement>(
    simd: S,
    a: (*const E, usize),
    panel: *const E,
    depth: usize,
    (out, fresh): (*mut f32, bool),
    rows: usize,
) {
    macro_rules! by_rows {
        ($($count:literal)*) => {
            match rows {
                $($count if S::TILE_ROWS >= $count => {
                    // SAFETY: passed on.
                    unsafe { E::tile::<S, $count>(simd, a, panel, depth, out, fresh) }
                })*
                _ => debug_assert_eq!(rows, 0, "more rows than registers"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// Memory for the results of a register tile.
#[repr(align(64))]
pub(super) struct RegisterTile([[f32; PADDING]; MOST_TILE_ROWS]);

impl RegisterTile {
    /// A tile of zeros.
    pub fn new() -> Self {
        Self([[0.0; PADDING]; MOST_TILE_ROWS])
    }

    /// The rows of the tile.
    pub fn rows(&self) -> &[[f32; PADDING]] {
        &self.0
    }

    /// Pointer to the first element, for [`multiply_tile`] to write.
    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// Bytes of the part of a panel that stays in the first-level cache while it is multiplied with all rows.
const BLOCK: usize = 16 << 10;

/// Splits `rows` into tiles of nearly equal height, at most `most`: yields `(first row, rows)`.
#[inline(always)]
pub(super) fn split_into_tiles(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most).max(1);
    (0..count).map(move |tile| (tile * rows / count, (tile + 1) * rows / count - tile * rows / count))
}

/// A linear layer packed for one instruction set: each panel holds two vectors of outputs with all their inputs.
pub(super) struct LinearLayer<E> {
    panels: AlignedBuffer<E>,
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl<E: MatrixElement> LinearLayer<E> {
    /// Packs `weight` (a row of `inputs` values for each output) and `bias`; `panel_columns` is that of the SIMD level.
    pub fn pack_weights(weight: &[f32], bias: &[f32], inputs: usize, panel_columns: usize) -> Self {
        let outputs = bias.len();
        let (depth, width) = (padded_size(inputs), padded_size(outputs));
        let mut panels = AlignedBuffer::<E>::new(depth * width);
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            let panel = &mut panels[output / panel_columns * panel_columns * depth..];
            for (input, &value) in row.iter().enumerate() {
                let group = input / E::DEPTH * panel_columns + output % panel_columns;
                panel[group * E::DEPTH + input % E::DEPTH] = E::from_f32(value);
            }
        }
        let mut padded_bias = bias.to_vec();
        padded_bias.resize(width, 0.0);
        Self {
            panels,
            bias: padded_bias,
            inputs: depth,
            outputs: width,
        }
    }

    /// Number of outputs with padding: the row stride of the result.
    pub fn padded_outputs(&self) -> usize {
        self.outputs
    }

    /// Multiplies `rows` rows of `input` and writes the result plus bias to `finish`.
    pub fn multiply_rows(&self, level: SimdLevel, input: &[E], rows: usize, finish: ProductOutput<'_, E>) {
        assert!(input.len() >= rows * self.inputs, "input is shorter than its rows");
        assert!(finish.len() >= rows * self.outputs, "output is shorter than its rows");
        level.run_kernel(MultiplyKernel {
            linear: self,
            input,
            rows,
            finish,
        });
    }
}

/// Where a product plus bias is written.
pub(super) enum ProductOutput<'a, E> {
    /// The result overwrites the output.
    Store(&'a mut [f32]),
    /// The result is added to the output (a residual connection).
    Add(&'a mut [f32]),
    /// Its GELU is written as the next product's input.
    Gelu(&'a mut [E]),
}

impl<E: MatrixElement> ProductOutput<'_, E> {
    fn len(&self) -> usize {
        match self {
            Self::Store(out) | Self::Add(out) => out.len(),
            Self::Gelu(out) => out.len(),
        }
    }

    /// # Safety
    /// The `S::LANES` elements at `at` lie inside the output.
    #[inline(always)]
    unsafe fn put_vector<S: Simd>(&mut self, simd: S, at: usize, value: S::FloatVector) {
        // SAFETY: as the caller promises.
        unsafe {
            match self {
                Self::Store(out) => simd.store_floats(out.as_mut_ptr().add(at), value),
                Self::Add(out) => {
                    let to = out.as_mut_ptr().add(at);
                    simd.store_floats(to, simd.add(simd.load_floats(to), value));
                }
                Self::Gelu(out) => E::store_elements(simd, out.as_mut_ptr().add(at), gelu(simd, value)),
            }
        }
    }
}

struct MultiplyKernel<'a, E> {
    linear: &'a LinearLayer<E>,
    input: &'a [E],
    rows: usize,
    finish: ProductOutput<'a, E>,
}

impl<E: MatrixElement> SimdKernel for MultiplyKernel<'_, E> {
    #[inline(always)]
    fn run_with<S: Simd>(mut self, simd: S) {
        let LinearLayer { panels, inputs, .. } = self.linear;
        let columns = 2 * S::LANES;
        let block = (BLOCK / (columns * size_of::<E>())).min(*inputs);
        let mut sums = AlignedBuffer::<f32>::new(self.rows * PADDING);
        for (index, panel) in panels.chunks_exact(columns * inputs).enumerate() {
            for (part, panel) in panel.chunks(columns * block).enumerate() {
                let depth = panel.len() / columns;
                for (first, rows) in split_into_tiles(self.rows, S::TILE_ROWS) {
                    let a = &self.input[first * inputs + part * block..];
                    let out = &mut sums[first * PADDING..(first + rows) * PADDING];
                    // SAFETY: `multiply_rows` checked that the input holds `self.rows` rows of `inputs` elements, of
                    // which this part covers `depth`, like the panel's; `out` is `rows` rows long.
                    unsafe {
                        let out = (out.as_mut_ptr(), part == 0);
                        multiply_tile(simd, (a.as_ptr(), *inputs), panel.as_ptr(), depth, out, rows);
                    }
                }
            }
            self.finish_panel(simd, index * columns, &sums);
        }
    }
}

impl<E: MatrixElement> MultiplyKernel<'_, E> {
    #[inline(always)]
    fn finish_panel<S: Simd>(&mut self, simd: S, column: usize, sums: &[f32]) {
        for half in [0, S::LANES] {
            let column = column + half;
            // SAFETY: `column + LANES <= outputs`, the length of the bias and of an output row; `multiply_rows` checked
            // that there are `rows` of those; a row of `sums` holds two vectors.
            unsafe {
                let bias = simd.load_floats(self.linear.bias.as_ptr().add(column));
                for row in 0..self.rows {
                    let value = simd.add(simd.load_floats(sums.as_ptr().add(row * PADDING + half)), bias);
                    self.finish.put_vector(simd, row * self.linear.outputs + column, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Noise, assert_close};

    fn reference(input: &[f32], weight: &[f32], bias: &[f32], inputs: usize) -> Vec<f32> {
        let row = |x: &[f32]| -> Vec<f32> {
            let dot = |w: &[f32]| x.iter().zip(w).map(|(a, b)| a * b).sum::<f32>();
            weight.chunks(inputs).zip(bias).map(|(w, b)| dot(w) + b).collect()
        };
        input.chunks(inputs).flat_map(row).collect()
    }

    fn check<E: MatrixElement>(rows: usize, inputs: usize, outputs: usize, tolerance: f32) {
        let mut noise = Noise::new(rows as u64);
        let (input, weight, bias) = (
            noise.take(rows * inputs),
            noise.take(outputs * inputs),
            noise.take(outputs),
        );
        let expected = reference(&input, &weight, &bias, inputs);
        for level in SimdLevel::available_levels() {
            let linear = LinearLayer::<E>::pack_weights(&weight, &bias, inputs, level.panel_columns());
            let mut elements = vec![E::default(); rows * padded_size(inputs)];
            for (to, from) in elements.chunks_mut(padded_size(inputs)).zip(input.chunks(inputs)) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = E::from_f32(*from));
            }
            let mut out = vec![0.0; rows * linear.padded_outputs()];
            linear.multiply_rows(level, &elements, rows, ProductOutput::Store(&mut out));
            linear.multiply_rows(level, &elements, rows, ProductOutput::Add(&mut out));
            let got: Vec<f32> = out
                .chunks(linear.padded_outputs())
                .flat_map(|row| &row[..outputs])
                .map(|sum| sum / 2.0)
                .collect();
            assert_close(
                &got,
                &expected,
                tolerance,
                &format!("{level:?} {rows}x{inputs}x{outputs}"),
            );
        }
    }

    #[test]
    fn every_level_multiplies_as_the_textbook_does() {
        for (rows, inputs, outputs) in [(1, 32, 32), (7, 40, 33), (13, 96, 70), (25, 384, 64), (13, 800, 40)] {
            check::<f32>(rows, inputs, outputs, 2e-4);
            check::<HalfFloat>(rows, inputs, outputs, 0.01 * (inputs as f32).sqrt());
            check::<Bf16>(rows, inputs, outputs, 0.02 * (inputs as f32).sqrt());
        }
    }

    #[test]
    fn tiles_cover_every_row_once_and_evenly() {
        assert_eq!(split_into_tiles(14, 12).collect::<Vec<_>>(), [(0, 7), (7, 7)]);
        assert_eq!(split_into_tiles(25, 12).collect::<Vec<_>>(), [(0, 8), (8, 8), (16, 9)]);
        assert_eq!(split_into_tiles(12, 12).collect::<Vec<_>>(), [(0, 12)]);
    }
}
