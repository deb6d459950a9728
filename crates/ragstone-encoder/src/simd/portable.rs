//! Portable implementation over four lanes, which the compiler maps to the target's baseline vectors (SSE2, NEON).

use super::{Bf16, Simd};

/// Plain Rust, which runs on every CPU.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct PortableSimd;

type FourLanes = [f32; 4];

#[inline(always)]
fn zip_lanes(a: FourLanes, b: FourLanes, op: impl Fn(f32, f32) -> f32) -> FourLanes {
    std::array::from_fn(|lane| op(a[lane], b[lane]))
}

impl Simd for PortableSimd {
    const LANES: usize = 4;
    const TILE_ROWS: usize = 6;
    type FloatVector = FourLanes;
    type PairVector = [u32; 4];

    #[inline(always)]
    fn splat(self, value: f32) -> FourLanes {
        [value; 4]
    }

    #[inline(always)]
    fn add(self, a: FourLanes, b: FourLanes) -> FourLanes {
        zip_lanes(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: FourLanes, b: FourLanes) -> FourLanes {
        zip_lanes(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: FourLanes, b: FourLanes) -> FourLanes {
        zip_lanes(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: FourLanes, b: FourLanes, c: FourLanes) -> FourLanes {
        // `f32::mul_add` is a library call where the target has no such instruction.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
        } else {
            self.add(self.mul(a, b), c)
        }
    }

    #[inline(always)]
    fn max(self, a: FourLanes, b: FourLanes) -> FourLanes {
        zip_lanes(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: FourLanes, b: FourLanes) -> FourLanes {
        zip_lanes(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn round(self, a: FourLanes) -> FourLanes {
        // Adding 1.5 * 2^23 pushes the fraction out of the mantissa.
        const MAGIC: f32 = 12_582_912.0;
        a.map(|value| (value + MAGIC) - MAGIC)
    }

    #[inline(always)]
    fn scale_by_exponent(self, a: FourLanes, n: FourLanes) -> FourLanes {
        zip_lanes(a, n, |a, n| a * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn sum_lanes(self, a: FourLanes) -> f32 {
        (a[0] + a[1]) + (a[2] + a[3])
    }

    #[inline(always)]
    fn max_lane(self, a: FourLanes) -> f32 {
        a[0].max(a[1]).max(a[2].max(a[3]))
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const f32) -> FourLanes {
        // SAFETY: the caller promises four readable floats; arrays of floats are read unaligned.
        unsafe { from.cast::<FourLanes>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_floats(self, to: *mut f32, a: FourLanes) {
        // SAFETY: the caller promises four writable floats.
        unsafe { to.cast::<FourLanes>().write_unaligned(a) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut Bf16, a: FourLanes) {
        // SAFETY: the caller promises four writable brain floats.
        unsafe { to.cast::<[Bf16; 4]>().write_unaligned(a.map(Bf16::round_f32)) }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, from: *const Bf16) -> [u32; 4] {
        // SAFETY: the caller promises eight readable brain floats.
        unsafe { from.cast::<[u32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn splat_pair(self, from: *const Bf16) -> [u32; 4] {
        // SAFETY: the caller promises two readable brain floats.
        [unsafe { from.cast::<u32>().read_unaligned() }; 4]
    }

    #[inline(always)]
    fn dot_pairs(self, a: [u32; 4], b: [u32; 4], acc: FourLanes) -> FourLanes {
        // Which half comes first in memory does not matter as long as both sides agree.
        let low = |pairs: [u32; 4]| pairs.map(|pair| f32::from_bits(pair << 16));
        let high = |pairs: [u32; 4]| pairs.map(|pair| f32::from_bits(pair & 0xffff_0000));
        self.mul_add(high(a), high(b), self.mul_add(low(a), low(b), acc))
    }
}
