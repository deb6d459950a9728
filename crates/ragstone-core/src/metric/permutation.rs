//! Significance of a difference between two systems: sign-flip permutation tests over paired queries, and the
//! correction for testing many metrics at once.

use super::bootstrap::SplitMix;

/// Up to this number of differing pairs, all 2ⁿ assignments of signs are enumerated.
const MAX_EXACT_PAIRS: usize = 14;
/// Number of random assignments that are drawn for more pairs.
const SAMPLED_ASSIGNMENTS: u32 = 10_000;
/// Tolerance within which a sum counts as equal to the observed one.
const ROUNDING: f64 = 1e-9;

/// One-sided p value: the probability that random signs give a sum of `differences` as low as the observed one. Zeros
/// and NaN are ignored; 1 if nothing is left. Equal input and seed give equal results.
pub fn one_sided_p_value(differences: &[f64], seed: u64) -> f64 {
    let says_something = |difference: &f64| *difference != 0.0 && !difference.is_nan();
    let kept: Vec<f64> = differences.iter().copied().filter(says_something).collect();
    let observed = kept.iter().sum::<f64>() + ROUNDING;
    if kept.is_empty() {
        return 1.0;
    }
    if kept.len() <= MAX_EXACT_PAIRS {
        let assignments = 1_u64 << kept.len();
        let low = (0..assignments)
            .filter(|signs| sum_with_flips(&kept, |at| signs >> at & 1 == 1) <= observed)
            .count();
        return low as f64 / assignments as f64;
    }
    let mut random = SplitMix::new(seed);
    let low = (0..SAMPLED_ASSIGNMENTS)
        .filter(|_| sum_with_flips(&kept, |_| random.next_below(2) == 1) <= observed)
        .count();
    (low as f64 + 1.0) / (f64::from(SAMPLED_ASSIGNMENTS) + 1.0)
}

fn sum_with_flips(differences: &[f64], mut flip: impl FnMut(usize) -> bool) -> f64 {
    let sign = |(at, difference): (usize, &f64)| if flip(at) { -difference } else { *difference };
    differences.iter().enumerate().map(sign).sum()
}

/// Which p values are significant if at most the share `rate` of these discoveries may be false (Benjamini and Hochberg
/// 1995, procedure 1).
pub fn benjamini_hochberg(p_values: &[f64], rate: f64) -> Vec<bool> {
    let mut sorted = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let bound = |rank: usize| rate * (rank + 1) as f64 / sorted.len() as f64;
    let last = (0..sorted.len()).rev().find(|rank| sorted[*rank] <= bound(*rank));
    let limit = last.map(|rank| sorted[rank]);
    p_values
        .iter()
        .map(|p| limit.is_some_and(|limit| *p <= limit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pairs_are_counted_out() {
        let check = |differences: &[f64], expected: f64| {
            assert_eq!(one_sided_p_value(differences, 7), expected, "{differences:?}");
        };
        check(&[], 1.0);
        check(&[0.0, 0.0, f64::NAN], 1.0);
        check(&[-1.0; 5], 1.0 / 32.0);
        check(&[-1.0, -1.0, -1.0, -1.0, -1.0, 0.0], 1.0 / 32.0);
        check(&[1.0; 5], 1.0);
        check(&[-1.0, 1.0], 0.75);
    }

    #[test]
    fn many_pairs_are_drawn_the_same_each_time() {
        let worse: Vec<f64> = (0..100).map(|n| if n % 4 == 0 { 0.5 } else { -0.5 }).collect();
        let same: Vec<f64> = (0..100).map(|n| if n % 2 == 0 { 0.5 } else { -0.5 }).collect();
        assert!(one_sided_p_value(&worse, 7) < 0.001);
        assert!((one_sided_p_value(&same, 7) - 0.5).abs() < 0.1);
        assert_eq!(one_sided_p_value(&worse, 7), one_sided_p_value(&worse, 7));
    }

    #[test]
    fn one_of_many_low_values_is_no_discovery() {
        assert_eq!(benjamini_hochberg(&[0.04, 0.5, 0.9], 0.05), [false; 3]);
        assert_eq!(benjamini_hochberg(&[0.04, 0.03, 0.9], 0.1), [true, true, false]);
        assert_eq!(benjamini_hochberg(&[0.03; 4], 0.05), [true; 4]);
        assert!(benjamini_hochberg(&[], 0.05).is_empty());
    }
}
