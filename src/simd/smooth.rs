//! Smooth functions on vectors of `f64`, of which activations are made.
//!
//! Products are fused with sums where the set can, so that sets with and without may differ in the last bit; nothing
//! here needs it for its accuracy, which `tests/accuracy.rs` holds. Coefficients are minimax fits by Remez' algorithm
//! in 45 digits (mpmath), each good to 2^-55 of the function that it is for. NaN stays NaN.

use super::math::{WHOLE, cosine_terms, sine_terms, turned};
use super::{Bits, Wide};
use std::f64::consts::{FRAC_2_PI, FRAC_2_SQRT_PI, FRAC_PI_2, FRAC_PI_4};

/// `1 / sqrt(2 pi)`, the largest density of the standard normal.
const PEAK: f64 = 0.398_942_280_401_432_7;

/// The sign bit.
pub const SIGN: u64 = 1 << 63;

/// The absolute value.
#[inline(always)]
pub fn magnitude<V: Wide>(x: V) -> V {
    V::from_bits(x.to_bits().and(V::Bits::splat(!SIGN)))
}

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
    // Beyond 800, e^-|x| is 0.
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

/// `e^(-share w^2)` for `0 <= w <= 40`, to 1 ulp; `share` is 1 or 1/2, and the power above -800.
#[inline(always)]
fn bell<V: Wide>(w: V, share: f64) -> V {
    const HIGH_HALF: u64 = u64::MAX << 27;
    // w^2 = high^2 + (w - high)(w + high): high has 26 bits, so that its square is exact.
    let high = V::from_bits(w.to_bits().and(V::Bits::splat(HIGH_HALF)));
    let minus_share = high.mul(V::splat(-share));
    let rest = w.sub(high).mul(w.multiply_add(V::splat(-share), minus_share));
    exp_of_sum(high.mul(minus_share), rest).0
}

