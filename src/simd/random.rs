//! From random words to uniforms and normals: a block of four words a lane, its four numbers side by side in memory.
//!
//! All of it is made of exactly rounded operations, which give one result on every instruction set. `f64` takes 53 bits
//! of two words, `f32` the 32 of one.

use super::math::{cos_sin_turns, ln, normal_quantile, whole};
use super::philox::{Philox, Words};
use super::{Bits, Float, Narrow, NarrowBits, Set, Vector, Wide};
use std::f64::consts::FRAC_PI_4;

/// The most lanes of `f64` that a set has.
const MOST_LANES: usize = 8;

/// `(word + 1/2) / 2^32`, exact.
#[inline(always)]
fn unit<V: Wide>(word: V::Bits) -> V {
    whole::<V>(word).add(V::splat(0.5)).mul(V::splat(2_f64.powi(-32)))
}

/// `(2^21 high + low + 1/2) / 2^53`, rounded once: 53 bits are more than [`whole`] takes.
#[inline(always)]
fn fine_unit<V: Wide>(high: V::Bits, low: V::Bits) -> V {
    let both = whole::<V>(high).mul(V::splat(2_097_152.0)).add(whole(low.right::<11>()));
    both.add(V::splat(0.5)).mul(V::splat(2_f64.powi(-53)))
}

/// The four numbers of each lane's block, side by side.
#[inline(always)]
fn store_fours<V: Wide>(four: [V; 4], out: &mut [f64]) {
    let mut columns = [[0.0; MOST_LANES]; 4];
    for (column, values) in columns.iter_mut().zip(four) {
        values.store(column);
    }
    for (j, out) in out[..4 * V::LANES].chunks_exact_mut(4).enumerate() {
        for (column, out) in columns.iter().zip(out) {
            *out = column[j];
        }
    }
}

/// What a stream is turned into.
#[derive(Debug, Clone, Copy)]
pub enum Law {
    /// Normals of a mean and a standard deviation (Box and Muller 1958, on pairs of uniforms). Both are rounded to the
    /// type first, and the product is rounded before the sum: a unit normal that is rescaled later has the same bits.
    Normal(f64, f64),
    /// A function of one uniform each.
    OfUniform(OfUniform),
}

/// A function of a uniform between 0 and 1.
#[derive(Debug, Clone, Copy)]
pub enum OfUniform {
    /// Uniforms between two bounds.
    Uniform([f64; 2]),
    /// Truncated normals.
    Truncated(Truncated),
}

impl OfUniform {
    #[inline(always)]
    fn of_unit<V: Wide>(&self, unit: V) -> V {
        match self {
            Self::Uniform([from, to]) => unit.mul(V::splat(to - from)).add(V::splat(*from)),
            Self::Truncated(law) => law.of_unit(unit),
        }
    }
}

/// Turns the words of blocks, a block a lane, into numbers; `low` are further random bits.
trait OfBlocks<F> {
    fn numbers<S: Set>(&self, high: [Words<S>; 4], low: [Words<S>; 4], out: &mut [F]);
}

impl OfBlocks<f64> for OfUniform {
    #[inline(always)]
    fn numbers<S: Set>(&self, high: [Words<S>; 4], low: [Words<S>; 4], out: &mut [f64]) {
        let mut four = [S::Double::splat(0.0); 4];
        // Loops, not `map`: a closure handed to it is compiled without the set's instructions.
        for i in 0..4 {
            four[i] = self.of_unit(fine_unit(high[i], low[i]));
        }
        store_fours(four, out);
    }
}

impl OfBlocks<f32> for OfUniform {
    #[inline(always)]
    fn numbers<S: Set>(&self, words: [Words<S>; 4], _: [Words<S>; 4], out: &mut [f32]) {
        let mut four = [S::Double::splat(0.0); 4];
        for i in 0..4 {
            four[i] = self.of_unit(unit(words[i]));
        }
        S::Single::store_fours(S::Single::narrow(four[0], four[2]), S::Single::narrow(four[1], four[3]), out);
    }
}

/// Normals of a mean and a standard deviation.
struct Normals(f64, f64);

