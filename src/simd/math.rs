//! Functions on vectors of `f64`, each one chain of exactly rounded operations, which gives one result on every
//! instruction set. No multiply-add is fused, which not every set can do. The random streams are made of them.
//!
//! Coefficients of logarithm and circle are those of FreeBSD's msun (`e_log.c`, `k_sin.c`, `k_cos.c`; Sun Microsystems
//! 1993).

use super::{Bits, Wide};

/// 2^52, whose sum with a whole number below it holds that number in its low bits.
pub(super) const WHOLE: f64 = 4_503_599_627_370_496.0;

/// `c[0] + x (c[1] + x (c[2] + ...))`.
#[inline(always)]
pub fn polynomial<V: Wide, const N: usize>(x: V, c: [f64; N]) -> V {
    let mut sum = V::splat(c[N - 1]);
    for &c in c[..N - 1].iter().rev() {
        sum = sum.mul(x).add(V::splat(c));
    }
    sum
}

/// A whole number below 2^52 as `f64`.
#[inline(always)]
pub fn whole<V: Wide>(bits: V::Bits) -> V {
    V::from_bits(bits.or(V::Bits::splat(WHOLE.to_bits()))).sub(V::splat(WHOLE))
}

/// `(k, f)` with `x = 2^k (1 + f)` and `1 + f` between `sqrt(1/2)` and `sqrt(2)`, for a positive normal `x`.
#[inline(always)]
pub fn ln_parts<V: Wide>(x: V) -> (V, V) {
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    const ROOT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let biased = x.to_bits().add(V::Bits::splat(ONE - ROOT_HALF)).right::<52>();
    let k = whole::<V>(biased).sub(V::splat(1023.0));
    let m = V::from_bits(x.to_bits().sub(biased.sub(V::Bits::splat(1023)).left::<52>()));
    (k, m.sub(V::splat(1.0)))
}

/// The natural logarithm of a positive normal number, to 1 ulp.
#[inline(always)]
pub fn ln<V: Wide>(x: V) -> V {
    const LN2_HIGH: f64 = 6.931_471_803_691_238_164_90e-01;
    const LN2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
    let (k, f) = ln_parts(x);
    let s = f.div(f.add(V::splat(2.0)));
    let z = s.mul(s);
    let r = z.mul(polynomial(
        z,
        [
            6.666_666_666_666_735_130e-01,
            3.999_999_999_940_941_908e-01,
            2.857_142_874_366_239_149e-01,
            2.222_219_843_214_978_396e-01,
            1.818_357_216_161_805_012e-01,
            1.531_383_769_920_937_332e-01,
            1.479_819_860_511_658_591e-01,
        ],
    ));
    let half_square = f.mul(f).mul(V::splat(0.5));
    let low = s.mul(half_square.add(r)).add(k.mul(V::splat(LN2_LOW)));
    // k LN2_HIGH is exact.
    k.mul(V::splat(LN2_HIGH)).add(f.sub(half_square.sub(low)))
}

/// `(sin t - t) / t^3` of `z = t^2` for `|t| <= pi / 4`.
#[inline(always)]
pub fn sine_terms<V: Wide>(z: V) -> V {
    polynomial(
        z,
        [
            -1.666_666_666_666_663_243_48e-01,
            8.333_333_333_322_489_461_24e-03,
            -1.984_126_982_985_794_931_34e-04,
            2.755_731_370_707_006_767_89e-06,
            -2.505_076_025_340_686_341_95e-08,
            1.589_690_995_211_550_102_21e-10,
        ],
    )
}

/// `(cos t - 1 + t^2 / 2) / t^4` of `z = t^2` for `|t| <= pi / 4`.
#[inline(always)]
pub fn cosine_terms<V: Wide>(z: V) -> V {
    polynomial(
        z,
        [
            4.166_666_666_666_660_190_37e-02,
            -1.388_888_888_887_410_957_49e-03,
            2.480_158_728_947_672_941_78e-05,
            -2.755_731_435_139_066_330_35e-07,
            2.087_572_321_298_174_827_90e-09,
            -1.135_964_755_778_819_482_65e-11,
        ],
    )
}

/// `(cos, sin)` of an angle to which so many quarters of a turn (in the low bits) are added.
#[inline(always)]
pub fn turned<V: Wide>(quarter: V::Bits, cosine: V, sine: V) -> (V, V) {
    // An odd quarter swaps the two; the sine is negative in quarters 2 and 3, the cosine in 1 and 2.
    let odd = quarter.mask_of_lowest();
    let swap = cosine.to_bits().xor(sine.to_bits()).and(odd);
    let cosine_sign = quarter.add(V::Bits::splat(1)).right::<1>().left::<63>();
    let sine_sign = quarter.right::<1>().left::<63>();
    (V::from_bits(cosine.to_bits().xor(swap).xor(cosine_sign)), V::from_bits(sine.to_bits().xor(swap).xor(sine_sign)))
}

/// `(cos 2 pi u, sin 2 pi u)` for `0 <= u <= 1`, to 1 ulp of the larger.
#[inline(always)]
pub fn cos_sin_turns<V: Wide>(u: V) -> (V, V) {
    // u = q / 4 + r with |r| <= 1/8: exact.
    let shifted = u.mul(V::splat(4.0)).add(V::splat(1.5 * WHOLE));
    let quarter = shifted.to_bits();
    let q = shifted.sub(V::splat(1.5 * WHOLE));
    let t = u.sub(q.mul(V::splat(0.25))).mul(V::splat(std::f64::consts::TAU));
    let z = t.mul(t);
    let sine = z.mul(t).mul(sine_terms(z)).add(t);
    let half_z = z.mul(V::splat(0.5));
    let one_less = V::splat(1.0).sub(half_z);
    let rest = z.mul(z).mul(cosine_terms(z));
    let cosine = one_less.add(V::splat(1.0).sub(one_less).sub(half_z).add(rest));
    turned(quarter, cosine, sine)
}

