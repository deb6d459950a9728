//! Token vectors as one bit per dimension, for storage beside a chunk, and MS computed from them.
//!
//! A stored byte string is: version (u8), dimensions (u16), number of pieces (u32), for each piece its span as two
//! variable-length integers (distance from the end of the span before, zigzag; length), then the sign bits of all
//! pieces. Little endian.
//!
//! Invariant: spans are byte ranges in the chunk's text, so that the pieces of one sentence can be selected.

use std::ops::Range;

use thiserror::Error;

use super::late::TokenVectors;

/// First byte of the stored form. A different layout needs a different number.
const VERSION: u8 = 1;
/// Restores the scale of a cosine that was computed with signs: about √(π/2).
const SIGN_SCALE: f64 = 1.25;
/// Question pieces per table: a row of a table is then one cache line of 64 bytes.
const LANES: usize = 16;
const HEADER: usize = 1 + 2 + 4;

/// Sign bits of a chunk's wordpieces, with the spans they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBits {
    dimensions: u16,
    spans: Vec<Range<u32>>,
    bits: Vec<u8>,
}

/// Why stored token bits cannot be read. The chunk then counts as having none; re-indexing creates them again.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenBitsError {
    /// Written by another version of the layout.
    #[error("token bits have version {0}, expected {VERSION}")]
    Version(u8),
    /// Truncated, or longer or shorter than its own counts say.
    #[error("token bits are damaged: {0}")]
    Damaged(&'static str),
}

impl TokenBits {
    /// Signs (bit set = value at least 0) of the pieces for which `keep` is true; of all if it is true for none.
    /// `spans` are byte ranges in the chunk's text, one for each row.
    ///
    /// # Panics
    /// If rows and spans differ in number or a row is longer than 65,535.
    pub fn new(tokens: &TokenVectors, spans: &[Range<u32>], keep: impl Fn(usize) -> bool) -> TokenBits {
        assert_eq!(tokens.len(), spans.len(), "one span for each piece");
        let dimensions = u16::try_from(tokens.dimensions()).expect("encoders have at most some thousand dimensions");
        let keep_all = !(0..spans.len()).any(&keep);
        let mut kept = TokenBits {
            dimensions,
            spans: Vec::new(),
            bits: Vec::new(),
        };
        for (index, row) in tokens.rows().enumerate().filter(|(index, _)| keep_all || keep(*index)) {
            kept.spans.push(spans[index].clone());
            kept.bits.extend(row.chunks(8).map(sign_byte));
        }
        kept
    }

    /// Byte ranges of the stored pieces in the chunk's text.
    pub fn spans(&self) -> &[Range<u32>] {
        &self.spans
    }

    /// Encodes the stored form: about 50 bytes per piece at 384 dimensions.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + 4 * self.spans.len() + self.bits.len());
        bytes.push(VERSION);
        bytes.extend(self.dimensions.to_le_bytes());
        bytes.extend(
            u32::try_from(self.spans.len())
                .expect("a chunk has few pieces")
                .to_le_bytes(),
        );
        let mut end = 0;
        for span in &self.spans {
            let distance = i64::from(span.start) - end;
            write_varint(&mut bytes, ((distance << 1) ^ (distance >> 63)).cast_unsigned());
            write_varint(&mut bytes, u64::from(span.end.saturating_sub(span.start)));
            end = i64::from(span.end);
        }
        bytes.extend(&self.bits);
        bytes
    }

    /// Decodes the stored form.
    ///
    /// # Errors
    /// [`TokenBitsError`] if it has another version or is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<TokenBits, TokenBitsError> {
        let (header, mut rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(TokenBitsError::Damaged("no header"))?;
        let [version, low, high, count @ ..] = *header;
        if version != VERSION {
            return Err(TokenBitsError::Version(version));
        }
        let dimensions = u16::from_le_bytes([low, high]);
        let count = u32::from_le_bytes(count) as usize;
        // A span takes two bytes or more, so a false count cannot ask for memory that the input does not have.
        let mut spans = Vec::with_capacity(count.min(rest.len() / 2));
        let mut end = 0;
        for _ in 0..count {
            let span = read_span(&mut rest, end).ok_or(TokenBitsError::Damaged("a span"))?;
            end = i64::from(span.end);
            spans.push(span);
        }
        if Some(rest.len()) != count.checked_mul(row_stride(dimensions)) {
            return Err(TokenBitsError::Damaged("the length of the bits"));
        }
        Ok(TokenBits {
            dimensions,
            spans,
            bits: rest.to_vec(),
        })
    }

    fn row(&self, index: usize) -> &[u8] {
        let stride = row_stride(self.dimensions);
        &self.bits[index * stride..(index + 1) * stride]
    }
}