impl OfBlocks<f64> for Normals {
    #[inline(always)]
    fn numbers<S: Set>(&self, high: [Words<S>; 4], low: [Words<S>; 4], out: &mut [f64]) {
        let mut four = [S::Double::splat(0.0); 4];
        for i in [0, 2] {
            let radius = ln(fine_unit::<S::Double>(high[i], low[i])).mul(S::Double::splat(-2.0)).sqrt();
            let (cosine, sine) = cos_sin_turns(fine_unit::<S::Double>(high[i + 1], low[i + 1]));
            four[i] = radius.mul(cosine).mul(S::Double::splat(self.1)).add(S::Double::splat(self.0));
            four[i + 1] = radius.mul(sine).mul(S::Double::splat(self.1)).add(S::Double::splat(self.0));
        }
        store_fours(four, out);
    }
}

/// Vectors of blocks at once.
const VECTORS: usize = 2;

/// Fill from block `first` on, vector by vector of blocks. The words of `low` are further random bits, for `f64`.
#[inline(always)]
fn fill_by_blocks<S: Set, F: Float>(kind: &impl OfBlocks<F>, [high, low]: &[Philox<S>; 2], first: u64, out: &mut [F]) {
    let lanes = S::Double::LANES;
    let size = 4 * VECTORS * lanes;
    let mut block = first;
    for out in out.chunks_mut(size) {
        let mut blocks = [Words::<S>::count(); VECTORS];
        for (i, blocks) in blocks.iter_mut().enumerate() {
            *blocks = blocks.add(Words::<S>::splat(block + (i * lanes) as u64));
        }
        block += (VECTORS * lanes) as u64;
        let high = high.blocks(blocks);
        let low = if F::WIDE { low.blocks(blocks) } else { high };
        let mut all = [F::ZERO; 4 * VECTORS * MOST_LANES];
        let whole = out.len() == size;
        let to = if whole { &mut *out } else { &mut all[..size] };
        for (i, to) in to.chunks_exact_mut(4 * lanes).enumerate() {
            kind.numbers::<S>(low_halves::<S>(high[i]), low_halves::<S>(low[i]), to);
        }
        if !whole {
            out.copy_from_slice(&all[..out.len()]);
        }
    }
}

/// The words without what is left above them.
#[inline(always)]
fn low_halves<S: Set>(mut words: [Words<S>; 4]) -> [Words<S>; 4] {
    for word in &mut words {
        *word = word.and(Words::<S>::splat(u64::from(u32::MAX)));
    }
    words
}

/// Fill from block `first` on in `f64`.
#[inline(always)]
pub fn fill_double<S: Set>(words: &[Philox<S>; 2], first: u64, law: &Law, out: &mut [f64]) {
    match law {
        Law::Normal(mean, std) => fill_by_blocks(&Normals(*mean, *std), words, first, out),
        Law::OfUniform(law) => fill_by_blocks(law, words, first, out),
    }
}

/// Fill from block `first` on in `f32`.
#[inline(always)]
pub fn fill_single<S: Set>(words: &[Philox<S>; 2], first: u64, law: &Law, out: &mut [f32]) {
    match law {
        Law::Normal(mean, std) => fill_normals_single(&words[0], first, [*mean as f32, *std as f32], out),
        Law::OfUniform(law) => fill_by_blocks(law, words, first, out),
    }
}

/// A normal that is known to lie between two bounds, made from a uniform by the inverse of its distribution function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truncated {
    mean: f64,
    /// The standard deviation, negative where the interval is drawn as its mirror image.
    std: f64,
    bounds: [f64; 2],
    /// Probabilities that a unit normal is below the interval, and inside.
    below: f64,
    inside: f64,
}

impl Truncated {
    /// The law with this mean and standard deviation before truncation, between two bounds.
    pub fn new(mean: f64, std: f64, low: f64, high: f64) -> Self {
        let cdf = |z: f64| 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2);
        // Probabilities near 1 have few digits: an interval above the mean is drawn as its mirror image.
        let std = if low + high > 2.0 * mean { -std } else { std };
        let [a, b] = if std < 0.0 { [high, low] } else { [low, high] }.map(|bound| cdf((bound - mean) / std));
        Self { mean, std, bounds: [low, high], below: a, inside: b - a }
    }

    #[inline(always)]
    fn of_unit<V: Wide>(&self, unit: V) -> V {
        let z = normal_quantile(unit.mul(V::splat(self.inside)).add(V::splat(self.below)));
        let x = z.mul(V::splat(self.std)).add(V::splat(self.mean));
        x.max(V::splat(self.bounds[0])).min(V::splat(self.bounds[1]))
    }
}

