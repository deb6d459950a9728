//! A fixed rotation that spreads a vector evenly over its components.
//!
//! Invariant: the rotation is orthogonal and the same in every process, so the dot product of two rotated vectors is
//! that of the vectors. Each round flips signs and applies Walsh-Hadamard transforms to the first and to the last
//! components, as many as the greatest power of two (the "Kac walk" of the RaBitQ library).

/// Number of rounds; one round would leave traces of the components' order.
const ROUNDS: usize = 2;
/// Seed of the pseudo-random signs.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The rotation of vectors of one length.
#[derive(Debug)]
pub struct VectorRotation {
    /// A sign for each component of each round.
    signs: Vec<f32>,
    width: usize,
}

impl VectorRotation {
    /// A rotation for `dimensions` components; the rotated vector's length is the next multiple of `multiple`.
    pub fn new(dimensions: usize, multiple: usize) -> Self {
        let width = dimensions.next_multiple_of(multiple);
        let mut state = SEED;
        let mut sign = || {
            // Pseudo-random generator: SplitMix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(SEED);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            if (mixed ^ (mixed >> 31)) & 1 == 0 { 1.0 } else { -1.0 }
        };
        Self {
            signs: (0..ROUNDS * width).map(|_| sign()).collect(),
            width,
        }
    }

    /// Components of a rotated vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rotates `vector` in place, after padding it with zeros.
    pub fn rotate_vector(&self, vector: &mut Vec<f32>) {
        vector.resize(self.width, 0.0);
        let Some(power) = self.width.checked_ilog2() else {
            return;
        };
        let part = 1 << power;
        for signs in self.signs.chunks_exact(self.width) {
            for (component, sign) in vector.iter_mut().zip(signs) {
                *component *= sign;
            }
            hadamard_transform(&mut vector[..part]);
            if part < self.width {
                let start = self.width - part;
                hadamard_transform(&mut vector[start..]);
            }
        }
    }
}

/// The orthonormal Walsh-Hadamard transform; the length of `values` is a power of two.
fn hadamard_transform(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (left, right) in left.iter_mut().zip(right) {
                (*left, *right) = (*left + *right, *left - *right);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (values.len() as f32).sqrt();
    values.iter_mut().for_each(|value| *value *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_stay_and_single_components_spread() {
        for dimensions in [1, 5, 64, 96, 384, 1_000] {
            let rotation = VectorRotation::new(dimensions, 64);
            let rotated = |vector: &[f32]| {
                let mut vector = vector.to_vec();
                rotation.rotate_vector(&mut vector);
                vector
            };
            let one: Vec<f32> = (0..dimensions).map(|n| if n == 0 { 1.0 } else { 0.0 }).collect();
            let other: Vec<f32> = (0..dimensions).map(|n| (n as f32 + 1.0).sin()).collect();
            let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let (a, b) = (rotated(&one), rotated(&other));
            assert_eq!(a.len(), dimensions.next_multiple_of(64));
            assert!((product(&a, &b) - product(&one, &other)).abs() < 1e-3, "{dimensions}");
            assert!((product(&b, &b) - product(&other, &other)).abs() < 1e-2, "{dimensions}");
            let largest = a.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            assert!(largest < 0.6, "{dimensions}: {largest}");
        }
    }
}
