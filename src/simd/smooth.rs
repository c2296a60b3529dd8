//! Smooth functions on vectors of `f64`: what activations are made of, within 2 ulp on every instruction set.
//!
//! With fused multiply-adds where the set has them, so that sets with and without may differ in the last bit; nothing
//! here relies on one for its accuracy. Coefficients are interpolations at Chebyshev points in 60 digits (mpmath), each
//! good to 2^-55 of the function over the interval named beside it. NaN stays NaN.

use super::math::WHOLE;
use super::{Bits, Wide};

/// `c[0] + x (c[1] + x (c[2] + ...))`, fused.
#[inline(always)]
fn polynomial<V: Wide, const N: usize>(x: V, c: [f64; N]) -> V {
    let mut sum = V::splat(c[N - 1]);
    for &c in c[..N - 1].iter().rev() {
        sum = sum.multiply_add(x, V::splat(c));
    }
    sum
}

/// `(n, e^r - 1)` with `x + rest = n ln 2 + r` and `|r| <= ln(2) / 2`; `|rest|` below 1e-4, `x` brought to where
/// `e^x` is neither surely 0 nor surely infinite.
#[inline(always)]
fn reduced<V: Wide>(x: V, rest: V) -> (V, V) {
    // ln 2 as in FreeBSD's e_exp.c: n times the high part is exact, and so is its difference from x.
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-01;
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    let x = x.max(V::splat(-746.0)).min(V::splat(710.0));
    // Added to 1.5 * 2^52, a number is rounded to a whole one.
    let n = x.multiply_add(V::splat(std::f64::consts::LOG2_E), V::splat(1.5 * WHOLE)).sub(V::splat(1.5 * WHOLE));
    let high = n.multiply_add(V::splat(-LN2_HIGH), x);
    let low = n.multiply_add(V::splat(-LN2_LOW), rest);
    let r = high.add(low);
    // What the rounding of r took away.
    let lost = high.sub(r).add(low);
    // (e^r - 1 - r) / r^2
    let p = polynomial(
        r,
        [
            0.5,
            1.666_666_666_666_666_9e-1,
            4.166_666_666_666_666_4e-2,
            8.333_333_333_330_062e-3,
            1.388_888_888_888_655_2e-3,
            1.984_126_985_386_305_2e-4,
            2.480_158_731_714_449_8e-5,
            2.755_726_845_999_706_4e-6,
            2.755_728_296_954_995e-7,
            2.510_038_549_551_032e-8,
            2.091_123_663_026_154_5e-9,
        ],
    );
    (n, r.add(r.mul(r).multiply_add(p, lost)))
}

/// `e^x`.
#[inline(always)]
pub fn exp<V: Wide>(x: V) -> V {
    exp_of_sum(x, V::splat(0.0))
}

/// `e^(x + rest)` for `|rest|` below 1e-4.
#[inline(always)]
fn exp_of_sum<V: Wide>(x: V, rest: V) -> V {
    let (n, q) = reduced(x, rest);
    V::splat(1.0).add(q).times_power_of_two(n)
}

/// `e^x - 1`.
#[inline(always)]
pub fn expm1<V: Wide>(x: V) -> V {
    let (n, q) = reduced(x, V::splat(0.0));
    // Half of it: 2^1024 would be infinite before q < 0 is added.
    let half = V::splat(0.5).times_power_of_two(n);
    let half_of_it = half.multiply_add(q, half.sub(V::splat(0.5)));
    half_of_it.add(half_of_it)
}

/// `ln(1 + x)` for `0 <= x <= 1`.
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
            6.666_666_666_666_666e-1,
            4.000_000_000_001_459_6e-1,
            2.857_142_856_710_506e-1,
            2.222_222_271_780_178_2e-1,
            1.818_178_941_732_644_7e-1,
            1.538_557_059_091_224_3e-1,
            1.331_413_555_088_116_2e-1,
            1.200_115_518_278_577_8e-1,
            8.800_317_650_876_773e-2,
            1.616_493_816_947_139_3e-1,
        ],
    );
    let half_square = x.mul(x).mul(V::splat(0.5));
    x.sub(half_square.sub(s.mul(z.multiply_add(p, half_square))))
}

/// The standard normal's distribution function at `x` and its density without the factor `1 / sqrt(2 pi)`.
#[inline(always)]
pub fn normal<V: Wide>(x: V) -> (V, V) {
    const NO_SIGN: u64 = u64::MAX >> 1;
    const HIGH_HALF: u64 = u64::MAX << 27;
    // At 40 and beyond both tails are 0 in every format.
    let w = V::from_bits(x.to_bits().and(V::Bits::splat(NO_SIGN))).min(V::splat(40.0));
    // w^2 = high^2 + (w - high)(w + high): high has 26 bits, so that its square is exact.
    let high = V::from_bits(w.to_bits().and(V::Bits::splat(HIGH_HALF)));
    let rest = w.sub(high).mul(w.add(high)).mul(V::splat(-0.5));
    let density = exp_of_sum(high.mul(high).mul(V::splat(-0.5)), rest);
    // (w + 5) e^(w^2 / 2) (1 - distribution(w)) bends little in t, which takes the half-line to an interval.
    let d = V::splat(1.0).div(w.add(V::splat(5.0)));
    let t = w.sub(V::splat(5.0)).mul(d);
    let p = polynomial(
        t,
        [
            7.691_930_497_500_63e-1,
            -6.653_825_028_900_568e-1,
            4.953_056_159_699_76e-1,
            -3.135_331_566_712_881e-1,
            1.650_203_661_704_098_3e-1,
            -6.911_863_870_685_579e-2,
            2.079_506_679_920_048_5e-2,
            -2.993_376_762_232_335_3e-3,
            -7.978_693_886_321_235e-4,
            5.448_989_960_971_598e-4,
            -5.937_581_149_458_508_4e-5,
            -4.976_247_516_686_963e-5,
            1.668_165_473_581_609_2e-5,
            3.979_875_146_352_331e-6,
            -2.770_752_021_089_363_4e-6,
            -3.347_456_433_999_717e-7,
            4.363_221_390_396_804_3e-7,
            4.045_349_946_991_468_4e-8,
            -7.012_796_329_386_927e-8,
            -8.833_951_476_192_23e-9,
            1.073_267_065_345_570_5e-8,
            2.380_938_735_908_965e-9,
            -1.100_351_488_032_134_3e-9,
            -4.215_048_810_150_002e-10,
            -1.975_020_511_738_905_4e-11,
        ],
    );
    let tail = p.mul(d).mul(density);
    (x.above(V::splat(0.0), V::splat(1.0).sub(tail), tail), density)
}
