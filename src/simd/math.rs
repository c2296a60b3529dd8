//! Functions on vectors of `f64`, each one chain of exactly rounded operations: the same bits on every instruction set.
//! No fused multiply-add, which not every set has; the random streams are made of these.
//!
//! Coefficients are those of FreeBSD's msun (`e_log.c`, `k_sin.c`, `k_cos.c`; Sun Microsystems 1993).

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
