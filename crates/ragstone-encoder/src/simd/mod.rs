//! SIMD operations of the forward pass: one trait, four implementations, chosen at run time.
//!
//! Kernels are generic over [`Simd`] and started by [`SimdLevel::run_kernel`], which enters a function compiled for the
//! instruction set. Everything between that function and the instructions is `inline(always)`: a call that is not
//! inlined would be compiled for the baseline CPU.
//!
//! Invariant: a value of a [`Simd`] type exists only on a CPU that has its instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
use {
    avx2::Avx2,
    avx512::{Avx512, BF16, FP16, PLAIN},
};

use portable::PortableSimd;

/// Floats in the widest pair of vectors of any implementation; rows of all buffers are padded to a multiple of it.
pub(super) const PADDING: usize = 32;

/// Most rows of a tile held in registers, over all implementations.
pub(super) const MOST_TILE_ROWS: usize = 12;

/// A brain float: the upper half of an `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(transparent)]
pub(super) struct Bf16(pub u16);

impl Bf16 {
    /// The nearest brain float, ties to even. `value` must not be NaN.
    pub fn round_f32(value: f32) -> Self {
        let bits = value.to_bits();
        Self((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }
}

/// An IEEE half-precision float.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(transparent)]
pub(super) struct HalfFloat(pub u16);

impl HalfFloat {
    /// The nearest half float, ties to even; too large values become the largest finite one. `value` must not be NaN.
    pub fn round_f32(value: f32) -> Self {
        const LARGEST: f32 = 65504.0;
        let magnitude = value.abs().min(LARGEST);
        // Adding this power of two leaves the mantissa of a half in the lowest bits, rounded by the addition itself.
        let exponent = (magnitude.to_bits() >> 23).max(127 - 14);
        let rounder = f32::from_bits((exponent + 13) << 23);
        let rounded = (magnitude + rounder) - rounder;
        let half = (rounded * f32::from_bits((127 - 112) << 23)).to_bits() >> 13;
        Self(half as u16 | (value.to_bits() >> 16 & 0x8000) as u16)
    }

    /// The exact value in single precision.
    pub fn to_f32(self) -> f32 {
        let magnitude = u32::from(self.0 & 0x7fff);
        let widened = match magnitude {
            // Infinity and NaN keep their mantissa.
            0x7c00.. => f32::from_bits(0x7f80_0000 | (magnitude << 13)),
            // Shifted into place, the exponent is 112 too small; the product also normalises subnormals.
            _ => f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23),
        };
        f32::from_bits(widened.to_bits() | u32::from(self.0 & 0x8000) << 16)
    }
}

/// Vector operations that kernels are built from.
pub(super) trait Simd: Copy {
    /// Number of `f32` values in a vector.
    const LANES: usize;
    /// Rows of the register tile, which is two vectors wide.
    const TILE_ROWS: usize;
    /// A vector of `LANES` floats.
    type FloatVector: Copy;
    /// A vector of `LANES` pairs of brain floats.
    type PairVector: Copy;

    /// A vector with the same value in every lane.
    fn splat(self, value: f32) -> Self::FloatVector;
    /// Sum of each pair of lanes.
    fn add(self, a: Self::FloatVector, b: Self::FloatVector) -> Self::FloatVector;
    /// Difference of each pair of lanes.
    fn sub(self, a: Self::FloatVector, b: Self::FloatVector) -> Self::FloatVector;
    /// Product of each pair of lanes.
    fn mul(self, a: Self::FloatVector, b: Self::FloatVector) -> Self::FloatVector;
    /// `a * b + c`, rounded once where the CPU has a fused instruction.
    fn mul_add(self, a: Self::FloatVector, b: Self::FloatVector, c: Self::FloatVector) -> Self::FloatVector;
    /// Maximum of each pair of lanes.
    fn max(self, a: Self::FloatVector, b: Self::FloatVector) -> Self::FloatVector;
    /// Minimum of each pair of lanes.
    fn min(self, a: Self::FloatVector, b: Self::FloatVector) -> Self::FloatVector;
    /// The nearest integer; magnitudes below 2^22 only.
    fn round(self, a: Self::FloatVector) -> Self::FloatVector;
    /// `a * 2^n` for integers `n` in -126..=127.
    fn scale_by_exponent(self, a: Self::FloatVector, n: Self::FloatVector) -> Self::FloatVector;
    /// Sum of all lanes.
    fn sum_lanes(self, a: Self::FloatVector) -> f32;
    /// Maximum of all lanes.
    fn max_lane(self, a: Self::FloatVector) -> f32;

