//! Functions between the matrix products: GELU, powers of two, layer normalisation, scaling to unit length.

use super::matrix::MatrixElement;
use super::simd::{Simd, SimdKernel, SimdLevel};

/// `x * Phi(x)`, the exact (erf) GELU, within 2e-6 for |x| <= 8.
///
/// `Phi(x) = 1/2 + x * p(x^2)` for |x| <= 5, outside which Phi is 0 or 1 to f32 precision. `p` is our own minimax fit
/// (Lawson's algorithm over 4,001 Chebyshev nodes, error weighted by `x^2`) in `t = 2 x^2 / 25 - 1`.
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::FloatVector) -> S::FloatVector {
    const LIMIT: f32 = 5.0;
    const P: [f32; 13] = [
        0.141_363_78,
        -0.070_296_58,
        0.051_521_566,
        -0.040_435_173,
        0.031_425_66,
        -0.023_318_501,
        0.016_492_3,
        -0.011_031_684,
        0.006_197_464_7,
        -0.002_836_443_3,
        0.001_947_312_4,
        -0.001_552_126_7,
        0.000_522_386_5,
    ];
    let bounded = simd.max(simd.min(x, simd.splat(LIMIT)), simd.splat(-LIMIT));
    let square = simd.mul(bounded, bounded);
    let t = simd.mul_add(square, simd.splat(2.0 / (LIMIT * LIMIT)), simd.splat(-1.0));
    let phi = simd.mul_add(bounded, evaluate_polynomial(simd, t, &P), simd.splat(0.5));
    simd.mul(x, phi)
}

/// `2^x` with a relative error below 2e-7, for `x <= 127`; below -126 the result stays at `2^-126`.
///
/// The fraction's polynomial is our own weighted least-squares fit on [-1/2, 1/2].
#[inline(always)]
pub(super) fn exp2<S: Simd>(simd: S, x: S::FloatVector) -> S::FloatVector {
    const P: [f32; 6] = [
        1.000_000_1,
        0.693_147_24,
        0.240_219_72,
        0.055_503_107,
        0.009_681_89,
        0.001_340_602_8,
    ];
    let bounded = simd.max(x, simd.splat(-126.0));
    let whole = simd.round(bounded);
    let fraction = simd.sub(bounded, whole);
    simd.scale_by_exponent(evaluate_polynomial(simd, fraction, &P), whole)
}

#[inline(always)]
fn evaluate_polynomial<S: Simd, const N: usize>(simd: S, x: S::FloatVector, coefficients: &[f32; N]) -> S::FloatVector {
    let mut value = simd.splat(coefficients[N - 1]);
    for &coefficient in coefficients[..N - 1].iter().rev() {
        value = simd.mul_add(value, x, simd.splat(coefficient));
    }
    value
}

/// Layer normalisation over rows of `size` values, stored at a padded stride.
pub(super) struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    size: usize,
    epsilon: f32,
}

impl LayerNorm {
    /// `weight` and `bias` have one value a dimension; `epsilon` is added to the variance.
    pub fn new(weight: &[f32], bias: &[f32], epsilon: f32) -> Self {
        let pad = |values: &[f32]| {
            let mut values = values.to_vec();
            values.resize(super::matrix::padded_size(values.len()), 0.0);
            values
        };
        Self {
            size: weight.len(),
            weight: pad(weight),
            bias: pad(bias),
            epsilon,
        }
    }

    /// Normalises every row of `rows` in place and also writes it to `copy` as the next product's input.
    pub fn normalize_rows<E: MatrixElement>(&self, level: SimdLevel, rows: &mut [f32], copy: &mut [E]) {
        assert!(copy.len() >= rows.len(), "the copy is shorter than the rows");
        level.run_kernel(NormalizeKernel { norm: self, rows, copy });
    }
}

struct NormalizeKernel<'a, E> {
    norm: &'a LayerNorm,
    rows: &'a mut [f32],
    copy: &'a mut [E],
}

