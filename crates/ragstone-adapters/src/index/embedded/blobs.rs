//! Vectors as bytes in a row, little-endian.

use ragstone_core::rank::{SparseVector, TermId};

use crate::sqlite::SqliteError;

/// Encodes a dense vector: its components (f32).
pub fn encode_dense(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}

/// Decodes a dense vector of `dimensions` components into `vector`.
pub fn decode_dense(bytes: &[u8], dimensions: usize, vector: &mut Vec<f32>) -> Result<(), SqliteError> {
    let (components, rest) = bytes.as_chunks::<4>();
    if components.len() != dimensions || !rest.is_empty() {
        return Err(damaged_vector("vector", bytes));
    }
    vector.clear();
    vector.extend(components.iter().map(|component| f32::from_le_bytes(*component)));
    Ok(())
}

/// Encodes a sparse vector: the number of single terms (u32), then term id (u32) and weight (f32) of each, then of
/// each pair.
pub fn encode_sparse(lexical: &SparseVector) -> Vec<u8> {
    let all = lexical.unigrams.iter().chain(&lexical.bigrams);
    let mut bytes = Vec::with_capacity(4 + 8 * (lexical.unigrams.len() + lexical.bigrams.len()));
    bytes.extend((lexical.unigrams.len() as u32).to_le_bytes());
    for (term, weight) in all {
        bytes.extend(term.0.to_le_bytes());
        bytes.extend(weight.to_le_bytes());
    }
    bytes
}

/// Terms with their weights, decoded lazily.
pub type DecodedTerms<'a> = std::iter::Map<std::slice::Iter<'a, [u8; 8]>, fn(&[u8; 8]) -> (TermId, f32)>;

/// Decodes the single terms and the pairs of a sparse vector.
pub fn decode_sparse(bytes: &[u8]) -> Result<(DecodedTerms<'_>, DecodedTerms<'_>), SqliteError> {
    let parts = bytes.split_first_chunk().and_then(|(count, rest)| {
        let (terms, left) = rest.as_chunks::<8>();
        let parts = terms.split_at_checked(u32::from_le_bytes(*count) as usize)?;
        left.is_empty().then_some(parts)
    });
    let (unigrams, bigrams) = parts.ok_or_else(|| damaged_vector("sparse vector", bytes))?;
    Ok((unigrams.iter().map(decode_term), bigrams.iter().map(decode_term)))
}

fn decode_term([a, b, c, d, e, f, g, h]: &[u8; 8]) -> (TermId, f32) {
    let term = TermId(u32::from_le_bytes([*a, *b, *c, *d]));
    (term, f32::from_le_bytes([*e, *f, *g, *h]))
}

fn damaged_vector(what: &str, bytes: &[u8]) -> SqliteError {
    SqliteError::Damaged(format!("{what}: {} bytes", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_as_they_were_written() {
        let sparse = SparseVector {
            unigrams: vec![(TermId(7), 0.5), (TermId(u32::MAX), -1.5)],
            bigrams: vec![(TermId(1), 3.0)],
        };
        let bytes = encode_sparse(&sparse);
        let (unigrams, bigrams) = decode_sparse(&bytes).unwrap();
        assert_eq!(unigrams.collect::<Vec<_>>(), sparse.unigrams);
        assert_eq!(bigrams.collect::<Vec<_>>(), sparse.bigrams);
        for damaged in [&bytes[..3], &bytes[..bytes.len() - 1], &[9, 0, 0, 0]] {
            assert!(decode_sparse(damaged).is_err(), "{damaged:?}");
        }

        let mut read = Vec::new();
        let bytes = encode_dense(&[1.0, -0.25]);
        decode_dense(&bytes, 2, &mut read).unwrap();
        assert_eq!(read, [1.0, -0.25]);
        assert!(decode_dense(&bytes, 3, &mut read).is_err());
        assert!(decode_dense(&bytes[1..], 2, &mut read).is_err());
    }
}