/// Blocks of which the words are there before the first becomes normals: some that the first-level cache holds.
const BLOCKS: usize = 256;

/// Fill with normals of a mean and a standard deviation in `f32`, whose tails reach to 6.7, from block `first` on.
///
/// The words of a chunk come first, then normals in their place: both loops are long chains, and one after the other
/// they take 1.2 ns a number where together they took 1.4 (AVX2).
#[inline(always)]
fn fill_normals_single<S: Set>(philox: &Philox<S>, first: u64, law: [f32; 2], out: &mut [f32]) {
    let mut block = first;
    for chunk in out.chunks_mut(4 * BLOCKS) {
        let size = 4 * S::Single::LANES;
        let (whole, rest) = chunk.split_at_mut(chunk.len() / size * size);
        normals_of_blocks::<S>(philox, block, law, whole);
        if !rest.is_empty() {
            let mut all = [0.0; 4 * MOST_SINGLE];
            normals_of_blocks::<S>(philox, block + whole.len() as u64 / 4, law, &mut all[..size]);
            rest.copy_from_slice(&all[..rest.len()]);
        }
        block += BLOCKS as u64;
    }
}

/// The most lanes of `f32` that a set has.
const MOST_SINGLE: usize = 16;

/// The normals of whole vectors of blocks.
#[inline(always)]
fn normals_of_blocks<S: Set>(philox: &Philox<S>, first: u64, [mean, std]: [f32; 2], out: &mut [f32]) {
    let (lanes, std, minus_mean) = (S::Single::LANES, S::Single::splat(std), S::Single::splat(-mean));
    let mut block = Words::<S>::splat(first);
    for four in out.chunks_exact_mut(4 * lanes) {
        let [low, high] = S::Single::blocks();
        let [low, high] = philox.blocks([block.add(low), block.add(high)]);
        for (i, word) in four.chunks_exact_mut(lanes).enumerate() {
            S::Single::from_bits(S::Single::low_halves([low[i], high[i]])).store(word);
        }
        block = block.add(Words::<S>::splat(lanes as u64));
    }
    for four in out.chunks_exact_mut(4 * lanes) {
        let mut normals = [S::Single::splat(0.0); 4];
        for pair in [0, 2] {
            let radius = square_radius::<S::Single>(S::Single::load(&four[pair * lanes..]).to_bits()).sqrt();
            let (cosine, sine) = circle::<S::Single>(S::Single::load(&four[(pair + 1) * lanes..]).to_bits());
            normals[pair] = radius.mul(cosine).mul(std).sub(minus_mean);
            normals[pair + 1] = radius.mul(sine).mul(std).sub(minus_mean);
        }
        S::Single::store_blocks(normals, four);
    }
}

/// `-2 ln u` of `u = (word + 1/2) / 2^32`.
#[inline(always)]
fn square_radius<V: Narrow>(word: V::Bits) -> V {
    const ROOT_HALF: u32 = 0x3f35_04f3;
    let splat = V::splat;
    // v is u or 1 - u, whichever is below 1/2: no digits are lost near 1, and no radius is zero.
    let v = V::of_signed(word.xor(word.right_signed::<31>())).fused(splat(2_f32.powi(-32)), splat(2_f32.powi(-33)));
    let u = V::by_sign(word, splat(1.0).sub(v), v);
    // u = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2); where k is 0, u is above that, and f = -v is exact.
    let bits = u.to_bits().sub(V::Bits::splat(ROOT_HALF));
    let k = V::of_signed(bits.right_signed::<23>());
    let mantissa = V::from_bits(bits.and(V::Bits::splat(0x007f_ffff)).add(V::Bits::splat(ROOT_HALF)));
    let f = V::by_sign(bits, mantissa.sub(splat(1.0)), splat(0.0).sub(v));
    // -2 ln(1 + f) = -2 f + f^2 + f^3 Q(f), Q by Lawson's weighted least squares; in Estrin's form, for what takes time
    // is the chain.
    let square = f.mul(f);
    let base = f.fused(f, k.fused(splat(-1.386_294_4), f.mul(splat(-2.0))));
    let q01 = f.fused(splat(0.500_018_6), splat(-0.666_665_68));
    let q23 = f.fused(splat(0.332_430_1), splat(-0.400_070_64));
    let q45 = f.fused(splat(0.262_926_05), splat(-0.283_300_42));
    let q67 = f.fused(splat(0.157_467_25), splat(-0.259_105_1));
    let low = q23.fused(square, q01);
    let high = q67.fused(square, q45);
    high.fused(square.mul(square), low).fused(square.mul(f), base)
}

