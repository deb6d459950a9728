//! AVX2 with FMA: eight lanes, sixteen registers.

use std::arch::x86_64::*;

use super::{Bf16, Simd, SimdKernel};

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx2(());

impl Avx2 {
    /// The proof; `None` if this CPU lacks the instructions.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// Runs a kernel compiled for these instructions.
    pub fn run_kernel(self, kernel: impl SimdKernel) {
        #[target_feature(enable = "avx2,fma")]
        fn run_compiled(simd: Avx2, kernel: impl SimdKernel) {
            kernel.run_with(simd);
        }
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { run_compiled(self, kernel) }
    }
}

// SAFETY of every block below: `self` proves the instructions; pointers are as the trait's callers promise.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all of them, given above"
)]
impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    type FloatVector = __m256;
    type PairVector = __m256i;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn scale_by_exponent(self, a: __m256, n: __m256) -> __m256 {
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
    }

    #[inline(always)]
    fn sum_lanes(self, a: __m256) -> f32 {
        to_lanes(a).iter().sum()
    }

    #[inline(always)]
    fn max_lane(self, a: __m256) -> f32 {
        to_lanes(a).into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, a: __m256) {
        unsafe { _mm256_storeu_ps(to, a) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut Bf16, a: __m256) {
        unsafe { to.cast::<[Bf16; 8]>().write_unaligned(to_lanes(a).map(Bf16::round_f32)) }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const Bf16) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn splat_pair(self, from: *const Bf16) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn dot_pairs(self, a: __m256i, b: __m256i, acc: __m256) -> __m256 {
        let low = |pairs| unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)) };
        let high =
            |pairs| unsafe { _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32))) };
        self.mul_add(high(a), high(b), self.mul_add(low(a), low(b), acc))
    }
}

#[inline(always)]
fn to_lanes(a: __m256) -> [f32; 8] {
    // SAFETY: both are 32 bytes in which every bit pattern is a value.
    unsafe { std::mem::transmute(a) }
}
