//! Sums of term statistics, and the binary form of a generation's delta to them.

use std::collections::HashMap;

use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::StatisticsDelta;

use super::value::DamagedValue;

/// Sums of term statistics of one tenant.
#[derive(Debug, Default, PartialEq)]
pub struct TermSums {
    chunks: i64,
    terms: HashMap<u32, i64>,
    pieces: HashMap<u32, i64>,
}

impl TermSums {
    /// Adds a delta, or subtracts it if `sign` is -1.
    pub fn add_delta(&mut self, sign: i64, delta: &StatisticsDelta) {
        self.chunks += sign * delta.chunks as i64;
        for (term, count) in &delta.terms {
            add_count(&mut self.terms, term.0, sign * i64::from(*count));
        }
        for (piece, count) in &delta.pieces {
            add_count(&mut self.pieces, *piece, sign * i64::from(*count));
        }
    }

    /// The sums as a single delta.
    pub fn to_delta(&self) -> StatisticsDelta {
        let counts = |sums: &HashMap<u32, i64>| {
            let mut counts: Vec<_> = sums
                .iter()
                .map(|(id, count)| (*id, clamp_count(*count) as u32))
                .collect();
            counts.sort_unstable();
            counts
        };
        let terms = counts(&self.terms);
        StatisticsDelta {
            chunks: clamp_count(self.chunks),
            terms: terms.into_iter().map(|(id, count)| (TermId(id), count)).collect(),
            pieces: counts(&self.pieces),
        }
    }

    /// Document frequencies of `terms`.
    pub fn term_statistics(&self, terms: &[TermId]) -> TermStatistics {
        let known = |term: &TermId| Some((*term, clamp_count(*self.terms.get(&term.0)?)));
        TermStatistics {
            documents: clamp_count(self.chunks),
            df: terms.iter().filter_map(known).collect(),
        }
    }

    /// Document frequency of a wordpiece.
    pub fn piece_frequency(&self, piece: u32) -> u64 {
        self.pieces.get(&piece).map_or(0, |sum| clamp_count(*sum))
    }
}

fn add_count(sums: &mut HashMap<u32, i64>, id: u32, count: i64) {
    let sum = sums.entry(id).or_default();
    *sum += count;
    if *sum == 0 {
        sums.remove(&id);
    }
}

/// Clamps at zero: a sum may be negative for a moment when two commits are applied in the other order.
fn clamp_count(sum: i64) -> u64 {
    sum.max(0).unsigned_abs()
}

/// Encodes a delta, little-endian: chunks (u64), terms (u32), their ids and counts (u32 each), then the pieces' ids
/// and counts.
pub fn encode_delta(delta: &StatisticsDelta) -> Vec<u8> {
    let pair = |id: u32, count: u32| [id.to_le_bytes(), count.to_le_bytes()].concat();
    let mut bytes = Vec::with_capacity(12 + 8 * (delta.terms.len() + delta.pieces.len()));
    bytes.extend(delta.chunks.to_le_bytes());
    bytes.extend((delta.terms.len() as u32).to_le_bytes());
    bytes.extend(delta.terms.iter().flat_map(|(term, count)| pair(term.0, *count)));
    bytes.extend(delta.pieces.iter().flat_map(|(piece, count)| pair(*piece, *count)));
    bytes
}

/// Decodes a delta that [`encode_delta`] wrote.
pub fn decode_delta(bytes: &[u8]) -> Result<StatisticsDelta, DamagedValue> {
    let read = || {
        let (chunks, rest) = bytes.split_first_chunk()?;
        let (terms, rest) = rest.split_first_chunk()?;
        let (pairs, rest) = rest.as_chunks::<8>();
        let terms = u32::from_le_bytes(*terms) as usize;
        (rest.is_empty() && terms <= pairs.len()).then_some(())?;
        let number = |half: &[u8]| half.iter().rev().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let pair = |pair: &[u8; 8]| (number(&pair[..4]), number(&pair[4..]));
        let (terms, pieces) = pairs.split_at(terms);
        let term = |(id, count)| (TermId(id), count);
        Some(StatisticsDelta {
            chunks: u64::from_le_bytes(*chunks),
            terms: terms.iter().map(pair).map(term).collect(),
            pieces: pieces.iter().map(pair).collect(),
        })
    };
    read().ok_or_else(|| DamagedValue("statistics of a generation".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_reads_back_and_a_cut_one_does_not() {
        let delta = StatisticsDelta {
            chunks: 3,
            terms: vec![(TermId(1), 2), (TermId(u32::MAX), 3)],
            pieces: vec![(7, 1)],
        };
        let bytes = encode_delta(&delta);
        assert_eq!(decode_delta(&bytes).unwrap(), delta);
        for end in [0, 4, 11, 13, 20, bytes.len() - 1] {
            assert!(decode_delta(&bytes[..end]).is_err(), "{end}");
        }
    }
}
