//! Turns the frame of a page so that most of its text runs left to right.
//!
//! A landscape table on a portrait page is drawn rotated; ordering and joining assume horizontal lines.

use xberg_native_pdf::layout::TextSpan;

/// Rewrites the boxes into the frame of the commonest rotation; text in other rotations goes to the end.
pub(super) fn turn(spans: &mut [TextSpan]) {
    if spans.iter().all(|span| span.rotation_degrees == 0.0) {
        return;
    }
    let main = main_rotation(spans);
    let (sine, cosine) = (main as f32).to_radians().sin_cos();
    for span in spans.iter_mut() {
        let (x, y) = (span.bbox.x, span.bbox.y);
        span.bbox.x = x * cosine + y * sine;
        span.bbox.y = y * cosine - x * sine;
    }
    spans.sort_by_key(|span| rotation(span) != main);
}

/// Whole degrees; only their equality counts.
pub(super) fn rotation(span: &TextSpan) -> i32 {
    span.rotation_degrees.round() as i32
}

fn main_rotation(spans: &[TextSpan]) -> i32 {
    let mut weights: Vec<(i32, usize)> = Vec::new();
    for span in spans {
        let degrees = rotation(span);
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
