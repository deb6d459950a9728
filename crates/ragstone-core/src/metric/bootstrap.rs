//! Bootstrap confidence intervals over queries: of a mean, and of the difference of two systems on the same queries.

/// Number of resamples that the interval's ends are read from.
pub const RESAMPLES: usize = 10_000;
/// Share of the resamples that lies inside the interval.
pub const CONFIDENCE: f64 = 0.95;

/// A mean with the ends of its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfidenceInterval {
    /// Mean of the original sample.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl ConfidenceInterval {
    /// Whether zero lies outside the interval: a difference is then significant.
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Percentile bootstrap interval of the mean at [`CONFIDENCE`]. NaN values (no score) are left out; `None` if no value
/// is left. Equal values and seed give equal ends.
pub fn mean_interval(values: &[f64], seed: u64) -> Option<ConfidenceInterval> {
    let values: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    if values.is_empty() {
        return None;
    }
    let mut random = SplitMix(seed);
    let count = values.len() as f64;
    let mut resample = || {
        (0..values.len())
            .map(|_| values[random.next_below(values.len())])
            .sum::<f64>()
            / count
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    means.sort_unstable_by(f64::total_cmp);
    let outside = ((1.0 - CONFIDENCE) / 2.0 * RESAMPLES as f64).round() as usize;
    Some(ConfidenceInterval {
        mean: values.iter().sum::<f64>() / count,
        low: means[outside],
        high: means[RESAMPLES - 1 - outside],
    })
}

/// Interval of the mean of `new − old` over pairs of scores of the same query. Pairs with a NaN are left out.
pub fn paired_difference(pairs: impl IntoIterator<Item = (f64, f64)>, seed: u64) -> Option<ConfidenceInterval> {
    let differences: Vec<f64> = pairs.into_iter().map(|(old, new)| new - old).collect();
    mean_interval(&differences, seed)
}

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for resampling, and identical on every platform.
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; the bias of the multiplication is below bound/2⁶⁴.
    pub(super) fn next_below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_gives_the_published_sequence() {
        let mut random = SplitMix(1_234_567);
        assert_eq!(
            [random.next(), random.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn interval_has_the_width_of_the_standard_error() {
        let values: Vec<f64> = (0..400).map(|value| f64::from(value % 2)).collect();
        let interval = mean_interval(&values, 7).unwrap();
        assert_eq!(interval.mean, 0.5);
        // The normal approximation: 1.96 × 0.5/√400.
        assert!(
            (interval.high - 0.549).abs() < 0.005 && (interval.low - 0.451).abs() < 0.005,
            "{interval:?}"
        );
        assert_eq!(mean_interval(&values, 7).unwrap(), interval);
    }

    #[test]
    fn pairs_cancel_what_queries_have_in_common() {
        let queries = (0..100).map(f64::from);
        let better = paired_difference(queries.clone().map(|score| (score, score + 1.0)), 7).unwrap();
        assert_eq!((better.low, better.high, better.excludes_zero()), (1.0, 1.0, true));
        let same = paired_difference(queries.map(|score| (score, score + 1.0 - 2.0 * (score % 2.0))), 7).unwrap();
        assert!(!same.excludes_zero() && same.mean == 0.0);
    }

    #[test]
    fn unscored_values_do_not_count() {
        assert_eq!(
            mean_interval(&[f64::NAN, 2.0], 7).unwrap(),
            ConfidenceInterval {
                mean: 2.0,
                low: 2.0,
                high: 2.0
            }
        );
        assert_eq!(mean_interval(&[], 7), None);
        assert_eq!(paired_difference([(1.0, f64::NAN)], 7), None);
    }
}