// Numerators and denominators of `normal_quantile`, lowest order first.
const CENTRAL: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
];
const TAIL: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        0.000_774_545_014_278_341_4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        0.000_547_593_808_499_534_5,
        1.050_750_071_644_416_9e-09,
    ],
];
const FAR: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-05,
        2.010_334_399_292_288_1e-07,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        0.000_786_869_131_145_613_3,
        1.846_318_317_510_054_8e-05,
        1.421_511_758_316_446e-07,
        2.044_263_103_389_939_7e-15,
    ],
];

/// The `z` below which a standard normal falls with probability `0 < p < 1`, to 1e-15 of the larger of itself and 1.
///
/// M. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37, 1988:
/// ratios of polynomials, in `0.425^2 - (p - 1/2)^2` near the middle and in `sqrt(-ln p)` toward the tails.
#[inline(always)]
pub fn normal_quantile<V: Wide>(p: V) -> V {
    let q = p.sub(V::splat(0.5));
    let central = q.mul(ratio(V::splat(0.180_625).sub(q.mul(q)), CENTRAL));
    // The logarithm is for normal numbers: none is smaller than the smallest of these.
    let tail = p.min(V::splat(1.0).sub(p)).max(V::splat(f64::MIN_POSITIVE));
    let r = V::splat(0.0).sub(ln(tail)).sqrt();
    let outer = r.above(V::splat(5.0), ratio(r.sub(V::splat(5.0)), FAR), ratio(r.sub(V::splat(1.6)), TAIL));
    let outer = q.above(V::splat(0.0), outer, V::splat(0.0).sub(outer));
    q.max(V::splat(0.0).sub(q)).above(V::splat(0.425), outer, central)
}

#[inline(always)]
fn ratio<V: Wide>(x: V, [above, below]: [[f64; 8]; 2]) -> V {
    polynomial(x, above).div(polynomial(x, below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{self, Set, Task, Vector};

    struct Table<'v>(&'v [f64]);

    impl Task for Table<'_> {
        type Output = Vec<(f64, f64, f64)>;

        #[inline(always)]
        fn run<S: Set>(self) -> Self::Output {
            let mut out = Vec::new();
            for x in self.0.chunks_exact(S::Double::LANES) {
                let x = S::Double::load(x);
                let (cosine, sine) = cos_sin_turns(x);
                let (mut l, mut c, mut s) = ([0.0; 8], [0.0; 8], [0.0; 8]);
                ln(x).store(&mut l);
                cosine.store(&mut c);
                sine.store(&mut s);
                out.extend((0..S::Double::LANES).map(|i| (l[i], c[i], s[i])));
            }
            out
        }
    }

    struct Quantiles<'v>(&'v [f64]);

    impl Task for Quantiles<'_> {
        type Output = Vec<f64>;

        #[inline(always)]
        fn run<S: Set>(self) -> Self::Output {
            let mut out = vec![0.0; self.0.len()];
            for (p, z) in self.0.chunks_exact(S::Double::LANES).zip(out.chunks_exact_mut(S::Double::LANES)) {
                normal_quantile(S::Double::load(p)).store(z);
            }
            out
        }
    }

    #[test]
    fn quantiles_are_the_inverse_of_the_distribution_function() {
        let even = (0..80_000).map(|i| (f64::from(i) + 0.5) / 80_000.0);
        let small = (0..8000).map(|i| 2_f64.powf(-0.12 * f64::from(i)));
        let p = even.chain(small.skip(8)).chain([0.5; 8]).collect::<Vec<_>>();
        for (&p, z) in p.iter().zip(simd::run(Quantiles(&p))) {
            // By the smaller tail; its slope is the density.
            let (z, tail) = if p > 0.5 { (-z, 1.0 - p) } else { (z, p) };
            let error = 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) - tail;
            let density = libm::exp(-0.5 * z * z) / std::f64::consts::TAU.sqrt();
            assert!((error / density).abs() < 1e-15 * z.abs().max(1.0), "{p}: {z} {error}");
        }
    }

    #[test]
    fn logarithm_and_circle_agree_with_libm_on_all_scales_of_the_unit_interval() {
        let even = (0..80_000).map(|i| (f64::from(i) + 0.5) / 80_000.0);
        let small = (0..800).map(|i| 2_f64.powf(-0.07 * f64::from(i)));
        let x = even.chain(small).collect::<Vec<_>>();
        for (x, (l, c, s)) in x.iter().zip(simd::run(Table(&x))) {
            let exact = libm::log(*x);
            assert!(
                (l - exact).abs() <= 2.0 * f64::EPSILON * exact.abs().max(f64::MIN_POSITIVE),
                "ln {x}: {l} {exact}"
            );
            // libm's own argument 2 pi x is rounded: half an ulp of up to 2 pi.
            let (sine, cosine) = libm::sincos(std::f64::consts::TAU * x);
            assert!((c - cosine).abs() < 8e-16, "cos {x}: {c} {cosine}");
            assert!((s - sine).abs() < 8e-16, "sin {x}: {s} {sine}");
        }
    }
}
