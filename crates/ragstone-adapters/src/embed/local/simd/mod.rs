//! The vector instructions the forward pass is written in: one trait, four implementations, chosen at run time.
//!
//! Kernels are generic over [`Simd`] and are run by [`Level::run`], which enters a function compiled for the
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
use {avx2::Avx2, avx512::Avx512};

use portable::Portable;

/// Floats in the widest pair of vectors of any implementation; rows of all buffers are padded to a multiple of it.
pub(super) const PADDING: usize = 32;

/// Most rows of a tile held in registers, over all implementations.
pub(super) const MOST_TILE_ROWS: usize = 12;

/// A brain float: the upper half of an `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(transparent)]
pub(super) struct Bf16(pub u16);

impl Bf16 {
    /// The nearest brain float, ties to even. Not for NaN.
    pub fn nearest(value: f32) -> Self {
        let bits = value.to_bits();
        Self((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }
}

/// The operations kernels are made of.
pub(super) trait Simd: Copy {
    /// `f32` values in a vector.
    const LANES: usize;
    /// Rows of the register tile, which is two vectors wide.
    const TILE_ROWS: usize;
    /// A vector of `LANES` floats.
    type Floats: Copy;
    /// A vector of `LANES` pairs of brain floats.
    type Pairs: Copy;

    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::Floats;
    /// Lane-wise sum.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Lane-wise difference.
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Lane-wise product.
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, with one rounding where the CPU has it.
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Lane-wise maximum.
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Lane-wise minimum.
    fn min(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The nearest integer; magnitudes below 2^22 only.
    fn round(self, a: Self::Floats) -> Self::Floats;
    /// `a * 2^n` for integers `n` in -126..=127.
    fn scale(self, a: Self::Floats, n: Self::Floats) -> Self::Floats;
    /// Sum of all lanes.
    fn sum(self, a: Self::Floats) -> f32;
    /// Greatest lane.
    fn greatest(self, a: Self::Floats) -> f32;

    /// Reads a vector.
    ///
    /// # Safety
    /// `from` is readable for `LANES` floats.
    unsafe fn load(self, from: *const f32) -> Self::Floats;
    /// Writes a vector.
    ///
    /// # Safety
    /// `to` is writable for `LANES` floats.
    unsafe fn store(self, to: *mut f32, a: Self::Floats);
    /// Writes a vector rounded to brain floats.
    ///
    /// # Safety
    /// `to` is writable for `LANES` brain floats.
    unsafe fn store_bf16(self, to: *mut Bf16, a: Self::Floats);
    /// Reads a vector of pairs.
    ///
    /// # Safety
    /// `from` is readable for `2 * LANES` brain floats.
    unsafe fn load_pairs(self, from: *const Bf16) -> Self::Pairs;
    /// One pair in every lane.
    ///
    /// # Safety
    /// `from` is readable for two brain floats.
    unsafe fn splat_pair(self, from: *const Bf16) -> Self::Pairs;
    /// `acc + a.0 * b.0 + a.1 * b.1`, lane by lane.
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, acc: Self::Floats) -> Self::Floats;
}

/// A piece of work written once for all instruction sets.
pub(super) trait Kernel {
    /// Does the work. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S);
}

/// An instruction set that this CPU has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    /// What every CPU has.
    Portable(Portable),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512<false>),
    /// AVX-512 with brain-float dot products.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512<true>),
}

impl Level {
    /// Every level this CPU has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Portable(Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx2::detect().map(Self::Avx2));
            levels.extend(Avx512::<false>::detect().map(Self::Avx512));
            levels.extend(Avx512::<true>::detect().map(Self::Avx512Bf16));
        }
        levels
    }

    /// The fastest level this CPU has.
    pub fn best() -> Self {
        Self::available().pop().expect("portable is always there")
    }

    /// Whether brain floats are multiplied by the CPU itself.
    pub fn has_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return matches!(self, Self::Avx512Bf16(_));
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Columns of a packed panel: two vectors.
    pub fn panel_columns(self) -> usize {
        2 * match self {
            Self::Portable(_) => Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) | Self::Avx512Bf16(_) => Avx512::<true>::LANES,
        }
    }

    /// Runs a kernel with this level's instructions.
    pub fn run(self, kernel: impl Kernel) {
        match self {
            Self::Portable(simd) => kernel.run(simd),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(simd) => simd.enter(kernel),
        }
    }
}
