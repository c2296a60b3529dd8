//! From random words to uniforms and normals: a block of four words a lane, its four numbers side by side in memory.
//!
//! All of it is made of exactly rounded operations and no fused ones, which give one result on every instruction set.
//! `f64` takes 53 bits of two words, `f32` the 32 of one.

use super::math::{cos_sin_turns, ln, ln_parts, normal_quantile, polynomial, whole};
use super::{Bits, Narrow, Set, Vector, Wide};

/// Random words, in the low halves of `u64`.
pub type Words<S> = <<S as Set>::Double as Wide>::Bits;

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

/// Uniforms between two bounds, in `f64`.
#[inline(always)]
pub fn uniforms_double<S: Set>(high: [Words<S>; 4], low: [Words<S>; 4], [from, to]: [f64; 2], out: &mut [f64]) {
    let mut four = [S::Double::splat(0.0); 4];
    // Loops, not `map`: a closure handed to it is compiled without the set's instructions.
    for i in 0..4 {
        let unit: S::Double = fine_unit(high[i], low[i]);
        four[i] = unit.mul(S::Double::splat(to - from)).add(S::Double::splat(from));
    }
    store_fours(four, out);
}

/// Uniforms between two bounds, in `f32`.
#[inline(always)]
pub fn uniforms_single<S: Set>(words: [Words<S>; 4], _: [Words<S>; 4], [from, to]: [f64; 2], out: &mut [f32]) {
    let mut four = [S::Double::splat(0.0); 4];
    for i in 0..4 {
        let unit: S::Double = unit(words[i]);
        four[i] = unit.mul(S::Double::splat(to - from)).add(S::Double::splat(from));
    }
    S::Single::store_fours(S::Single::narrow(four[0], four[2]), S::Single::narrow(four[1], four[3]), out);
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

/// Truncated normals in `f64`.
#[inline(always)]
pub fn truncated_double<S: Set>(high: [Words<S>; 4], low: [Words<S>; 4], law: &Truncated, out: &mut [f64]) {
    let mut four = [S::Double::splat(0.0); 4];
    for i in 0..4 {
        four[i] = law.of_unit(fine_unit(high[i], low[i]));
    }
    store_fours(four, out);
}

/// Truncated normals in `f32`.
#[inline(always)]
pub fn truncated_single<S: Set>(words: [Words<S>; 4], _: [Words<S>; 4], law: &Truncated, out: &mut [f32]) {
    let mut four = [S::Double::splat(0.0); 4];
    for i in 0..4 {
        four[i] = law.of_unit(unit(words[i]));
    }
    S::Single::store_fours(S::Single::narrow(four[0], four[2]), S::Single::narrow(four[1], four[3]), out);
}

/// Unit normals in `f64` (Box and Muller 1958, on pairs of uniforms).
#[inline(always)]
pub fn normals_double<S: Set>(high: [Words<S>; 4], low: [Words<S>; 4], out: &mut [f64]) {
    let mut four = [S::Double::splat(0.0); 4];
    for i in [0, 2] {
        let radius = ln(fine_unit::<S::Double>(high[i], low[i])).mul(S::Double::splat(-2.0)).sqrt();
        let (cosine, sine) = cos_sin_turns(fine_unit::<S::Double>(high[i + 1], low[i + 1]));
        four[i] = radius.mul(cosine);
        four[i + 1] = radius.mul(sine);
    }
    store_fours(four, out);
}

/// Unit normals in `f32`, whose tails reach to 6.7. The polynomial of the logarithm is that of Cephes (`logf.c`;
/// Moshier 1992).
#[inline(always)]
pub fn normals_single<S: Set>(words: [Words<S>; 4], _: [Words<S>; 4], out: &mut [f32]) {
    let splat = S::Single::splat;
    let (k0, f0) = ln_parts(unit::<S::Double>(words[0]));
    let (k2, f2) = ln_parts(unit::<S::Double>(words[2]));
    let (k, f) = (S::Single::narrow(k0, k2), S::Single::narrow(f0, f2));
    let square = f.mul(f);
    let curve = narrow_polynomial(
        f,
        [
            3.333_333_1e-1,
            -2.499_999_3e-1,
            2.000_071_4e-1,
            -1.666_805_8e-1,
            1.424_932_3e-1,
            -1.242_014_1e-1,
            1.167_699_9e-1,
            -1.151_461_0e-1,
            7.037_683_6e-2,
        ],
    );
    // ln 2 in two parts, so that k times the first is exact.
    let low = curve.mul(f).mul(square).sub(k.mul(splat(2.121_944_4e-4))).sub(square.mul(splat(0.5)));
    let ln = low.add(f).add(k.mul(splat(0.693_359_4)));
    let radius = ln.mul(splat(-2.0)).sqrt();

    let (even0, odd0) = cos_sin_by_halves(unit::<S::Double>(words[1]));
    let (even2, odd2) = cos_sin_by_halves(unit::<S::Double>(words[3]));
    let even = radius.mul(S::Single::narrow(even0, even2));
    let odd = radius.mul(S::Single::narrow(odd0, odd2));
    S::Single::store_fours(even, odd, out);
}

/// `(cos 2 pi u, sin 2 pi u)` for `0 <= u <= 1`, to `1e-9`.
///
/// Half the angle less a right angle needs no quadrants: `cos 2a = cos^2 a - sin^2 a`, `sin 2a = 2 sin a cos a`. The
/// polynomials were fitted on Chebyshev nodes of the square of `v` up to `1/4`. In `f32` their error was three times
/// that of the rounding, and showed in float32 nets of 10,000 layers.
#[inline(always)]
fn cos_sin_by_halves<V: Wide>(u: V) -> (V, V) {
    let v = u.sub(V::splat(0.5));
    let t = v.mul(v);
    let sine = v.mul(polynomial(
        t,
        [
            3.141_592_653_54,
            -5.167_712_764_62,
            2.550_163_318_95,
            -0.599_252_197_824,
            0.082_050_401_809_2,
            -0.007_028_386_408_77,
        ],
    ));
    let cosine = polynomial(
        t,
        [
            0.999_999_999_78,
            -4.934_802_137_08,
            4.058_709_159_56,
            -1.335_212_003_05,
            0.234_937_313_817,
            -0.024_396_324_351_4,
        ],
    );
    // The angle is 2 pi v + pi.
    (sine.mul(sine).sub(cosine.mul(cosine)), sine.mul(cosine).mul(V::splat(-2.0)))
}

/// `c[0] + x (c[1] + x (c[2] + ...))`.
#[inline(always)]
fn narrow_polynomial<V: Narrow, const N: usize>(x: V, c: [f32; N]) -> V {
    let mut sum = V::splat(c[N - 1]);
    for &c in c[..N - 1].iter().rev() {
        sum = sum.mul(x).add(V::splat(c));
    }
    sum
}