/// The standard normal's distribution function and its density, to 4 and 2 ulp.
#[inline(always)]
pub fn normal<V: Wide>(x: V) -> (V, V) {
    // At 40 and beyond both tails are 0 in every format.
    let w = magnitude(x).min(V::splat(40.0));
    let density = bell(w, 0.5);
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

/// The error function to 2 ulp, and its slope `2 / sqrt(pi) e^(-x^2)` to 2 ulp.
#[inline(always)]
pub fn erf<V: Wide>(x: V) -> (V, V) {
    // At 28 and beyond the slope is 0 in every format.
    let w = magnitude(x).min(V::splat(28.0));
    let density = bell(w, 1.0);
    let z = w.mul(w);
    // erf x / x - 1, for x up to 1.
    let p = polynomial(
        z.min(V::splat(1.0)),
        [
            0.128_379_167_095_512_56,
            -0.376_126_389_031_835_5,
            0.112_837_916_709_452_53,
            -0.026_866_170_643_276_22,
            0.005_223_977_607_423_468,
            -0.000_854_832_598_969_675_8,
            0.000_120_552_953_204_942_94,
            -1.492_474_466_333_548_9e-5,
            1.644_751_767_787_187_3e-6,
            -1.620_917_591_174_869_6e-7,
            1.372_297_626_592_450_4e-8,
            -7.801_188_874_097_751e-10,
        ],
    );
    let near = x.multiply_add(p, x);
    // Beyond 1, erf x = 1 - density(w) ratio(w), and (w + 3) ratio(w) bends little in t = (w - 3) / (w + 3).
    let denominator = w.add(V::splat(3.0));
    let t = w.sub(V::splat(3.0)).div(denominator);
    let q = polynomial(
        t,
        [
            1.074_006_907_088_339_8,
            -0.883_394_453_169_883_7,
            0.590_228_357_104_102_7,
            -0.310_467_261_900_539_36,
            0.119_527_761_287_162_96,
            -0.026_827_234_626_557_87,
            -0.001_212_416_621_449_791_4,
            0.003_034_062_075_058_065,
            -0.000_548_309_789_833_995_5,
            -0.000_276_779_272_624_629_25,
            0.000_107_561_713_496_782_81,
            3.041_326_039_126_56e-5,
            -1.745_890_528_811_156_6e-5,
            -4.828_578_392_896_815e-6,
            2.638_064_855_786_078_2e-6,
            1.128_007_028_143_078_2e-6,
        ],
    );
    let far = V::splat(1.0).sub(density.mul(q).div(denominator));
    let far = V::from_bits(far.to_bits().or(x.to_bits().and(V::Bits::splat(SIGN))));
    // NaN goes the near way and stays.
    (w.above(V::splat(1.0), far, near), density.mul(V::splat(FRAC_2_SQRT_PI)))
}

/// The first number for magnitudes up to `tan(pi / 8)`, the second up to the inverse of that, the third beyond.
#[inline(always)]
fn by_eighth<V: Wide>(w: V, [near, middle, far]: [V; 3]) -> V {
    const TAN_PI_8: f64 = 0.414_213_562_373_095_03;
    const COT_PI_8: f64 = 2.414_213_562_373_095;
    w.above(V::splat(COT_PI_8), far, w.above(V::splat(TAN_PI_8), middle, near))
}

/// The arc tangent, to 2 ulp.
#[inline(always)]
pub fn atan<V: Wide>(x: V) -> V {
    // The parts of pi / 4 and pi / 2 that are lost in rounding.
    const LOW_4: f64 = 3.061_616_997_868_383e-17;
    const LOW_2: f64 = 6.123_233_995_736_766e-17;
    // arctan w is an eighth of a turn or two, or none, and the arc tangent of a t of at most tan(pi / 8).
    let w = magnitude(x);
    let one = V::splat(1.0);
    let t = by_eighth(w, [w, w.sub(one), V::splat(-1.0)]).div(by_eighth(w, [one, w.add(one), w]));
    let high = by_eighth(w, [V::splat(0.0), V::splat(FRAC_PI_4), V::splat(FRAC_PI_2)]);
    let low = by_eighth(w, [V::splat(0.0), V::splat(LOW_4), V::splat(LOW_2)]);
    let z = t.mul(t);
    // (arctan t - t) / t^3
    let p = polynomial(
        z,
        [
            -0.333_333_333_333_333_15,
            0.199_999_999_999_842_25,
            -0.142_857_142_830_151_2,
            0.111_111_109_133_282_98,
            -0.090_909_012_271_254_27,
            0.076_921_179_408_661_17,
            -0.066_637_213_504_697_48,
            0.058_521_353_690_548_825,
            -0.050_574_657_935_264_96,
            0.038_504_130_194_943_67,
            -0.018_367_221_360_935_29,
        ],
    );
    let sum = high.add(t.add(z.mul(t).multiply_add(p, low)));
    V::from_bits(sum.to_bits().or(x.to_bits().and(V::Bits::splat(SIGN))))
}

/// `(sin x, cos x)` of any `x`, to 1 ulp.
#[inline(always)]
pub fn sin_cos<V: Wide>(x: V) -> (V, V) {
    // pi / 2 in three parts of 33 bits, as in FreeBSD's e_rem_pio2.c: their products with a whole number of up to 20
    // bits are exact. The fourth ends 157 bits below the first.
    const PARTS: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_711_166_5e-21];
    const LAST: f64 = 8.478_427_660_368_9e-32;
    const FAR: f64 = 1e6;
    // Added to 1.5 * 2^52, a number is rounded to a whole one, whose low bits say the quarter of the turn.
    let shifted = x.multiply_add(V::splat(FRAC_2_PI), V::splat(1.5 * WHOLE));
    let n = shifted.sub(V::splat(1.5 * WHOLE));
    // t is the rest of x, and `lost` what the rounding of the differences has lost.
    let mut t = n.multiply_add(V::splat(-PARTS[0]), x);
    let mut lost = n.mul(V::splat(-LAST));
    for part in &PARTS[1..] {
        let taken = n.mul(V::splat(*part));
        let rest = t.sub(taken);
        lost = lost.add(t.sub(rest).sub(taken));
        t = rest;
    }
    let rest = t.add(lost);
    let lost = t.sub(rest).add(lost);
    let t = rest;
    let z = t.mul(t);
    let half_z = z.mul(V::splat(0.5));
    let one_less = V::splat(1.0).sub(half_z);
    let sine = t.add(z.mul(t).multiply_add(sine_terms(z), lost.mul(one_less)));
    let rest = z.mul(z).mul(cosine_terms(z)).sub(t.mul(lost));
    let cosine = one_less.add(V::splat(1.0).sub(one_less).sub(half_z).add(rest));
    let (mut cosine, sine) = turned(shifted.to_bits(), cosine, sine);
    // The sine of -0 is -0, and that of a tiny number is the number.
    let mut sine = magnitude(x).above(V::splat(1e-9), sine, x);
    // Beyond a million radians, one number at a time.
    let mut lanes = [0.0; LONGEST];
    x.store(&mut lanes);
    let mut far = false;
    for lane in &lanes[..V::LANES] {
        far |= lane.abs() > FAR;
    }
    if far {
        let (mut sines, mut cosines) = ([0.0; LONGEST], [0.0; LONGEST]);
        sine.store(&mut sines);
        cosine.store(&mut cosines);
        for lane in 0..V::LANES {
            if lanes[lane].abs() > FAR {
                (sines[lane], cosines[lane]) = libm::sincos(lanes[lane]);
            }
        }
        (sine, cosine) = (V::load(&sines), V::load(&cosines));
    }
    (sine, cosine)
}

/// As many elements as the longest vector has.
const LONGEST: usize = 8;

/// `x - tanh x` for `|x| <= 1`, to 2 ulp.
#[inline(always)]
pub fn tanh_gap<V: Wide>(x: V) -> V {
    let z = x.mul(x);
    // (x - tanh x) / x^3
    let p = polynomial(
        z,
        [
            0.333_333_333_333_333_3,
            -0.133_333_333_333_330_92,
            0.053_968_253_968_046_74,
            -0.021_869_488_529_139_74,
            0.008_863_235_404_741_142,
            -0.003_592_126_680_867_374_4,
            0.001_455_824_701_130_500_5,
            -0.000_589_979_331_921_453_6,
            0.000_238_957_161_057_483_22,
            -9.646_300_517_211_584e-5,
            3.838_995_147_853_161e-5,
            -1.460_650_192_374_783_6e-5,
            4.988_038_240_591_263e-6,
            -1.379_319_478_010_967e-6,
            2.633_484_812_550_445e-7,
            -2.516_044_111_686_636_3e-8,
        ],
    );
    z.mul(x).mul(p)
}
