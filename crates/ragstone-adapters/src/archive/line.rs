//! One chunk as a line of JSON.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ragstone_core::document::Chunk;
use ragstone_core::rank::{SparseVector, TermId};
use ragstone_core::seam::portable::ExportedChunk;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct ChunkLine {
    #[serde(flatten)]
    chunk: Chunk,
    gate: f32,
    /// Base64 of little-endian 32-bit floats.
    dense: Option<String>,
    /// Base64 of pairs of 32 bits each: term id and weight.
    unigrams: String,
    bigrams: String,
    tokens: Option<String>,
}

/// Encodes a chunk as a line, with its newline.
pub fn encode_line(chunk: &ExportedChunk) -> io::Result<Vec<u8>> {
    let dense = |vector: &Vec<f32>| {
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        STANDARD.encode(bytes)
    };
    let line = ChunkLine {
        chunk: chunk.chunk.clone(),
        gate: chunk.gate,
        dense: chunk.dense.as_ref().map(dense),
        unigrams: encode_terms(&chunk.lexical.unigrams),
        bigrams: encode_terms(&chunk.lexical.bigrams),
        tokens: chunk.tokens.as_ref().map(|tokens| STANDARD.encode(tokens)),
    };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    Ok(line)
}

/// Decodes the line of a chunk.
pub fn decode_line(line: &[u8]) -> io::Result<ExportedChunk> {
    let line: ChunkLine = serde_json::from_slice(line)?;
    let bytes = |text: &String| STANDARD.decode(text).map_err(|_| malformed_chunk("base64"));
    let dense = line.dense.as_ref().map(|text| {
        let bytes = bytes(text)?;
        let (numbers, []) = bytes.as_chunks::<4>() else {
            return Err(malformed_chunk("a vector"));
        };
        Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    });
    Ok(ExportedChunk {
        chunk: line.chunk,
        dense: dense.transpose()?,
        lexical: SparseVector {
            unigrams: decode_terms(&bytes(&line.unigrams)?)?,
            bigrams: decode_terms(&bytes(&line.bigrams)?)?,
        },
        gate: line.gate,
        tokens: line.tokens.as_ref().map(bytes).transpose()?,
    })
}

fn encode_terms(terms: &[(TermId, f32)]) -> String {
    let pair = |(term, weight): &(TermId, f32)| [term.0.to_le_bytes(), weight.to_le_bytes()].concat();
    STANDARD.encode(terms.iter().flat_map(pair).collect::<Vec<u8>>())
}

fn decode_terms(bytes: &[u8]) -> io::Result<Vec<(TermId, f32)>> {
    let (pairs, []) = bytes.as_chunks::<8>() else {
        return Err(malformed_chunk("terms"));
    };
    let read = |[a, b, c, d, e, f, g, h]: &[u8; 8]| {
        let term = TermId(u32::from_le_bytes([*a, *b, *c, *d]));
        (term, f32::from_le_bytes([*e, *f, *g, *h]))
    };
    Ok(pairs.iter().map(read).collect())
}

fn malformed_chunk(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a chunk has {what} of another form"),
    )
}
