//! AVX-512: sixteen lanes, thirty-two registers; with extensions also dot products of brain floats, or half-precision
//! arithmetic at twice the rate.

use std::arch::x86_64::*;

use super::{Bf16, HalfFloat, Simd, SimdKernel};

/// Extension parameter: AVX-512 F alone.
pub(in super::super) const PLAIN: u8 = 0;
/// Extension parameter: with AVX-512 BF16.
pub(in super::super) const BF16: u8 = 1;
/// Extension parameter: with AVX-512 FP16.
pub(in super::super) const FP16: u8 = 2;

/// Proof that the CPU has AVX-512 F and the extension.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx512<const EXTENSION: u8>(());

impl<const EXTENSION: u8> Avx512<EXTENSION> {
    /// The proof; `None` if this CPU lacks the instructions.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && match EXTENSION {
                BF16 => is_x86_feature_detected!("avx512bf16"),
                FP16 => is_x86_feature_detected!("avx512fp16"),
                _ => true,
            };
        has.then_some(Self(()))
    }

    /// Runs a kernel compiled for these instructions.
    pub fn run_kernel(self, kernel: impl SimdKernel) {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn run_plain<const EXTENSION: u8>(simd: Avx512<EXTENSION>, kernel: impl SimdKernel) {
            kernel.run_with(simd);
        }
        #[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
        fn run_bf16<const EXTENSION: u8>(simd: Avx512<EXTENSION>, kernel: impl SimdKernel) {
            kernel.run_with(simd);
        }
        #[target_feature(enable = "avx512f,avx512fp16,avx2,fma")]
        fn run_fp16<const EXTENSION: u8>(simd: Avx512<EXTENSION>, kernel: impl SimdKernel) {
            kernel.run_with(simd);
        }
        // SAFETY: `self` proves that the CPU has the features of the function that is entered.
        unsafe {
            match EXTENSION {
                BF16 => run_bf16(self, kernel),
                FP16 => run_fp16(self, kernel),
                _ => run_plain(self, kernel),
            }
        }
    }
}

// SAFETY of every block below: `self` proves the instructions; pointers are as the trait's callers promise.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all of them, given above"
)]
impl<const EXTENSION: u8> Simd for Avx512<EXTENSION> {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 12;
    type FloatVector = __m512;
    type PairVector = __m512i;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn scale_by_exponent(self, a: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(a, n) }
    }

    #[inline(always)]
    fn sum_lanes(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }

    #[inline(always)]
    fn max_lane(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, a: __m512) {
        unsafe { _mm512_storeu_ps(to, a) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut Bf16, a: __m512) {
        unsafe {
            let bits = _mm512_castps_si512(a);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
            let upper = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
            _mm256_storeu_si256(to.cast(), upper);
        }
    }

    #[inline(always)]
    unsafe fn store_half(self, to: *mut HalfFloat, a: __m512) {
        unsafe {
            let largest = _mm512_set1_ps(65504.0);
            let bounded = _mm512_max_ps(_mm512_min_ps(a, largest), _mm512_sub_ps(_mm512_setzero_ps(), largest));
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<NEAREST>(bounded));
        }
    }

    #[inline(always)]
    unsafe fn add_half_products<const R: usize>(
        self,
        (a, stride): (*const HalfFloat, usize),
        panel: *const HalfFloat,
        steps: usize,
        sums: &mut [[__m512; 2]; R],
    ) {
        if EXTENSION != FP16 {
            return unsafe { widened_products((a, stride), panel, steps, sums) };
        }
        unsafe {
            let mut halves = [[_mm512_setzero_ph(); 2]; R];
            for step in 0..steps {
                let left = _mm512_castsi512_ph(_mm512_loadu_si512(panel.add(step * 64).cast()));
                let right = _mm512_castsi512_ph(_mm512_loadu_si512(panel.add(step * 64 + 32).cast()));
                for (row, half) in halves.iter_mut().enumerate() {
                    let pair = a.add(row * stride + 2 * step).cast::<i32>().read_unaligned();
                    let pair = _mm512_castsi512_ph(_mm512_set1_epi32(pair));
                    half[0] = _mm512_fmadd_ph(pair, left, half[0]);
                    half[1] = _mm512_fmadd_ph(pair, right, half[1]);
                }
            }
            for (sum, half) in sums.iter_mut().zip(halves) {
                for (sum, half) in sum.iter_mut().zip(half) {
                    let (even, odd) = widen_pairs(_mm512_castph_si512(half));
                    *sum = _mm512_add_ps(*sum, _mm512_add_ps(even, odd));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const Bf16) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat_pair(self, from: *const Bf16) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: __m512i, b: __m512i, acc: __m512) -> __m512 {
        if EXTENSION == BF16 {
            // `__m512bh` has no cast from integers; both are 64 bytes in which every bit pattern is a value.
            let pairs = |a| unsafe { std::mem::transmute::<__m512i, __m512bh>(a) };
            return unsafe { _mm512_dpbf16_ps(acc, pairs(a), pairs(b)) };
        }
        let low = |pairs| unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)) };
        let high =
            |pairs| unsafe { _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32))) };
        self.mul_add(high(a), high(b), self.mul_add(low(a), low(b), acc))
    }
}

/// The lower and the upper half floats of sixteen pairs, in single precision.
#[inline(always)]
unsafe fn widen_pairs(pairs: __m512i) -> (__m512, __m512) {
    // SAFETY: called where AVX-512 F is proven.
    unsafe {
        let lower = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs));
        (
            lower,
            _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(pairs))),
        )
    }
}

/// Products of half floats on a CPU that can convert them but not multiply them.
///
/// # Safety
/// As [`Simd::add_half_products`], and the CPU has AVX-512 F.
#[inline(always)]
unsafe fn widened_products<const R: usize>(
    (a, stride): (*const HalfFloat, usize),
    panel: *const HalfFloat,
    steps: usize,
    sums: &mut [[__m512; 2]; R],
) {
    // SAFETY: as the caller promises.
    unsafe {
        for step in 0..steps {
            for side in 0..2 {
                let (even, odd) = widen_pairs(_mm512_loadu_si512(panel.add(step * 64 + side * 32).cast()));
                for (row, sum) in sums.iter_mut().enumerate() {
                    let pair = a.add(row * stride + 2 * step);
                    sum[side] = _mm512_fmadd_ps(_mm512_set1_ps((*pair).to_f32()), even, sum[side]);
                    sum[side] = _mm512_fmadd_ps(_mm512_set1_ps((*pair.add(1)).to_f32()), odd, sum[side]);
                }
            }
        }
    }
}