/// Added to the sine's first coefficient, so that the mean of the squares of a normal is 1 to 1e-10.
const SHIFT: f64 = -1.962e-8;

/// `(cos 2 pi u, sin 2 pi u)` of `u = (word + 1/2) / 2^32`.
#[inline(always)]
fn circle<V: Narrow>(word: V::Bits) -> (V, V) {
    /// An eighth of a turn, rounded.
    const EIGHTH: f32 = FRAC_PI_4 as f32;
    let splat = V::splat;
    // The angle is a quarter of a turn or several, and r eighths of a turn, -1 < r < 1.
    let quarter = word.add(V::Bits::splat(1 << 29));
    let r = V::of_signed(word.left::<2>().or(V::Bits::splat(2))).mul(splat(2_f32.powi(-31)));
    let z = r.mul(r);
    let p = z.fused(splat(-3.595_045_2e-5), splat(0.002_490_001)).fused(z, splat(-0.080_745_43));
    let p = p.fused(z, splat((FRAC_PI_4 - f64::from(EIGHTH) + SHIFT) as f32));
    let sine = r.fused(splat(EIGHTH), r.mul(p));
    let c = z.fused(splat(3.530_374e-6), splat(-0.000_325_940_15)).fused(z, splat(0.015_854_327));
    let cosine = c.fused(z, splat(-0.308_425_14)).fused(z, splat(1.0));
    // As in `turned`.
    let odd = quarter.left::<1>();
    let sign = |bits: V::Bits| bits.and(V::Bits::splat(1 << 31));
    let (swapped_cosine, swapped_sine) = (V::by_sign(odd, sine, cosine), V::by_sign(odd, cosine, sine));
    (
        V::from_bits(swapped_cosine.to_bits().xor(sign(quarter.add(V::Bits::splat(1 << 30))))),
        V::from_bits(swapped_sine.to_bits().xor(sign(quarter))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cancel;
    use crate::simd::{self, Isa, Task, scalar};
    use crate::threads::each;

    /// Sums over words: of second, fourth and sixth powers, first of radii, then of cosines and sines together.
    struct Powers {
        first: u64,
        count: usize,
    }

    impl Task for Powers {
        type Output = [f64; 6];

        #[inline(always)]
        fn run<S: Set>(self) -> [f64; 6] {
            let (mut words, mut values) = ([0.0; MOST_SINGLE], [[0.0; MOST_SINGLE]; 3]);
            let mut sums = [[S::Double::splat(0.0); 6]; 2];
            for group in 0..self.count / S::Single::LANES {
                for (lane, word) in words.iter_mut().enumerate() {
                    *word = f32::from_bits((self.first + (group * S::Single::LANES + lane) as u64) as u32);
                }
                let word = S::Single::load(&words).to_bits();
                let (cosine, sine) = circle::<S::Single>(word);
                square_radius::<S::Single>(word).sqrt().store(&mut values[0]);
                cosine.store(&mut values[1]);
                sine.store(&mut values[2]);
                for (half, sums) in sums.iter_mut().enumerate() {
                    for (i, values) in values.iter().enumerate() {
                        let value = S::Double::load_f32(&values[half * S::Double::LANES..]);
                        let (square, at) = (value.mul(value), if i == 0 { 0 } else { 3 });
                        sums[at] = sums[at].add(square);
                        sums[at + 1] = square.multiply_add(square, sums[at + 1]);
                        sums[at + 2] = square.mul(square).multiply_add(square, sums[at + 2]);
                    }
                }
            }
            let mut totals = [0.0; 6];
            for sums in sums {
                for (total, sum) in totals.iter_mut().zip(sums) {
                    let mut lanes = [0.0; MOST_LANES];
                    sum.store(&mut lanes);
                    *total += lanes.iter().sum::<f64>();
                }
            }
            totals
        }
    }

    #[test]
    fn moments_over_all_words_are_those_of_a_normal_to_1e_8() {
        const CHUNK: usize = 1 << 16;
        // All sets have the bits of these, as the test below says; the slowest, or an emulated one, takes many minutes.
        if !matches!(simd::isa(), Ok(Isa::Avx512 | Isa::Avx2)) {
            return;
        }
        let of_chunk = |i: usize| simd::run(Powers { first: (i * CHUNK) as u64, count: CHUNK });
        let mut means = [0.0; 6];
        for sums in each(1 << 16, 2, &Cancel::default(), of_chunk).unwrap() {
            means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum / 4_294_967_296.0);
        }
        // Of each pair of normals; those of radius and angle are independent. Odd moments are 0, for every angle has its
        // opposite.
        let [r2, r4, r6, c2, c4, c6] = means;
        for (moment, exact) in [(r2 * c2 / 2.0, 1.0), (r4 * c4 / 2.0, 3.0), (r6 * c6 / 2.0, 15.0)] {
            assert!((moment / exact - 1.0_f64).abs() < 1e-8, "{moment} {exact}");
        }
        assert!((r2 * c2 / 2.0 - 1.0).abs() < 1e-10, "{r2} {c2}");
    }

    /// Normals of a stream from a block on.
    #[derive(Clone, Copy)]
    struct Draw {
        first: u64,
        count: usize,
    }

    impl Task for Draw {
        type Output = Vec<u32>;

        #[inline(always)]
        fn run<S: Set>(self) -> Vec<u32> {
            let mut out = vec![0.0; self.count];
            fill_normals_single(&Philox::<S>::new(0x1234_5678_9abc_def0, 5, 2), self.first, [0.5, 3.0], &mut out);
            out.into_iter().map(f32::to_bits).collect()
        }
    }

    #[test]
    fn float32_normals_have_the_same_bits_on_every_instruction_set() {
        for (first, count) in [(0, 300_000), (u64::from(u32::MAX) - 100, 1000), (3, 1), (8, 62), (16, 1025), (5, 4099)]
        {
            let draw = Draw { first, count };
            assert!(simd::run(draw) == draw.run::<scalar::Scalar>(), "{first} {count}");
        }
    }

    /// Squared radii, cosines and sines of words.
    struct Parts<'w>(&'w [u32]);

    impl Task for Parts<'_> {
        type Output = Vec<[u32; 3]>;

        #[inline(always)]
        fn run<S: Set>(self) -> Vec<[u32; 3]> {
            let mut all = Vec::new();
            for words in self.0.chunks_exact(S::Single::LANES) {
                let mut lanes = [0.0; MOST_SINGLE];
                lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane = f32::from_bits(*word));
                let word = S::Single::load(&lanes).to_bits();
                let (cosine, sine) = circle::<S::Single>(word);
                let mut parts = [[0.0; MOST_SINGLE]; 3];
                for (part, values) in parts.iter_mut().zip([square_radius::<S::Single>(word), cosine, sine]) {
                    values.store(part);
                }
                all.extend((0..S::Single::LANES).map(|lane| parts.map(|part| part[lane].to_bits())));
            }
            all
        }
    }

    #[test]
    fn the_last_words_of_each_half_and_quarter_are_as_good_as_the_others() {
        let near = |word: u32| (0..500).flat_map(move |i| [word.wrapping_add(i), word.wrapping_sub(i)]);
        let words = (0..8).flat_map(|eighth| near(eighth << 29)).collect::<Vec<_>>();
        let found = simd::run(Parts(&words));
        assert_eq!(found, Parts(&words).run::<scalar::Scalar>());
        for (word, parts) in words.iter().zip(&found) {
            let [square, cosine, sine] = parts.map(|bits| f64::from(f32::from_bits(bits)));
            let u = (f64::from(*word) + 0.5) / 4_294_967_296.0;
            let exact = -2.0 * if u > 0.5 { libm::log1p(u - 1.0) } else { libm::log(u) };
            let (exact_sine, exact_cosine) = libm::sincos(std::f64::consts::TAU * u);
            assert!(square > 0.0 && (square / exact - 1.0).abs() < 4e-7, "{word:#x}: {square} {exact}");
            assert!((cosine - exact_cosine).abs() < 1e-7 && (sine - exact_sine).abs() < 1e-7, "{word:#x}");
        }
    }
}
