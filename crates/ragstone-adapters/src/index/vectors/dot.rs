//! Dot products of byte vectors: many rows against one query, with the widest registers of the processor.
//!
//! Invariant: every kernel gives the same sums. They are integer sums, so the order of addition does not change them.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Bytes of a line, the size of a cache line.
pub const LINE: usize = 64;

/// Sixty-four components in one cache line. None is -128, because its negative does not fit into a byte.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct VectorLine(pub [i8; LINE]);

impl VectorLine {
    /// A line of zeros, which adds nothing to a product.
    pub const ZERO: Self = Self([0; LINE]);

    /// Number of lines for `components` components; the last line is padded with zeros.
    pub fn count_lines(components: usize) -> usize {
        components.div_ceil(LINE)
    }
}

/// Instruction set of the dot product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DotKernel {
    /// Instructions that every processor has.
    Portable,
    /// AVX2, on x86-64 processors that have it.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with VNNI, which multiplies and adds four bytes at once.
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl DotKernel {
    /// Every kernel that this processor supports, slowest first.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                levels.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                levels.push(Self::Vnni);
            }
        }
        levels
    }

    /// The fastest kernel of this processor.
    pub fn best() -> Self {
        *Self::available().last().expect("portable is always there")
    }

    /// Dot product of each row with `question`; a row has as many lines as the query.
    ///
    /// # Panics
    /// If the number of rows differs from that of `sums`.
    pub fn dot_products(self, rows: &[VectorLine], question: &[VectorLine], sums: &mut [i32]) {
        assert_eq!(rows.len(), question.len() * sums.len(), "whole rows");
        match self {
            Self::Portable => products_portable(rows, question, sums),
            // SAFETY: this variant is made only where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { products_avx2(rows, question, sums) },
            // SAFETY: as for AVX2 above.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { products_vnni(rows, question, sums) },
        }
    }
}

fn products_portable(rows: &[VectorLine], question: &[VectorLine], sums: &mut [i32]) {
    let product = |(a, b): (&i8, &i8)| i32::from(*a) * i32::from(*b);
    let line = |(row, question): (&VectorLine, &VectorLine)| row.0.iter().zip(&question.0).map(product).sum::<i32>();
    for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(question.len().max(1))) {
        *sum = row.iter().zip(question).map(line).sum();
    }
}

/// Rows processed side by side: their sums do not depend on each other, and a line of the query is loaded once for
/// all.
#[cfg(target_arch = "x86_64")]
const SIDE_BY_SIDE: usize = 4;

/// Passes rows to a kernel for several rows and the remainder to the same kernel for one row.
#[cfg(target_arch = "x86_64")]
macro_rules! row_by_row {
    ($kernel:ident, $rows:ident, $question:ident, $sums:ident) => {{
        let lines = $question.len();
        let (groups, rest) = $sums.as_chunks_mut::<SIDE_BY_SIDE>();
        let (many, few) = $rows.split_at(groups.len() * SIDE_BY_SIDE * lines);
        for (sums, rows) in groups.iter_mut().zip(many.chunks_exact((SIDE_BY_SIDE * lines).max(1))) {
            *sums = $kernel::<SIDE_BY_SIDE>(rows, $question);
        }
        for (sum, row) in rest.iter_mut().zip(few.chunks_exact(lines.max(1))) {
            [*sum] = $kernel::<1>(row, $question);
        }
    }};
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn products_vnni(rows: &[VectorLine], question: &[VectorLine], sums: &mut [i32]) {
    row_by_row!(vnni_rows, rows, question, sums);
}

/// The instruction takes one operand as unsigned, so 128 is added to the rows and its product subtracted from the
/// sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn vnni_rows<const R: usize>(rows: &[VectorLine], question: &[VectorLine]) -> [i32; R] {
    assert_eq!(rows.len(), R * question.len());
    // Flipping the sign bit adds 128.
    let flip = _mm512_set1_epi8(-128);
    let mut sums = [_mm512_setzero_si512(); R];
    let mut surplus = _mm512_setzero_si512();
    for (at, q) in question.iter().enumerate() {
        let q = load_512(q);
        surplus = _mm512_dpbusd_epi32(surplus, flip, q);
        for (row, sum) in sums.iter_mut().enumerate() {
            let line = load_512(&rows[row * question.len() + at]);
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(line, flip), q);
        }
    }
    sums.map(|sum| _mm512_reduce_add_epi32(_mm512_sub_epi32(sum, surplus)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
fn load_512(line: &VectorLine) -> __m512i {
    // SAFETY: a line has 64 bytes and is aligned to as many.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn products_avx2(rows: &[VectorLine], question: &[VectorLine], sums: &mut [i32]) {
    row_by_row!(avx2_rows, rows, question, sums);
}

/// The instruction takes one operand as unsigned, so the query's signs are moved to the rows. Two products of bytes
/// are at most 2 * 127 * 127, which fits into 16 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn avx2_rows<const R: usize>(rows: &[VectorLine], question: &[VectorLine]) -> [i32; R] {
    assert_eq!(rows.len(), R * question.len());
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); R];
    for (at, q) in question.iter().enumerate() {
        for half in 0..2 {
            let q = load_256(q, half);
            let magnitude = _mm256_abs_epi8(q);
            for (row, sum) in sums.iter_mut().enumerate() {
                let line = load_256(&rows[row * question.len() + at], half);
                let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(line, q));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    sums.map(|sum| {
        let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b1110>(sum));
        _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32::<0b01>(sum)))
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn load_256(line: &VectorLine, half: usize) -> __m256i {
    let (halves, _) = line.0.as_chunks::<32>();
    // SAFETY: half a line has 32 bytes and is aligned to as many.
    unsafe { _mm256_load_si256(halves[half].as_ptr().cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_sums_as_plain_code_does() {
        let mut state = 1u32;
        let mut byte = |extreme: bool| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match extreme {
                true => [-127, 127][(state >> 31) as usize],
                false => ((state >> 24) as u8 as i8).max(-127),
            }
        };
        for (lines, rows, extreme) in [
            (1, 1, false),
            (6, 64, false),
            (6, 7, true),
            (24, 5, true),
            (0, 3, false),
        ] {
            let mut line = || VectorLine(std::array::from_fn(|_| byte(extreme)));
            let question: Vec<VectorLine> = (0..lines).map(|_| line()).collect();
            let table: Vec<VectorLine> = (0..lines * rows).map(|_| line()).collect();
            let expected: Vec<i32> = (0..rows)
                .map(|row| {
                    let products = (0..lines * LINE).map(|at| {
                        let (line, byte) = (at / LINE, at % LINE);
                        i32::from(table[row * lines + line].0[byte]) * i32::from(question[line].0[byte])
                    });
                    products.sum()
                })
                .collect();
            for level in DotKernel::available() {
                let mut sums = vec![0; rows];
                level.dot_products(&table, &question, &mut sums);
                assert_eq!(sums, expected, "{level:?}, {rows} rows of {lines} lines");
            }
        }
    }
}
