//! What the tests of this folder share: reproducible numbers, comparison, the exact error function.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::embed::weights::{FetchOptions, Manifest, ensure_model};

/// Reproducible numbers in -1..1 (a linear congruential generator with Knuth's MMIX constants).
pub(super) struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Fails, naming the first difference, unless both are equal within `tolerance`.
#[track_caller]
pub(super) fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: length");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= tolerance,
            "{what}: value {at} is {got}, expected {expected}"
        );
    }
}

/// The error function in double precision, by the series of equal signs (Abramowitz and Stegun 7.1.6).
pub(super) fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..300 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI
}

/// Cosine of two vectors.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}

/// The folder of all-MiniLM-L6-v2: `RAGSTONE_MODEL_DIR` (a model, or a folder of models) or the user's cache, filled by
/// our own fetch where it is empty. `None`, after a line that says how to get it, if it cannot be had.
pub(super) fn model_directory() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_model).as_deref()
}

fn find_model() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the machine keeps its models is the environment's to say"
    )]
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or(variable("HOME").map(|home| home.join(".cache")));
    let models = variable("RAGSTONE_MODEL_DIR").or_else(|| Some(cache()?.join("ragstone/models")))?;
    if models.join("modules.json").is_file() {
        return Some(models);
    }
    let options = FetchOptions {
        manifest: Manifest::all_minilm_l6_v2(),
        models,
        given: None,
        hub: None,
        python: Some("python3".into()),
        offline: variable("RAGSTONE_OFFLINE").is_some_and(|value| value.as_os_str() == "1"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(ensure_model(&options, &|_| {}));
    found
        .inspect_err(|error| eprintln!("skipped: tests with the real model, {error}"))
        .ok()
}