    /// Reads a vector of `LANES` floats.
    ///
    /// # Safety
    /// `from` is readable for `LANES` floats.
    unsafe fn load_floats(self, from: *const f32) -> Self::FloatVector;
    /// Writes a vector of `LANES` floats.
    ///
    /// # Safety
    /// `to` is writable for `LANES` floats.
    unsafe fn store_floats(self, to: *mut f32, a: Self::FloatVector);
    /// Writes a vector rounded to brain floats.
    ///
    /// # Safety
    /// `to` is writable for `LANES` brain floats.
    unsafe fn store_bf16(self, to: *mut Bf16, a: Self::FloatVector);
    /// Writes a vector rounded to half floats; too large values become the largest finite one.
    ///
    /// # Safety
    /// `to` is writable for `LANES` half floats.
    #[inline(always)]
    unsafe fn store_half(self, to: *mut HalfFloat, a: Self::FloatVector) {
        let mut values = [0.0; PADDING];
        // SAFETY: a vector is shorter than `PADDING`; the caller promises the rest.
        unsafe {
            self.store_floats(values.as_mut_ptr(), a);
            for (lane, value) in values[..Self::LANES].iter().enumerate() {
                to.add(lane).write(HalfFloat::round_f32(*value));
            }
        }
    }
    /// Adds to `sums` the product of `R` rows with two vectors of columns over `steps` pairs of inputs.
    ///
    /// # Safety
    /// `a` has `R` rows of `2 * steps` half floats at `stride`, `panel` has `4 * LANES * steps` of them.
    #[inline(always)]
    unsafe fn add_half_products<const R: usize>(
        self,
        (a, stride): (*const HalfFloat, usize),
        panel: *const HalfFloat,
        steps: usize,
        sums: &mut [[Self::FloatVector; 2]; R],
    ) {
        let mut column = [0.0; PADDING];
        for input in 0..2 * steps {
            for half in 0..2 {
                // SAFETY: `input < 2 * steps`, and vectors are shorter than `PADDING`.
                unsafe {
                    let group = panel.add(input / 2 * 4 * Self::LANES + half * 2 * Self::LANES + input % 2);
                    for (lane, value) in column[..Self::LANES].iter_mut().enumerate() {
                        *value = (*group.add(2 * lane)).to_f32();
                    }
                    let column = self.load_floats(column.as_ptr());
                    for (row, sum) in sums.iter_mut().enumerate() {
                        let value = self.splat((*a.add(row * stride + input)).to_f32());
                        sum[half] = self.mul_add(value, column, sum[half]);
                    }
                }
            }
        }
    }
    /// Reads a vector of `LANES` pairs of brain floats.
    ///
    /// # Safety
    /// `from` is readable for `2 * LANES` brain floats.
    unsafe fn load_pairs(self, from: *const Bf16) -> Self::PairVector;
    /// A vector with the same pair in every lane.
    ///
    /// # Safety
    /// `from` is readable for two brain floats.
    unsafe fn splat_pair(self, from: *const Bf16) -> Self::PairVector;
    /// `acc + a.0 * b.0 + a.1 * b.1`, lane by lane.
    fn dot_pairs(self, a: Self::PairVector, b: Self::PairVector, acc: Self::FloatVector) -> Self::FloatVector;
}

/// A computation written once for all instruction sets.
pub(super) trait SimdKernel {
    /// Runs the computation. Implementations must be `#[inline(always)]`.
    fn run_with<S: Simd>(self, simd: S);
}

/// An instruction set that this CPU has.
#[derive(Clone, Copy, Debug)]
pub(super) enum SimdLevel {
    /// Baseline instructions, which every CPU has.
    Portable(PortableSimd),
    /// AVX2 with fused multiply-add (FMA).
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F without extensions.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512<PLAIN>),
    /// AVX-512 with dot products of brain floats.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512<BF16>),
    /// AVX-512 with half-precision arithmetic.
    #[cfg(target_arch = "x86_64")]
    Avx512Fp16(Avx512<FP16>),
}

