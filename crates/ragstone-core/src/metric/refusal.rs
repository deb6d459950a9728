//! Answering against refusing: the effect of each evidence threshold on questions with and without an answer.

use serde::Serialize;

/// Effect of one threshold on the questions that the curve was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Questions whose evidence is below this strength are refused.
    pub threshold: f64,
    /// Share of the answerable questions that are answered; `None` if there are none.
    pub answered: Option<f64>,
    /// Share of the unanswerable questions that are refused; `None` if there are none.
    pub refused: Option<f64>,
}

/// The curve over thresholds between neighbouring strengths, and one above all. `reached` are the strengths of
/// questions with an answer, `chance` those of questions without. Ascending; empty if both are empty.
pub fn refusal_curve(reached: &[f64], chance: &[f64]) -> Vec<CurvePoint> {
    let (reached, chance) = (sort_ascending(reached), sort_ascending(chance));
    let mut strengths = sort_ascending(&[&reached[..], &chance[..]].concat());
    strengths.dedup();
    let below = |sorted: &[f64], threshold: f64| sorted.partition_point(|strength| *strength < threshold) as f64;
    let point = |threshold: f64| CurvePoint {
        threshold,
        answered: (!reached.is_empty()).then(|| 1.0 - below(&reached, threshold) / reached.len() as f64),
        refused: (!chance.is_empty()).then(|| below(&chance, threshold) / chance.len() as f64),
    };
    let between = strengths.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
    let ends = [strengths.first().copied(), strengths.last().map(|last| last + 0.01)];
    let mut thresholds: Vec<f64> = between.chain(ends.into_iter().flatten()).collect();
    thresholds.sort_by(f64::total_cmp);
    thresholds.into_iter().map(point).collect()
}

fn sort_ascending(strengths: &[f64]) -> Vec<f64> {
    let mut sorted = strengths.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_from_answering_all_to_refusing_all() {
        let curve = refusal_curve(&[], &[0.2, 0.1]);
        let ends = [curve[0], curve[curve.len() - 1]];
        assert_eq!((ends[0].refused, ends[1].refused), (Some(0.0), Some(1.0)));
        assert_eq!(ends[0].answered, None);
        assert_eq!(curve[1].refused, Some(0.5));
    }
}
