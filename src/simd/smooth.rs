//! Smooth functions on vectors of `f64`, of which activations are made.
//!
//! Products are fused with sums where the set can, so that sets with and without may differ in the last bit; nothing
//! here needs it for its accuracy, which `tests/accuracy.rs` holds. Coefficients are minimax fits by Remez' algorithm
//! in 45 digits (mpmath), each good to 2^-55 of the function that it is for. NaN stays NaN.
//!
//! Elements of `f32`, which are computed in `f64` too, have shorter polynomials of their own, good to 2^-33: to 1/500
//! of their last place. Where the slope of an activation crosses 0, its terms cancel, and what is left is their error.
//! So the shorter ones are exact at these points, and around them weighted by what the slope makes of their error.

use super::math::{self, WHOLE, turned};
use super::{Bits, Float, Set, Task, Vector, Wide};
use std::f64::consts::{FRAC_2_PI, FRAC_2_SQRT_PI, FRAC_PI_2, FRAC_PI_4, LN_2, LOG2_E};
use std::marker::PhantomData;

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

/// A polynomial with the coefficients of `double` or `single`, as the elements are.
#[inline(always)]
fn fitted<F: Float, V: Wide, const N: usize, const M: usize>(x: V, double: [f64; N], single: [f64; M]) -> V {
    if F::WIDE { polynomial(x, double) } else { polynomial(x, single) }
}

/// The `x` from which on `e^-x` is 0.
#[inline(always)]
fn end_of_decay<F: Float>() -> f64 {
    // An exponent of -1023 has the bits of 0, and that of 709.2 is rounded to it. In float32 all is 0 from 104 on, but
    // an infinite z wants a factor that is 0 itself.
    if F::WIDE { 800.0 } else { 709.2 }
}

/// `(e^x, e^x - 1)` for `x + rest` in place of `x`, between 0 and the end of decay; `|rest|` is below 1e-4, and left out
/// for elements of `f32`.
#[inline(always)]
fn exp_of_sum<F: Float, V: Wide>(x: V, rest: V) -> (V, V) {
    // x + rest = n ln 2 + r with |r| <= ln(2) / 2. The two parts of ln 2 are those of FreeBSD's e_exp.c: n times the
    // high one is exact, and so is its difference from x.
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-01;
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    // Added to 1.5 * 2^52, a number is rounded to a whole one, which stands in its low bits.
    let shifted = x.multiply_add(V::splat(LOG2_E), V::splat(1.5 * WHOLE));
    let n = shifted.sub(V::splat(1.5 * WHOLE));
    let (high, low) = (n.multiply_add(V::splat(-LN2_HIGH), x), n.multiply_add(V::splat(-LN2_LOW), rest));
    let r = if F::WIDE { high.add(low) } else { n.multiply_add(V::splat(-LN_2), x) };
    // (e^r - 1 - r) / r^2. The shorter one is exact where the slopes of silu, gelu(tanh) and mish cross 0: for silu and
    // mish at the float32 beside that point, and with r as it is rounded here, or mish would miss there by 2 units.
    let p = fitted::<F, V, _, _>(
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
        [
            4.999_999_999_559_193_7e-1,
            1.666_666_671_400_093e-1,
            4.166_666_912_081_653e-2,
            8.333_301_791_713_78e-3,
            1.388_861_267_817_822_3e-3,
            1.989_673_371_401_125_7e-4,
            2.491_373_317_005_567e-5,
        ],
    );
    let square = r.mul(r);
    let (q, power) = if F::WIDE {
        // The first term without the rounding of r.
        (high.add(square.multiply_add(p, low)), V::splat(1.0).times_power_of_two(n))
    } else {
        (square.multiply_add(p, r), V::from_bits(shifted.to_bits().add(V::Bits::splat(1023)).left::<52>()))
    };
    (power.multiply_add(q, power), power.multiply_add(q, power.sub(V::splat(1.0))))
}

