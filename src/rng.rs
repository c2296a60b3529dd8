//! Counter-based random streams: Philox4x32-10 keyed by the seed, counted by (block, layer, role).
//!
//! Element `i` of a tensor depends on the seed, the layer, the role and `i` alone: not on depth, on other layers, on
//! batch size or on threads. J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use crate::simd::{self, Float, Law, OfUniform, Philox, Set, Task};

pub use crate::simd::Truncated;

/// The version of the mapping from (seed, layer, role, index) to numbers.
pub const STREAM_VERSION: u32 = 3;

/// The tensor that a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// The rows of the data that form the batch.
    Batch = 6,
    /// Directions of a gradient check.
    Direction = 7,
    /// Weights of the gate of a highway.
    GateWeight = 8,
    /// Biases of the gate of a highway.
    GateBias = 9,
    /// Weights of the inputs of a recurrent net.
    InputWeight = 10,
    /// The order of the rows in an epoch of training.
    Epoch = 11,
    /// What is added to a gradient in training.
    Noise = 12,
    /// Weights of the map of what goes around a branch.
    ProjectionWeight = 13,
    /// Biases of the map of what goes around a branch.
    ProjectionBias = 14,
    /// Which entries dropout sets to zero.
    Dropout = 15,
    /// Biases of the inputs of a recurrent net. Numbers up to 63 are those of roles with low bits and companions.
    InputBias = 64,
}

/// Added to a role for the stream that carries the low bits of an `f64`, so that both dtypes draw the same numbers.
const LOW_BITS: u32 = 16;

/// Added to a role for the stream that says which of its elements count.
const COMPANION: u32 = 32;

/// A stream of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stream {
    seed: u64,
    layer: u32,
    role: u32,
    /// The number of the first block.
    first: u64,
}

impl Stream {
    /// The stream of a seed, a 0-based hidden layer (0 where the role has none) and a role.
    pub fn new(seed: u64, layer: usize, role: Role) -> Self {
        Self { seed, layer: layer as u32, role: role as u32, first: 0 }
    }

    /// The stream from a later element on; `elements` is a multiple of four.
    pub fn after(self, elements: usize) -> Self {
        Self { first: self.first + elements as u64 / 4, ..self }
    }

    /// The part of the stream that belongs to a step of training: each has 2^32 blocks of its own.
    pub fn of_step(self, step: usize) -> Self {
        Self { first: (step as u64) << 32, ..self }
    }

    /// The stream that goes with this one and says which of its elements count.
    pub fn companion(self) -> Self {
        Self { role: self.role + COMPANION, ..self }
    }

    /// Fill with uniforms between two bounds, element by element in order: of 32 random bits for `f32`, 53 for `f64`.
    pub fn uniform<F: Float>(self, low: f64, high: f64, out: &mut [F]) {
        self.fill(Law::OfUniform(OfUniform::Uniform([low, high])), out);
    }

    /// Fill with standard normals, element by element in order.
    pub fn normal<F: Float>(self, out: &mut [F]) {
        self.normal_of(0.0, 1.0, out);
    }

    /// Fill with normals of a mean and a standard deviation, element by element in order.
    pub fn normal_of<F: Float>(self, mean: f64, std: f64, out: &mut [F]) {
        self.fill(Law::Normal(mean, std), out);
    }

    /// Fill with truncated normals, element by element in order.
    pub fn truncated<F: Float>(self, law: &Truncated, out: &mut [F]) {
        self.fill(Law::OfUniform(OfUniform::Truncated(*law)), out);
    }

    fn fill<F: Float>(self, law: Law, out: &mut [F]) {
        simd::run(Fill { stream: self, law, out });
    }