/// A question prepared for MS from sign bits: for each byte of dimensions, the sum of ±value is looked up in a table.
#[derive(Clone, Debug)]
pub struct BitQuery {
    dimensions: usize,
    weights: Vec<f64>,
    /// One table for each [`LANES`] pieces; entry `256 × byte position + byte` holds a partial sum for each piece.
    tables: Vec<Vec<[f32; LANES]>>,
}

impl BitQuery {
    /// Builds the tables: 0.8 MB for 16 pieces of 384 dimensions.
    ///
    /// # Panics
    /// If pieces and weights differ in number.
    pub fn new(query: &TokenVectors, weights: &[f64]) -> BitQuery {
        assert_eq!(query.len(), weights.len(), "one weight for each piece");
        let rows: Vec<&[f32]> = query.rows().collect();
        let tables = rows
            .chunks(LANES)
            .map(|pieces| build_table(pieces, query.dimensions()))
            .collect();
        BitQuery {
            dimensions: query.dimensions(),
            weights: weights.to_vec(),
            tables,
        }
    }

    /// MS over all stored pieces of a chunk.
    pub fn maxsim(&self, document: &TokenBits) -> f64 {
        self.maxsim_rows(document, 0..document.spans.len())
    }

    /// MS over some stored pieces, such as those of one sentence. 0 if there are none, or if they come from an encoder
    /// with other dimensions.
    pub fn maxsim_rows(&self, document: &TokenBits, rows: impl Iterator<Item = usize> + Clone) -> f64 {
        if self.dimensions != usize::from(document.dimensions) || rows.clone().next().is_none() {
            return 0.0;
        }
        let best = self
            .tables
            .iter()
            .flat_map(|table| best_sums(table, document, rows.clone()));
        let sum: f64 = self
            .weights
            .iter()
            .zip(best)
            .map(|(weight, best)| weight * f64::from(best))
            .sum();
        SIGN_SCALE / (self.dimensions as f64).sqrt() * sum
    }
}

/// For each piece of the table, its greatest sum over the rows.
fn best_sums(table: &[[f32; LANES]], document: &TokenBits, rows: impl Iterator<Item = usize>) -> [f32; LANES] {
    let mut best = [f32::MIN; LANES];
    for row in rows {
        let mut sums = [0.0; LANES];
        for (entries, &byte) in table.chunks_exact(256).zip(document.row(row)) {
            let entry = &entries[usize::from(byte)];
            for lane in 0..LANES {
                sums[lane] += entry[lane];
            }
        }
        for lane in 0..LANES {
            best[lane] = best[lane].max(sums[lane]);
        }
    }
    best
}

fn build_table(pieces: &[&[f32]], dimensions: usize) -> Vec<[f32; LANES]> {
    let mut table = vec![[0.0; LANES]; 256 * dimensions.div_ceil(8)];
    for (position, entries) in table.chunks_exact_mut(256).enumerate() {
        let mut values = [[0.0; LANES]; 8];
        for (lane, piece) in pieces.iter().enumerate() {
            for (bit, value) in piece[8 * position..].iter().take(8).enumerate() {
                values[bit][lane] = *value;
            }
        }
        fill_table(entries, &values);
    }
    table
}

/// Entry 0 has every sign negative; each other entry differs in its lowest set bit from one that is already filled.
fn fill_table(entries: &mut [[f32; LANES]], values: &[[f32; LANES]; 8]) {
    for lane in 0..LANES {
        entries[0][lane] = -values.iter().map(|value| value[lane]).sum::<f32>();
    }
    for byte in 1..entries.len() {
        let value = &values[byte.trailing_zeros() as usize];
        let without = entries[byte & (byte - 1)];
        for lane in 0..LANES {
            entries[byte][lane] = without[lane] + 2.0 * value[lane];
        }
    }
}

/// Signs of up to eight values: bit set = value at least 0, lowest bit first.
fn sign_byte(values: &[f32]) -> u8 {
    values
        .iter()
        .enumerate()
        .map(|(bit, value)| u8::from(*value >= 0.0) << bit)
        .sum()
}

