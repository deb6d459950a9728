//! Dense vectors in memory: a byte a component to scan, two more to be exact.
//!
//! Invariant: with scale `s`, a component is `s * (coarse + fine / FINE)` to within `s / (2 * FINE)`, about 1e-8 for
//! a unit vector, which is a float's own precision. The coarse part alone is wrong by no more than
//! [`Vectors::error`] says, so whoever keeps all candidates within that bound loses none: the scan is exact, not
//! approximate.

use simsimd::SpatialSimilarity;

/// Steps of the fine part within one step of the coarse part.
const FINE: f32 = 65_534.0;
/// Largest coarse component.
const COARSE: f32 = 127.0;

/// Vectors of one length; a point without one takes its place with zeros.
#[derive(Debug, Default)]
pub struct Vectors {
    dimensions: usize,
    coarse: Vec<i8>,
    fine: Vec<i16>,
    scale: Vec<f32>,
    /// Length of what the coarse part leaves out; negative where there is no vector.
    rest: Vec<f32>,
    /// Length of the coarse part.
    length: Vec<f32>,
}

/// A question's vector, ready to be compared.
#[derive(Debug)]
pub struct QueryVector {
    exact: Vec<f32>,
    length: f32,
    coarse: Vec<i8>,
    scale: f32,
    rest: f32,
}

impl QueryVector {
    /// Prepares `vector`.
    pub fn new(vector: &[f32]) -> Self {
        let scale = scale_of(vector);
        let coarse: Vec<i8> = vector.iter().map(|x| (x / scale).round() as i8).collect();
        let left = |(x, c): (&f32, &i8)| x - f32::from(*c) * scale;
        Self {
            exact: vector.to_vec(),
            length: length(vector.iter().copied()),
            rest: length(vector.iter().zip(&coarse).map(left)),
            coarse,
            scale,
        }
    }
}

impl Vectors {
    /// Room for `points` vectors of `dimensions` components.
    pub fn with_capacity(dimensions: usize, points: usize) -> Self {
        Self {
            dimensions,
            coarse: Vec::with_capacity(dimensions * points),
            fine: Vec::with_capacity(dimensions * points),
            scale: Vec::with_capacity(points),
            rest: Vec::with_capacity(points),
            length: Vec::with_capacity(points),
        }
    }

    /// Appends a vector of the right length, or the place of none.
    pub fn push(&mut self, vector: Option<&[f32]>) {
        let Some(vector) = vector else {
            self.coarse.resize(self.coarse.len() + self.dimensions, 0);
            self.fine.resize(self.fine.len() + self.dimensions, 0);
            self.scale.push(0.0);
            self.rest.push(-1.0);
            self.length.push(0.0);
            return;
        };
        debug_assert_eq!(vector.len(), self.dimensions);
        let scale = scale_of(vector);
        let inverse = 1.0 / scale;
        let (mut rest, mut length) = (0.0, 0.0);
        for component in vector {
            let steps = component * inverse;
            let coarse = steps.round();
            let left = steps - coarse;
            rest += left * left;
            length += coarse * coarse;
            self.coarse.push(coarse as i8);
            self.fine.push((left * FINE).round() as i16);
        }
        self.scale.push(scale);
        self.rest.push(rest.sqrt() * scale);
        self.length.push(length.sqrt() * scale);
    }

    /// Appends the vector at `slot` of `other`.
    pub fn push_from(&mut self, other: &Vectors, slot: usize) {
        let span = slot * self.dimensions..(slot + 1) * self.dimensions;
        self.coarse.extend_from_slice(&other.coarse[span.clone()]);
        self.fine.extend_from_slice(&other.fine[span]);
        self.scale.push(other.scale[slot]);
        self.rest.push(other.rest[slot]);
        self.length.push(other.length[slot]);
    }

    /// Components of a vector; 0 in a lexical index.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Whether there is a vector at `slot`.
    pub fn has(&self, slot: usize) -> bool {
        self.dimensions > 0 && self.rest[slot] >= 0.0
    }

    /// The product of the coarse parts.
    pub fn estimate(&self, slot: usize, query: &QueryVector) -> f32 {
        let coarse = &self.coarse[slot * self.dimensions..(slot + 1) * self.dimensions];
        let product = i8::dot(coarse, &query.coarse).expect("both have the spec's length");
        product as f32 * self.scale[slot] * query.scale
    }

    /// How far [`Self::estimate`] may be from the truth: by Cauchy and Schwarz, `q(x - x') + (q - q')x'`.
    pub fn error(&self, slot: usize, query: &QueryVector) -> f32 {
        query.length * self.rest[slot] + query.rest * self.length[slot]
    }

    /// The dot product of what was stored with the question.
    pub fn exact(&self, slot: usize, query: &QueryVector) -> f64 {
        let span = slot * self.dimensions..(slot + 1) * self.dimensions;
        let (coarse, fine) = products(&self.coarse[span.clone()], &self.fine[span], &query.exact);
        f64::from(self.scale[slot]) * (coarse + fine / f64::from(FINE))
    }
}

/// The products of both parts with the question, with the widest registers there are.
fn products(coarse: &[i8], fine: &[i16], query: &[f32]) -> (f64, f64) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has what the function was compiled for.
        return unsafe { products_avx2(coarse, fine, query) };
    }
    products_portable(coarse, fine, query)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn products_avx2(coarse: &[i8], fine: &[i16], query: &[f32]) -> (f64, f64) {
    products_portable(coarse, fine, query)
}

#[inline(always)]
fn products_portable(coarse: &[i8], fine: &[i16], query: &[f32]) -> (f64, f64) {
    let (mut c_sums, mut f_sums) = ([0f32; LANES], [0f32; LANES]);
    let (c_lanes, c_rest) = coarse.as_chunks::<LANES>();
    let (f_lanes, f_rest) = fine.as_chunks::<LANES>();
    let (q_lanes, q_rest) = query.as_chunks::<LANES>();
    for ((c, f), q) in c_lanes.iter().zip(f_lanes).zip(q_lanes) {
        for lane in 0..LANES {
            c_sums[lane] += f32::from(c[lane]) * q[lane];
            f_sums[lane] += f32::from(f[lane]) * q[lane];
        }
    }
    for (lane, ((c, f), q)) in c_rest.iter().zip(f_rest).zip(q_rest).enumerate() {
        c_sums[lane] += f32::from(*c) * q;
        f_sums[lane] += f32::from(*f) * q;
    }
    let sum = |lanes: [f32; LANES]| lanes.iter().copied().map(f64::from).sum::<f64>();
    (sum(c_sums), sum(f_sums))
}

/// Partial sums, so that the compiler can use wide registers and none grows large enough to lose digits.
const LANES: usize = 16;

/// The step with which the largest component is the largest byte.
fn scale_of(vector: &[f32]) -> f32 {
    let largest = vector.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    (largest / COARSE).max(f32::MIN_POSITIVE)
}

fn length(components: impl Iterator<Item = f32>) -> f32 {
    components.map(|x| x * x).sum::<f32>().sqrt()
}
