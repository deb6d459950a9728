//! Splits points into requests that the server accepts.
//!
//! Invariant: a batch contains at least one point, however large that is.

use ragstone_core::seam::index::IndexPoint;

/// Most points of one upsert request.
const MAX_POINTS: usize = 256;
/// Estimated bytes of one upsert request, at most; Qdrant accepts 32 MiB.
const MAX_BYTES: usize = 8 << 20;

/// Estimated bytes of the point in a request.
fn estimate_bytes(point: &IndexPoint) -> usize {
    let terms = point.lexical.unigrams.len() + point.lexical.bigrams.len();
    let vectors = 4 * point.dense.as_ref().map_or(0, Vec::len) + 8 * terms;
    // Base64 makes four bytes of three; ACL and fields are sent twice.
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
pub(super) fn split_into_batches(points: &[IndexPoint]) -> Vec<&[IndexPoint]> {
    let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (n, point) in points.iter().enumerate() {
        let more = estimate_bytes(point);
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