fn row_stride(dimensions: u16) -> usize {
    usize::from(dimensions).div_ceil(8)
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn read_span(bytes: &mut &[u8], previous_end: i64) -> Option<Range<u32>> {
    let zigzag = read_varint(bytes)?;
    let distance = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
    let start = u32::try_from(previous_end.checked_add(distance)?).ok()?;
    let end = start.checked_add(u32::try_from(read_varint(bytes)?).ok()?)?;
    Some(start..end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
    use super::*;

    fn rows(count: usize, dimensions: usize) -> TokenVectors {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        TokenVectors::normalized(dimensions, (0..count * dimensions).map(|_| next()).collect())
    }

    fn spans(count: u32) -> Vec<Range<u32>> {
        (0..count).map(|piece| 3 * piece..3 * piece + 2).collect()
    }

    /// 1.25 (query · sign)/√d, written down naively.
    fn naive(query: &TokenVectors, weights: &[f64], document: &TokenVectors) -> f64 {
        let sum = |q: &[f32], d: &[f32]| -> f64 {
            q.iter()
                .zip(d)
                .map(|(q, d)| f64::from(if *d >= 0.0 { *q } else { -*q }))
                .sum()
        };
        let best = |q: &[f32]| document.rows().map(|d| sum(q, d)).fold(f64::MIN, f64::max);
        let total: f64 = query.rows().zip(weights).map(|(q, weight)| weight * best(q)).sum();
        1.25 * total / (query.dimensions() as f64).sqrt()
    }

    #[test]
    fn lookups_equal_the_sum_of_signed_values() {
        for (pieces, dimensions) in [(1, 4), (3, 8), (16, 20), (17, 384), (40, 96)] {
            let (query, document) = (rows(pieces, dimensions), rows(50, dimensions));
            let weights: Vec<f64> = (0..pieces).map(|piece| (piece + 1) as f64 / 100.0).collect();
            let bits = TokenBits::new(&document, &spans(50), |_| true);
            let difference = BitQuery::new(&query, &weights).maxsim(&bits) - naive(&query, &weights, &document);
            assert!(difference.abs() < 1e-5, "{pieces} pieces of {dimensions}: {difference}");
        }
    }

    #[test]
    fn nothing_stored_and_other_dimensions_score_zero() {
        let query = BitQuery::new(&rows(2, 8), &[0.5, 0.5]);
        assert_eq!(query.maxsim(&TokenBits::new(&rows(0, 8), &[], |_| true)), 0.0);
        assert_eq!(query.maxsim(&TokenBits::new(&rows(1, 16), &spans(1), |_| true)), 0.0);
        let bits = TokenBits::new(&rows(2, 8), &spans(2), |_| true);
        assert_eq!(query.maxsim_rows(&bits, [].into_iter()), 0.0);
        assert_eq!(BitQuery::new(&rows(0, 8), &[]).maxsim(&bits), 0.0);
    }

    #[test]
    fn unwanted_pieces_are_dropped_unless_all_are() {
        let tokens = rows(4, 8);
        assert_eq!(
            TokenBits::new(&tokens, &spans(4), |piece| piece % 2 == 1).spans(),
            [3..5, 9..11]
        );
        assert_eq!(TokenBits::new(&tokens, &spans(4), |_| false).spans(), spans(4));
    }

    #[test]
    fn bytes_round_trip() {
        let overlapping = [10..20, 10..20, 400..70_000, 5..5];
        for bits in [
            TokenBits::new(&rows(4, 20), &overlapping, |_| true),
            TokenBits::new(&rows(0, 384), &[], |_| true),
        ] {
            assert_eq!(TokenBits::from_bytes(&bits.to_bytes()), Ok(bits));
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let good = TokenBits::new(&rows(3, 16), &spans(3), |_| true).to_bytes();
        for length in 0..good.len() {
            assert!(
                TokenBits::from_bytes(&good[..length]).is_err(),
                "{length} of {} bytes",
                good.len()
            );
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert_eq!(
            TokenBits::from_bytes(&longer),
            Err(TokenBitsError::Damaged("the length of the bits"))
        );
        let mut other = good.clone();
        other[0] = 9;
        assert_eq!(TokenBits::from_bytes(&other), Err(TokenBitsError::Version(9)));
        let mut many = good;
        many[3..7].fill(0xff);
        assert!(TokenBits::from_bytes(&many).is_err());
    }
}
