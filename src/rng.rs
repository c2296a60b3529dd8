//! Counter-based random streams: Philox4x32-10 keyed by the seed, counted by (block, layer, role).
//!
//! Element `i` of a tensor depends on the seed, the layer, the role and `i` alone: not on depth, on other layers, on
//! batch size or on threads. J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use crate::simd::Float;

/// The version of the mapping from (seed, layer, role, index) to numbers.
pub const STREAM_VERSION: u32 = 1;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// Weights of a hidden layer.
    Weight = 0,
    /// Biases of a hidden layer.
    Bias = 1,
    /// The default input samples.
    Input = 2,
    /// The default cotangent at the output.
    Cotangent = 3,
    /// Weights of the readout.
    ReadoutWeight = 4,
    /// Biases of the readout.
    ReadoutBias = 5,
    /// Which rows of the data form the batch.
    Batch = 6,
    /// Directions of a gradient check.
    Direction = 7,
}

/// Added to a role for the stream that carries the low bits of an `f64`, so that both dtypes draw the same numbers.
const LOW_BITS: u32 = 16;

/// One stream of numbers.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    seed: u64,
    layer: u32,
    role: Role,
}

impl Stream {
    /// The stream of a seed, a 0-based hidden layer (0 where the role has none) and a role.
    pub fn new(seed: u64, layer: usize, role: Role) -> Self {
        Self { seed, layer: layer as u32, role }
    }

    fn block(self, index: u64, role: u32) -> [u32; 4] {
        philox([index as u32, (index >> 32) as u32, self.layer, role], [self.seed as u32, (self.seed >> 32) as u32])
    }

    /// Four uniforms in (0, 1), elements `4 block .. 4 block + 4`: 32 random bits for `f32`, 53 for `f64`.
    fn uniforms<F: Float>(self, block: u64) -> [f64; 4] {
        let high = self.block(block, self.role as u32);
        if F::WIDE {
            let low = self.block(block, self.role as u32 + LOW_BITS);
            std::array::from_fn(|i| {
                ((u64::from(high[i]) << 21 | u64::from(low[i] >> 11)) as f64 + 0.5) * 2_f64.powi(-53)
            })
        } else {
            high.map(|word| (f64::from(word) + 0.5) * 2_f64.powi(-32))
        }
    }

    /// Call `each` with `count` uniforms in (0, 1), in order.
    pub fn uniform<F: Float>(self, count: usize, mut each: impl FnMut(usize, f64)) {
        for block in 0..count.div_ceil(4) {
            for (i, u) in self.uniforms::<F>(block as u64).into_iter().enumerate().take(count - 4 * block) {
                each(4 * block + i, u);
            }
        }
    }

    /// Call `each` with `count` standard normals, in order (Box-Muller on pairs of uniforms).
    pub fn normal<F: Float>(self, count: usize, mut each: impl FnMut(usize, f64)) {
        for block in 0..count.div_ceil(4) {
            let [a, b, c, d] = self.uniforms::<F>(block as u64);
            let ((n0, n1), (n2, n3)) = (box_muller(a, b), box_muller(c, d));
            for (i, n) in [n0, n1, n2, n3].into_iter().enumerate().take(count - 4 * block) {
                each(4 * block + i, n);
            }
        }
    }

    /// `count` different indices below `total`, in drawn order (Fisher-Yates, stopped early).
    pub fn choose(self, count: usize, total: usize) -> Vec<usize> {
        let mut rows = (0..total).collect::<Vec<_>>();
        self.uniform::<f64>(count, |i, u| rows.swap(i, i + (u * (total - i) as f64) as usize));
        rows.truncate(count);
        rows
    }
}

fn box_muller(u1: f64, u2: f64) -> (f64, f64) {
    let radius = (-2.0 * libm::log(u1)).sqrt();
    let (sin, cos) = libm::sincos(std::f64::consts::TAU * u2);
    (radius * cos, radius * sin)
}

/// Philox4x32 with ten rounds.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let left = u64::from(counter[0]) * 0xD251_1F53;
        let right = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        for (counter, key, answer) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox(counter, key), answer);
        }
    }

    fn normals<F: Float>(count: usize) -> Vec<f64> {
        let mut all = vec![0.0; count];
        Stream::new(7, 3, Role::Weight).normal::<F>(count, |i, n| all[i] = n);
        all
    }

    #[test]
    fn a_longer_draw_begins_with_the_shorter_one() {
        assert_eq!(normals::<f64>(7), normals::<f64>(100)[..7]);
    }

    #[test]
    fn both_dtypes_draw_the_same_numbers_up_to_the_bits_of_the_uniform() {
        for (single, double) in normals::<f32>(10_000).iter().zip(normals::<f64>(10_000)) {
            assert!((single - double).abs() < 1e-4, "{single} {double}");
        }
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let count = 400_000;
        let all = normals::<f32>(count);
        let moment = |p: i32| all.iter().map(|n| n.powi(p)).sum::<f64>() / count as f64;
        // Five standard errors of each moment.
        for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let error: f64 = moment(power) - expected;
            assert!(error.abs() < 5.0 * f64::sqrt(variance / count as f64), "moment {power}: {error}");
        }
    }

    #[test]
    fn chosen_rows_differ_and_cover_everything_when_all_are_taken() {
        let mut rows = Stream::new(1, 0, Role::Batch).choose(50, 50);
        assert_ne!(rows, (0..50).collect::<Vec<_>>());
        rows.sort_unstable();
        assert_eq!(rows, (0..50).collect::<Vec<_>>());
    }
}