/// `(e^-|x|, e^-|x| - 1)`, each to 1 ulp.
#[inline(always)]
pub fn decay<F: Float, V: Wide>(x: V) -> (V, V) {
    let x = V::from_bits(x.to_bits().or(V::Bits::splat(SIGN))).max(V::splat(-end_of_decay::<F>()));
    exp_of_sum::<F, V>(x, V::splat(0.0))
}

/// `e^x` in place of numbers that are 0 or less, as far as elements of type `F` can tell.
pub fn exponentials<F: Float>(values: &mut [f64]) {
    super::run(Exponentials { values, element: PhantomData::<F> });
}

struct Exponentials<'v, F> {
    values: &'v mut [f64],
    element: PhantomData<F>,
}

impl<F: Float> Task for Exponentials<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let lanes = S::Double::LANES;
        let mut chunks = self.values.chunks_exact_mut(lanes);
        for chunk in &mut chunks {
            decay::<F, S::Double>(S::Double::load(chunk)).0.store(chunk);
        }
        let rest = chunks.into_remainder();
        if rest.is_empty() {
            return;
        }
        let mut last = [0.0; 8];
        last[..rest.len()].copy_from_slice(rest);
        decay::<F, S::Double>(S::Double::load(&last)).0.store(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// `ln(1 + x)` for `0 <= x <= 1`, to 2 ulp.
#[inline(always)]
pub fn log1p<F: Float, V: Wide>(x: V) -> V {
    // As in FreeBSD's e_log.c: ln(1 + x) = 2 artanh s with s = x / (2 + x), arranged so that the rounding of s hits the
    // smaller terms only. Up to s = 1/3 no reduction is needed.
    let s = x.div(x.add(V::splat(2.0)));
    let z = s.mul(s);
    // (2 artanh s - 2 s) / s^3
    let p = fitted::<F, V, _, _>(
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
        [
            6.666_667_550_000_053e-1,
            3.999_888_837_000_755e-1,
            2.861_659_646_051_799_6e-1,
            2.143_074_299_508_903_6e-1,
            2.428_955_210_257_838_5e-1,
        ],
    );
    if !F::WIDE {
        return s.mul(z).multiply_add(p, s.add(s));
    }
    let half_square = x.mul(x).mul(V::splat(0.5));
    x.sub(half_square.sub(s.mul(z.multiply_add(p, half_square))))
}

/// `e^(-share w^2)` for `w >= 0`, to 1 ulp; `share` is 1 or 1/2, and the power not beyond the end of decay.
#[inline(always)]
fn bell<F: Float, V: Wide>(w: V, share: f64) -> V {
    const HIGH_HALF: u64 = u64::MAX << 27;
    if !F::WIDE {
        // A number of 24 bits has an exact square.
        return exp_of_sum::<F, V>(w.mul(w.mul(V::splat(-share))), V::splat(0.0)).0;
    }
    // w^2 = high^2 + (w - high)(w + high): high has 26 bits, so that its square is exact.
    let high = V::from_bits(w.to_bits().and(V::Bits::splat(HIGH_HALF)));
    let minus_share = high.mul(V::splat(-share));
    let rest = w.sub(high).mul(w.multiply_add(V::splat(-share), minus_share));
    exp_of_sum::<F, V>(high.mul(minus_share), rest).0
}

/// The standard normal's distribution function and its density, to 4 and 2 ulp.
#[inline(always)]
pub fn normal<F: Float, V: Wide>(x: V) -> (V, V) {
    // Beyond this bound both tails are 0 in every format.
    let w = magnitude(x).min(V::splat((2.0 * end_of_decay::<F>()).sqrt()));
    let density = bell::<F, V>(w, 0.5);
    // The upper tail is density(w) ratio(w), and (w + 5) ratio(w) bends little in t = (w - 5) / (w + 5), which lies
    // between -1 and 1. The denominator is rounded, by so little that one step along the slope of the ratio, w ratio -
    // density(0), makes up for it.
    let denominator = w.add(V::splat(5.0));
    let rounded_away = w.sub(denominator.sub(V::splat(5.0)));
    let inverse = V::splat(1.0).div(denominator);
    let t = if F::WIDE { denominator.sub(V::splat(10.0)).div(denominator) } else { line(inverse, 1.0, -10.0) };
    // The shorter one is exact where the slope of gelu crosses 0, and at w = 0: with its fourth number moved by three
    // units of the last place, the sum is 5/2 there with fused products and without.
    let p = fitted::<F, V, _, _>(
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
        [
            7.691_930_497_352_992e-1,
            -6.653_825_013_794_098e-1,
            4.953_056_172_610_016e-1,
            -3.135_332_310_437_175e-1,
            1.650_203_201_723_219_6e-1,
            -6.911_762_571_606_56e-2,
            2.079_592_939_503_943e-2,
            -2.998_851_339_264_096e-3,
            -8.043_220_323_885_841e-4,
            5.564_284_405_539_334e-4,
            -4.072_192_231_904_468e-5,
            -5.434_635_314_218_236_4e-5,
        ],
    );
    let ratio = if F::WIDE {
        let ratio = p.div(denominator);
        rounded_away.multiply_add(w.multiply_add(ratio, V::splat(-PEAK)), ratio)
    } else {
        p.mul(inverse)
    };
    let tail = ratio.mul(density);
    (x.above(V::splat(0.0), V::splat(1.0).sub(tail), tail), density.mul(V::splat(PEAK)))
}

/// The error function to 2 ulp, and its slope `2 / sqrt(pi) e^(-x^2)` to 2 ulp.
#[inline(always)]
pub fn erf<F: Float, V: Wide>(x: V) -> (V, V) {
    // Beyond this bound the slope is 0 in every format.
    let w = magnitude(x).min(V::splat(end_of_decay::<F>().sqrt()));
    let density = bell::<F, V>(w, 1.0);
    let z = w.mul(w);
    // erf x / x - 1, for x up to 1.
    let p = fitted::<F, V, _, _>(
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
        [
            0.128_379_167_058_026_35,
            -0.376_126_384_346_776_6,
            0.112_837_819_744_145_46,
            -0.026_865_400_059_019_08,
            0.005_220_945_480_675_095_5,
            -0.000_848_282_955_552_416_2,
            0.000_112_569_531_100_255_43,
            -9.641_530_879_804_214e-6,
        ],
    );
    let near = x.multiply_add(p, x);
    // Beyond 1, erf x = 1 - density(w) ratio(w), and (w + 3) ratio(w) bends little in t = (w - 3) / (w + 3).
    let denominator = w.add(V::splat(3.0));
    let inverse = V::splat(1.0).div(denominator);
    let t = if F::WIDE { w.sub(V::splat(3.0)).div(denominator) } else { line(inverse, 1.0, -6.0) };
    let q = fitted::<F, V, _, _>(
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
        [
            1.074_006_474_671_319_6,
            -0.883_408_075_862_583,
            0.590_064_188_056_843,
            -0.311_482_640_600_224_1,
            0.115_978_267_107_717_83,
            -0.033_920_000_270_217_965,
            -0.008_718_506_937_505_902,
        ],
    );
    let tail = density.mul(q);
    let far = V::splat(1.0).sub(if F::WIDE { tail.div(denominator) } else { tail.mul(inverse) });
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
pub fn atan<F: Float, V: Wide>(x: V) -> V {
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
    let p = fitted::<F, V, _, _>(
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
        [
            -0.333_333_325_146_576_65,
            0.199_999_051_909_450_53,
            -0.142_820_421_876_920_68,
            0.110_450_948_802_850_58,
            -0.084_784_132_598_403_76,
            0.047_482_889_136_303_11,
        ],
    );
    let cube = z.mul(t);
    let sum = high.add(if F::WIDE { t.add(cube.multiply_add(p, low)) } else { cube.multiply_add(p, t) });
    V::from_bits(sum.to_bits().or(x.to_bits().and(V::Bits::splat(SIGN))))
}

/// The high 33 bits of `pi / 2`, as in FreeBSD's `e_rem_pio2.c`: their product with a whole number of up to 20 bits is
/// exact.
const QUARTER: f64 = 1.570_796_326_734_125_6;

/// `(sin t, cos t)` of `t = x - n pi / 2`, which is at most an eighth of a turn, for `|n|` below 2^20.
#[inline(always)]
fn whole_eighth<V: Wide>(x: V, n: V) -> (V, V) {
    // 33 bits more of pi / 2, and 33 more, from the same place. The last part ends 157 bits below the first.
    const PARTS: [f64; 2] = [6.077_100_506_303_966e-11, 2.022_266_248_711_166_5e-21];
    const LAST: f64 = 8.478_427_660_368_9e-32;
    // t is the rest of x, and `lost` what the rounding of the differences has lost.
    let mut t = n.multiply_add(V::splat(-QUARTER), x);
    let mut lost = n.mul(V::splat(-LAST));
    for part in PARTS {
        let taken = n.mul(V::splat(part));
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
    let sine = t.add(z.mul(t).multiply_add(math::sine_terms(z), lost.mul(one_less)));
    let rest = z.mul(z).mul(math::cosine_terms(z)).sub(t.mul(lost));
    let cosine = one_less.add(V::splat(1.0).sub(one_less).sub(half_z).add(rest));
    // The sine of -0 is -0, and that of a tiny number is the number.
    (magnitude(x).above(V::splat(1e-9), sine, x), cosine)
}

/// [`whole_eighth`] for elements of `f32`. The polynomials are exact at an eighth of a turn, where the slope of snake is 0.
#[inline(always)]
fn short_eighth<V: Wide>(x: V, n: V) -> (V, V) {
    // What the high part lacks of pi / 2; n times what is lacking still is below 2^-66.
    const REST: f64 = 6.077_100_506_506_192e-11;
    let t = n.multiply_add(V::splat(-REST), n.multiply_add(V::splat(-QUARTER), x));
    let z = t.mul(t);
    // (sin t - t) / t^3 and (cos t - 1 + t^2 / 2) / t^4
    let s = polynomial(
        z,
        [-0.166_666_665_707_738_78, 0.008_333_323_903_564_5, -0.000_198_380_275_074_777_58, 2.708_473_494_458_010_4e-6],
    );
    let c = polynomial(
        z,
        [0.041_666_666_568_329, -0.001_388_887_994_227_057_1, 2.479_867_554_915_158e-5, -2.715_016_924_700_913e-7],
    );
    // Each is the largest term and the rest of them, or the slope of snake would miss by 0.52 units beside its zeros.
    // + 0, so that the product with a t of -0 is -0, and the sine too.
    let sine = z.multiply_add(s, V::splat(0.0)).multiply_add(t, t);
    let less_one = z.mul(z).multiply_add(c, z.mul(V::splat(-0.5)));
    (sine, less_one.add(V::splat(1.0)))
}

/// `(sin x, cos x)` of any `x`, to 1 ulp.
#[inline(always)]
pub fn sin_cos<F: Float, V: Wide>(x: V) -> (V, V) {
    const FAR: f64 = 1e6;
    // Added to 1.5 * 2^52, a number is rounded to a whole one, whose low bits say the quarter of the turn.
    let shifted = x.multiply_add(V::splat(FRAC_2_PI), V::splat(1.5 * WHOLE));
    let n = shifted.sub(V::splat(1.5 * WHOLE));
    let (sine, cosine) = if F::WIDE { whole_eighth(x, n) } else { short_eighth(x, n) };
    let (mut cosine, mut sine) = turned(shifted.to_bits(), cosine, sine);
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
pub fn tanh_gap<F: Float, V: Wide>(x: V) -> V {
    let z = x.mul(x);
    // (x - tanh x) / x^3
    let p = fitted::<F, V, _, _>(
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
        [
            0.333_333_333_320_654_9,
            -0.133_333_330_790_046_9,
            0.053_968_169_137_311_64,
            -0.021_868_381_113_945_123,
            0.008_855_809_824_792_51,
            -0.003_563_064_843_816_960_2,
            0.001_384_829_726_210_213_2,
            -0.000_477_927_978_876_114_1,
            0.000_122_861_188_310_362_84,
            -1.645_443_542_726_581_3e-5,
        ],
    );
    z.mul(x).mul(p)
}