impl<E: MatrixElement> SimdKernel for NormalizeKernel<'_, E> {
    #[inline(always)]
    fn run_with<S: Simd>(self, simd: S) {
        let LayerNorm {
            weight,
            bias,
            size,
            epsilon,
        } = self.norm;
        let stride = weight.len();
        for (row, copy) in self
            .rows
            .chunks_exact_mut(stride)
            .zip(self.copy.chunks_exact_mut(stride))
        {
            let mut sums = simd.splat(0.0);
            for part in row.chunks_exact(S::LANES) {
                // SAFETY: a chunk has `LANES` values.
                sums = simd.add(sums, unsafe { simd.load_floats(part.as_ptr()) });
            }
            let mean = simd.sum_lanes(sums) / *size as f32;
            let middle = simd.splat(mean);
            let mut squares = simd.splat(0.0);
            for part in row.chunks_exact(S::LANES) {
                // SAFETY: a chunk has `LANES` values.
                let off = simd.sub(unsafe { simd.load_floats(part.as_ptr()) }, middle);
                squares = simd.mul_add(off, off, squares);
            }
            // Each padding zero has added the square of the mean.
            let variance = (simd.sum_lanes(squares) - (stride - size) as f32 * mean * mean).max(0.0) / *size as f32;
            let scale = simd.splat(1.0 / (variance + epsilon).sqrt());
            for at in (0..stride).step_by(S::LANES) {
                // SAFETY: `at + LANES <= stride`, the length of all four.
                unsafe {
                    let off = simd.mul(simd.sub(simd.load_floats(row.as_ptr().add(at)), middle), scale);
                    let weight = simd.load_floats(weight.as_ptr().add(at));
                    let value = simd.mul_add(off, weight, simd.load_floats(bias.as_ptr().add(at)));
                    simd.store_floats(row.as_mut_ptr().add(at), value);
                    E::store_elements(simd, copy.as_mut_ptr().add(at), value);
                }
            }
        }
    }
}

/// Scales a vector to unit length; a zero vector is left unchanged.
pub(super) fn make_unit(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::padded_size;
    use crate::testing::{Noise, assert_close, erf};

    struct Map<'a, F>(&'a mut [f32], F);

    trait Function {
        fn call<S: Simd>(&self, simd: S, x: S::FloatVector) -> S::FloatVector;
    }

    impl<F: Function> SimdKernel for Map<'_, F> {
        #[inline(always)]
        fn run_with<S: Simd>(self, simd: S) {
            for part in self.0.chunks_exact_mut(S::LANES) {
                // SAFETY: a chunk has `LANES` values.
                unsafe { simd.store_floats(part.as_mut_ptr(), self.1.call(simd, simd.load_floats(part.as_ptr()))) }
            }
        }
    }

    struct Gelu;
    impl Function for Gelu {
        #[inline(always)]
        fn call<S: Simd>(&self, simd: S, x: S::FloatVector) -> S::FloatVector {
            gelu(simd, x)
        }
    }

    struct Exp2;
    impl Function for Exp2 {
        #[inline(always)]
        fn call<S: Simd>(&self, simd: S, x: S::FloatVector) -> S::FloatVector {
            exp2(simd, x)
        }
    }

    #[test]
    fn gelu_is_the_exact_one_on_every_level() {
        let inputs: Vec<f32> = (-1600..1600).map(|step| step as f32 / 200.0).collect();
        let exact = |x: f64| x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2));
        let expected: Vec<f32> = inputs.iter().map(|&x| exact(f64::from(x)) as f32).collect();
        for level in SimdLevel::available_levels() {
            let mut values = inputs.clone();
            level.run_kernel(Map(&mut values, Gelu));
            assert_close(&values, &expected, 2e-6, &format!("{level:?}"));
        }
    }

    #[test]
    fn powers_of_two_hold_their_precision_and_do_not_underflow() {
        let inputs: Vec<f32> = (-3200..320).map(|step| step as f32 / 16.0 + 0.01).collect();
        for level in SimdLevel::available_levels() {
            let mut values = inputs.clone();
            level.run_kernel(Map(&mut values, Exp2));
            for (x, value) in inputs.iter().zip(values) {
                let expected = x.max(-126.0).exp2();
                assert!(
                    (value / expected - 1.0).abs() < 4e-7,
                    "{level:?}: 2^{x} is {expected}, not {value}"
                );
            }
        }
    }

    #[test]
    fn layer_norm_ignores_the_padding() {
        let mut noise = Noise::new(3);
        let (size, stride) = (40, padded_size(40));
        let (weight, bias, row) = (noise.take(size), noise.take(size), noise.take(size));
        let mean = row.iter().sum::<f32>() / size as f32;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / size as f32;
        let expected: Vec<f32> = (0..size)
            .map(|i| (row[i] - mean) / (variance + 1e-5).sqrt() * weight[i] + bias[i])
            .collect();
        for level in SimdLevel::available_levels() {
            let mut rows = row.clone();
            rows.resize(stride, 0.0);
            let mut copy = vec![9.0; stride];
            LayerNorm::new(&weight, &bias, 1e-5).normalize_rows::<f32>(level, &mut rows, &mut copy);
            assert_eq!(rows, copy);
            assert_close(&rows[..size], &expected, 1e-5, &format!("{level:?}"));
            assert!(rows[size..].iter().all(|&padding| padding == 0.0));
        }
    }
}
