//! Rotates the frame of a page so that most of its text runs left to right.
//!
//! A landscape table on a portrait page is drawn rotated; ordering and joining assume horizontal lines.

use xberg_native_pdf::layout::TextSpan;

/// Converts the boxes into the frame of the most common rotation and returns it in degrees; text in other rotations is
/// moved to the end.
pub(super) fn rotate_upright(spans: &mut [TextSpan]) -> i32 {
    if spans.iter().all(|span| span.rotation_degrees == 0.0) {
        return 0;
    }
    let main = main_rotation(spans);
    let (sine, cosine) = (main as f32).to_radians().sin_cos();
    for span in spans.iter_mut() {
        let (x, y) = (span.bbox.x, span.bbox.y);
        span.bbox.x = x * cosine + y * sine;
        span.bbox.y = y * cosine - x * sine;
    }
    if main != 0 {
        // Rows of the rotated page; within a row, the same order as that of the engine.
        spans.sort_by(|a, b| b.bbox.y.total_cmp(&a.bbox.y).then(a.bbox.x.total_cmp(&b.bbox.x)));
    }
    spans.sort_by_key(|span| span_rotation(span) != main);
    main
}

/// Rotation in whole degrees, to be compared for equality only.
pub(super) fn span_rotation(span: &TextSpan) -> i32 {
    span.rotation_degrees.round() as i32
}

fn main_rotation(spans: &[TextSpan]) -> i32 {
    let mut weights: Vec<(i32, usize)> = Vec::new();
    for span in spans {
        let degrees = span_rotation(span);
        match weights.iter_mut().find(|(seen, _)| *seen == degrees) {
            Some((_, weight)) => *weight += span.text.len(),
            None => weights.push((degrees, span.text.len())),
        }
    }
    weights
        .iter()
        .max_by_key(|(_, weight)| *weight)
        .map_or(0, |(degrees, _)| *degrees)
}
