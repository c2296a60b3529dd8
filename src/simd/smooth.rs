//! Smooth functions on vectors of `f64`, of which activations are made.
//!
//! Products are fused with sums where the set can, so that sets with and without may differ in the last bit; nothing
//! here needs it for its accuracy, which `tests/accuracy.rs` holds. Coefficients are minimax fits by Remez' algorithm
//! in 45 digits (mpmath), each good to 2^-55 of the function that it is for. NaN stays NaN.

use super::math::WHOLE;
use super::{Bits, Wide};

/// `1 / sqrt(2 pi)`, the largest density of the standard normal.
const PEAK: f64 = 0.398_942_280_401_432_7;

/// The sign bit.
pub const SIGN: u64 = 1 << 63;

/// `a + b x`.
#[inline(always)]
fn line<V: Wide>(x: V, a: f64, b: f64) -> V {
    x.multiply_add(V::splat(b), V::splat(a))
}

/// `c[0] + c[1] x + c[2] x^2 + ...`, four terms at a time: a chain of one term after the other would keep the
/// arithmetic units waiting.
#[inline(always)]
fn polynomial<V: Wide, const N: usize>(x: V, c: [f64; N]) -> V {
    let square = x.mul(x);
    let fourth = square.mul(square);
    let mut sum = V::splat(0.0);
    for i in (0..N).step_by(4).rev() {
        let terms = match c[i..] {
            [] => sum,
            [a] => V::splat(a),
            [a, b] => line(x, a, b),
            [a, b, c] => square.multiply_add(V::splat(c), line(x, a, b)),
            [a, b, c, d, ..] => square.multiply_add(line(x, c, d), line(x, a, b)),
        };
        sum = if i + 4 < N { sum.multiply_add(fourth, terms) } else { terms };
    }
    sum
}

/// `(e^x, e^x - 1)` for `-800 <= x + rest <= 0` and `|rest|` below 1e-4, with `x + rest` in place of `x`.
#[inline(always)]
fn exp_of_sum<V: Wide>(x: V, rest: V) -> (V, V) {
    // x + rest = n ln 2 + r with |r| <= ln(2) / 2. The two parts of ln 2 are those of FreeBSD's e_exp.c: n times the
    // high one is exact, and so is its difference from x.
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-01;
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    // Added to 1.5 * 2^52, a number is rounded to a whole one.
    let n = x.multiply_add(V::splat(std::f64::consts::LOG2_E), V::splat(1.5 * WHOLE)).sub(V::splat(1.5 * WHOLE));
    let high = n.multiply_add(V::splat(-LN2_HIGH), x);
    let low = n.multiply_add(V::splat(-LN2_LOW), rest);
    let r = high.add(low);
    // (e^r - 1 - r) / r^2
    let p = polynomial(
        r,
        [
            0.5,
            1.666_666_666_666_660_2e-1,
            4.166_666_666_661_985e-2,
            8.333_333_333_388_57e-3,
            1.388_888_892_057_578_4e-3,
            1.984_126_970_900_582_8e-4,
            2.480_151_624_758_597e-5,
            2.755_742_526_179_742e-6,
            2.762_227_314_939_336_3e-7,
            2.504_589_111_381_698_8e-8,
        ],
    );
    // The first term without the rounding of r.
    let q = high.add(r.mul(r).multiply_add(p, low));
    let power = V::splat(1.0).times_power_of_two(n);
    (power.multiply_add(q, power), power.multiply_add(q, power.sub(V::splat(1.0))))
}

/// `(e^-|x|, e^-|x| - 1)`, each to 1 ulp.
#[inline(always)]
pub fn decay<V: Wide>(x: V) -> (V, V) {
    // Beyond, e^-|x| is 0.
    let x = V::from_bits(x.to_bits().or(V::Bits::splat(SIGN))).max(V::splat(-800.0));
    exp_of_sum(x, V::splat(0.0))
}

