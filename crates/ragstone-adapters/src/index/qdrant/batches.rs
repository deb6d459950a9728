//! Points on their way to the server: checked, and cut into requests it takes.
//!
//! Invariant: a batch holds at least one point, however large that is.

use ragstone_core::seam::index::{IndexError, IndexSpec, Point};

use super::error::mismatch;

/// Most points of one request that stores.
const MAX_POINTS: usize = 256;
/// Most bytes of one request that stores, about; Qdrant takes 32 MiB.
const MAX_BYTES: usize = 8 << 20;

/// Refuses a vector of another length than the collection has.
pub(super) fn check_length(spec: &IndexSpec, vector: &[f32]) -> Result<(), IndexError> {
    match spec.dimensions {
        Some(wanted) if wanted == vector.len() => Ok(()),
        wanted => Err(mismatch(format!(
            "it holds vectors of {} components, not of {}",
            wanted.unwrap_or(0),
            vector.len()
        ))),
    }
}

/// Refuses points that the collection cannot hold.
pub(super) fn check_fit(spec: &IndexSpec, points: &[Point]) -> Result<(), IndexError> {
    for vector in points.iter().filter_map(|point| point.dense.as_deref()) {
        check_length(spec, vector)?;
        if !vector.iter().all(|component| component.is_finite()) {
            return Err(mismatch("a vector has a component that is not finite"));
        }
    }
    Ok(())
}

/// About how many bytes the point takes on the wire.
fn size(point: &Point) -> usize {
    let terms = point.lexical.unigrams.len() + point.lexical.bigrams.len();
    let vectors = 4 * point.dense.as_ref().map_or(0, Vec::len) + 8 * terms;
    // Base64 makes four bytes of three; ACL and fields stand there twice.
    let tokens = 4 * point.tokens.as_ref().map_or(0, Vec::len) / 3;
    let readers: usize = point
        .acl
        .sets
        .iter()
        .flatten()
        .map(|reader| reader.as_str().len())
        .sum();
    let fields: usize = point
        .fields
        .iter()
        .map(|(key, value)| key.len() + value.to_string().len())
        .sum();
    vectors + tokens + point.chunk.text.len() + 2 * (readers + fields)
}

/// Runs of points that fit into one request each.
pub(super) fn batches(points: &[Point]) -> Vec<&[Point]> {
    let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (n, point) in points.iter().enumerate() {
        let more = size(point);
        if n > start && (n - start == MAX_POINTS || bytes + more > MAX_BYTES) {
            batches.push(&points[start..n]);
            (start, bytes) = (n, 0);
        }
        bytes += more;
    }
    if start < points.len() {
        batches.push(&points[start..]);
    }
    batches
}