impl SimdLevel {
    /// Every level this CPU has, slowest first.
    pub fn available_levels() -> Vec<Self> {
        let mut levels = vec![Self::Portable(PortableSimd)];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx2::detect().map(Self::Avx2));
            levels.extend(Avx512::<PLAIN>::detect().map(Self::Avx512));
            levels.extend(Avx512::<BF16>::detect().map(Self::Avx512Bf16));
            levels.extend(Avx512::<FP16>::detect().map(Self::Avx512Fp16));
        }
        levels
    }

    /// The fastest level of this CPU that satisfies `wanted`, else the fastest one of all.
    pub fn best_level(wanted: impl Fn(Self) -> bool) -> Self {
        let levels = Self::available_levels();
        let best = levels.iter().rfind(|level| wanted(**level)).or(levels.last());
        *best.expect("portable is always there")
    }

    /// Whether the CPU has instructions for products of brain floats.
    pub fn has_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return matches!(self, Self::Avx512Bf16(_));
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Whether the CPU has half-precision arithmetic.
    pub fn has_f16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return matches!(self, Self::Avx512Fp16(_));
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Columns of a packed panel: two vectors.
    pub fn panel_columns(self) -> usize {
        2 * match self {
            Self::Portable(_) => PortableSimd::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) | Self::Avx512Bf16(_) | Self::Avx512Fp16(_) => Avx512::<PLAIN>::LANES,
        }
    }

    /// Runs a kernel compiled for this level's instructions.
    pub fn run_kernel(self, kernel: impl SimdKernel) {
        match self {
            Self::Portable(simd) => kernel.run_with(simd),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.run_kernel(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.run_kernel(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(simd) => simd.run_kernel(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Fp16(simd) => simd.run_kernel(kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for (bits, expected) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2.0_f32.powi(-24)),
            (0x83ff, -1023.0 * 2.0_f32.powi(-24)),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(HalfFloat(bits).to_f32(), expected, "{bits:#x}");
        }
        assert!(HalfFloat(0x7e00).to_f32().is_nan());
    }

    #[test]
    fn every_finite_half_is_nearest_to_itself_and_ties_go_to_even() {
        for bits in (0..0x7c00).chain(0x8000..0xfc00) {
            assert_eq!(HalfFloat::round_f32(HalfFloat(bits).to_f32()), HalfFloat(bits));
        }
        assert_eq!(HalfFloat::round_f32(1.0 + 1.0 / 2048.0), HalfFloat(0x3c00));
        assert_eq!(HalfFloat::round_f32(1.0 + 3.0 / 2048.0), HalfFloat(0x3c02));
        assert_eq!(HalfFloat::round_f32(-1e9), HalfFloat(0xfbff));
        assert_eq!(Bf16::round_f32(1.0 + 1.0 / 256.0), Bf16(0x3f80));
        assert_eq!(Bf16::round_f32(1.0 + 3.0 / 256.0), Bf16(0x3f82));
    }

    #[test]
    fn every_level_rounds_as_the_scalar_code_does() {
        struct Round<'a>(&'a [f32], &'a mut [Bf16], &'a mut [HalfFloat]);
        impl SimdKernel for Round<'_> {
            #[inline(always)]
            fn run_with<S: Simd>(self, simd: S) {
                for at in (0..self.0.len()).step_by(S::LANES) {
                    // SAFETY: all three have the same length, a multiple of every level's lanes.
                    unsafe {
                        let values = simd.load_floats(self.0.as_ptr().add(at));
                        simd.store_bf16(self.1.as_mut_ptr().add(at), values);
                        simd.store_half(self.2.as_mut_ptr().add(at), values);
                    }
                }
            }
        }
        let values: Vec<f32> = (0..3200)
            .map(|n| (n as f32 - 1600.0).powi(3) / 31_000.0 + 0.000_1)
            .collect();
        for level in SimdLevel::available_levels() {
            let (mut brains, mut halves) = (vec![Bf16(0); 3200], vec![HalfFloat(0); 3200]);
            level.run_kernel(Round(&values, &mut brains, &mut halves));
            assert_eq!(
                brains,
                values.iter().map(|value| Bf16::round_f32(*value)).collect::<Vec<_>>(),
                "{level:?}"
            );
            assert_eq!(
                halves,
                values
                    .iter()
                    .map(|value| HalfFloat::round_f32(*value))
                    .collect::<Vec<_>>(),
                "{level:?}"
            );
        }
    }
}