/// `ln(1 + x)` for `0 <= x <= 1`, to 2 ulp.
#[inline(always)]
pub fn log1p<V: Wide>(x: V) -> V {
    // As in FreeBSD's e_log.c: ln(1 + x) = 2 artanh s with s = x / (2 + x), arranged so that the rounding of s hits the
    // smaller terms only. Up to s = 1/3 no reduction is needed.
    let s = x.div(x.add(V::splat(2.0)));
    let z = s.mul(s);
    // (2 artanh s - 2 s) / s^3
    let p = polynomial(
        z,
        [
            6.666_666_666_666_65e-1,
            4.000_000_000_010_303_6e-1,
            2.857_142_855_304_336_5e-1,
            2.222_222_373_344_224e-1,
            1.818_174_970_175_709_4e-1,
            1.538_648_251_155_155e-1,
            1.330_148_419_496_745_3e-1,
            1.210_543_559_459_441_9e-1,
            8.330_353_113_524_969e-2,
            1.705_657_389_634_062e-1,
        ],
    );
    let half_square = x.mul(x).mul(V::splat(0.5));
    x.sub(half_square.sub(s.mul(z.multiply_add(p, half_square))))
}

/// The standard normal's distribution function and its density, to 4 and 2 ulp.
#[inline(always)]
pub fn normal<V: Wide>(x: V) -> (V, V) {
    const HIGH_HALF: u64 = u64::MAX << 27;
    // At 40 and beyond both tails are 0 in every format.
    let w = V::from_bits(x.to_bits().and(V::Bits::splat(!SIGN))).min(V::splat(40.0));
    // w^2 = high^2 + (w - high)(w + high): high has 26 bits, so that its square is exact.
    let high = V::from_bits(w.to_bits().and(V::Bits::splat(HIGH_HALF)));
    let minus_half = high.mul(V::splat(-0.5));
    let rest = w.sub(high).mul(w.multiply_add(V::splat(-0.5), minus_half));
    let (density, _) = exp_of_sum(high.mul(minus_half), rest);
    // The upper tail is density(w) ratio(w), and (w + 5) ratio(w) bends little in t = (w - 5) / (w + 5), which lies
    // between -1 and 1. The denominator is rounded, by so little that one step along the slope of the ratio, w ratio -
    // density(0), makes up for it.
    let denominator = w.add(V::splat(5.0));
    let rounded_away = w.sub(denominator.sub(V::splat(5.0)));
    let t = denominator.sub(V::splat(10.0)).div(denominator);
    let p = polynomial(
        t,
        [
            7.691_930_497_500_63e-1,
            -6.653_825_028_900_566e-1,
            4.953_056_159_699_77e-1,
            -3.135_331_566_713_157_6e-1,
            1.650_203_661_703_615_6e-1,
            -6.911_863_870_595_192e-2,
            2.079_506_680_024_221e-2,
            -2.993_376_775_696_632e-3,
            -7.978_694_014_790_495e-4,
            5.448_991_058_727_54e-4,
            -5.937_571_128_433_175e-5,
            -4.976_301_025_329_277e-5,
            1.668_114_483_555_887_2e-5,
            3.981_491_270_028_844e-6,
            -2.769_055_190_090_512e-6,
            -3.377_431_692_353_455e-7,
            4.326_863_880_959_154e-7,
            4.361_236_499_291_377_6e-8,
            -6.531_978_460_731_963e-8,
            -1.021_089_370_585_834_7e-8,
            7.181_951_142_936_363_5e-9,
            2.013_909_760_649_681_6e-9,
        ],
    );
    let ratio = p.div(denominator);
    let ratio = rounded_away.multiply_add(w.multiply_add(ratio, V::splat(-PEAK)), ratio);
    let tail = ratio.mul(density);
    (x.above(V::splat(0.0), V::splat(1.0).sub(tail), tail), density.mul(V::splat(PEAK)))
}