    /// `count` different indices below `total`, in drawn order (Fisher-Yates, stopped early).
    pub fn choose(self, count: usize, total: usize) -> Vec<usize> {
        let mut uniforms = vec![0.0; count];
        self.uniform::<f64>(0.0, 1.0, &mut uniforms);
        let mut rows = (0..total).collect::<Vec<_>>();
        for (i, u) in uniforms.into_iter().enumerate() {
            // The largest u rounds to 1.
            rows.swap(i, (i + (u * (total - i) as f64) as usize).min(total - 1));
        }
        rows.truncate(count);
        rows
    }
}

/// Fills a slice from a stream.
struct Fill<'o, F> {
    stream: Stream,
    law: Law,
    out: &'o mut [F],
}

impl<F: Float> Task for Fill<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Stream { seed, layer, role, first } = self.stream;
        let words = [Philox::<S>::new(seed, layer, role), Philox::<S>::new(seed, layer, role + LOW_BITS)];
        F::fill(&words, first, &self.law, self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Bits, Vector, Words};

    /// The words of one block, by its counter and key.
    struct Block([u32; 4], [u32; 2]);

    impl Task for Block {
        type Output = [u32; 4];

        #[inline(always)]
        fn run<S: Set>(self) -> [u32; 4] {
            let wide = |[low, high]: [u32; 2]| u64::from(low) | u64::from(high) << 32;
            let Self([low, high, layer, role], key) = self;
            let [words] = Philox::<S>::new(wide(key), layer, role).blocks([Words::<S>::splat(wide([low, high]))]);
            words.map(|words| {
                let mut lanes = [0.0; 8];
                let low = words.and(Words::<S>::splat(u64::from(u32::MAX)));
                simd::math::whole::<S::Double>(low).store(&mut lanes);
                lanes[0] as u32
            })
        }
    }

    fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
        simd::run(Block(counter, key))
    }

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
        let mut all = vec![F::ZERO; count];
        Stream::new(7, 3, Role::Weight).normal(&mut all);
        all.into_iter().map(Float::wide).collect()
    }

    #[test]
    fn a_longer_draw_begins_with_the_shorter_one() {
        assert_eq!(normals::<f64>(7), normals::<f64>(100)[..7]);
    }

    #[test]
    fn a_long_draw_passes_the_lanes_and_blocks_in_order() {
        let uniforms = |count| {
            let mut all = vec![0.0_f32; count];
            Stream::new(7, 3, Role::Weight).uniform(0.0, 1.0, &mut all);
            all
        };
        for (i, u) in uniforms(1000).into_iter().enumerate() {
            let word = philox([i as u32 / 4, 0, 3, 0], [7, 0])[i % 4];
            assert_eq!(u, ((f64::from(word) + 0.5) / 4_294_967_296.0) as f32, "element {i}");
        }
        assert_eq!(uniforms(3), uniforms(1000)[..3]);
        let mut later = [0.0_f32; 5];
        Stream::new(7, 3, Role::Weight).after(96).uniform(0.0, 1.0, &mut later);
        assert_eq!(later, uniforms(1000)[96..101]);
    }

    #[test]
    fn both_dtypes_draw_the_same_numbers_up_to_the_bits_of_the_uniform() {
        for (single, double) in normals::<f32>(10_000).iter().zip(normals::<f64>(10_000)) {
            assert!((single - double).abs() < 1e-4, "{single} {double}");
        }
    }

    #[test]
    fn normals_are_the_box_muller_pairs_of_their_words() {
        let unit = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
        for (block, found) in normals::<f32>(200_000).chunks(4).enumerate() {
            let words = philox([block as u32, 0, 3, 0], [7, 0]);
            for pair in [0, 2] {
                let radius = (-2.0 * libm::log(unit(words[pair]))).sqrt();
                let (sine, cosine) = libm::sincos(std::f64::consts::TAU * unit(words[pair + 1]));
                // Some four roundings of float32, 6e-8 each, of numbers of the size of the radius.
                let bound = 2.5e-7 * radius;
                assert!((found[pair] - radius * cosine).abs() < bound, "{block} {pair}: {found:?}");
                assert!((found[pair + 1] - radius * sine).abs() < bound, "{block} {pair}: {found:?}");
            }
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
