//! The functions of gates in `f32`, each with its slope, to some units of the last place.
//!
//! The activations of a layer are worked out in `f64` and rounded once: of a recurrent cell, which has four gates a unit,
//! that took a fifth of all its gradients. What a gate lets through matters in saturation too, so slopes are made of
//! `e^-|z|` and keep their digits however small they are.

use crate::simd::{self, Narrow, NarrowBits, Set, Task, Vector};

/// `1 / (1 + e^-z)` and its slope; there are whole vectors of values, in three slices of one length.
pub fn sigmoids(z: &[f32], values: &mut [f32], slopes: &mut [f32]) {
    simd::run(Gates { z, values, slopes, squashes: false });
}

/// `tanh z` and its slope, in the same way.
pub fn tanhs(z: &[f32], values: &mut [f32], slopes: &mut [f32]) {
    simd::run(Gates { z, values, slopes, squashes: true });
}

struct Gates<'v> {
    z: &'v [f32],
    values: &'v mut [f32],
    slopes: &'v mut [f32],
    squashes: bool,
}

impl Task for Gates<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { z, values, slopes, squashes } = self;
        let lanes = S::Single::LANES;
        let outputs = values.chunks_exact_mut(lanes).zip(slopes.chunks_exact_mut(lanes));
        for (z, (value, slope)) in z.chunks_exact(lanes).zip(outputs) {
            let z = S::Single::load(z);
            let found = if squashes { tanh(z) } else { sigmoid(z) };
            found[0].store(value);
            found[1].store(slope);
        }
    }
}

/// The bits of infinity: above them are those of NaN.
const INFINITY: u32 = 0x7f80_0000;

/// `e^-|x|`, `e^-|x| - 1` and `1 / (1 + e^-|x|)`, each to 1 or 2 units of the last place; `bits` are those of `|x|`.
#[inline(always)]
fn decay<V: Narrow>(bits: V::Bits) -> [V; 3] {
    /// Added to it, a number is rounded to a whole one, which stands in its low bits.
    const WHOLE: f32 = 12_582_912.0;
    /// Beyond it `e^-x` is no normal number, and 0 here.
    const FAR: f32 = 87.0;
    let splat = V::splat;
    let beyond = V::Bits::splat(FAR.to_bits()).sub(bits);
    let size = V::by_sign(beyond, splat(FAR), V::from_bits(bits));
    // -size = n ln 2 + r with |r| <= ln(2) / 2; n times the high part of ln 2 is exact.
    let shifted = size.fused(splat(-std::f32::consts::LOG2_E), splat(WHOLE));
    let n = shifted.sub(splat(WHOLE));
    let r = n.fused(splat(-0.693_359_4), splat(0.0).sub(size));
    let r = n.fused(splat(2.121_944_4e-4), r);
    // (e^r - 1 - r) / r^2, the minimax fit of Cephes' expf.
    let mut fit = splat(1.987_569_1e-4);
    for term in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        fit = fit.fused(r, splat(term));
    }
    let less_one = r.mul(r).fused(fit, r);
    let power = V::from_bits(V::Bits::splat(1.0_f32.to_bits()).add(shifted.to_bits().left::<23>()));
    let e = V::by_sign(beyond, splat(0.0), power.fused(less_one, power));
    let less_one = V::by_sign(beyond, splat(-1.0), power.fused(less_one, power.sub(splat(1.0))));
    // 1 / (1 + e) by Newton's steps from a parabola, whose error of 0.016 they square twice.
    let sum = splat(-1.0).sub(e);
    let mut inverse = e.fused(splat(0.323), splat(-0.819)).fused(e, splat(0.995));
    for _ in 0..2 {
        let error = sum.fused(inverse, splat(1.0));
        inverse = inverse.fused(error, inverse);
    }
    [e, less_one, inverse]
}

#[inline(always)]
fn sigmoid<V: Narrow>(z: V) -> [V; 2] {
    let bits = z.to_bits().and(V::Bits::splat(u32::MAX >> 1));
    let [e, _, large] = decay::<V>(bits);
    let small = e.mul(large);
    let lost = V::Bits::splat(INFINITY).sub(bits);
    [V::by_sign(z.to_bits(), small, large), large.mul(small)].map(|value| V::by_sign(lost, z, value))
}

#[inline(always)]
fn tanh<V: Narrow>(z: V) -> [V; 2] {
    let sign = V::Bits::splat(1 << 31);
    let bits = z.to_bits().and(V::Bits::splat(u32::MAX >> 1));
    let twice = V::from_bits(bits).mul(V::splat(2.0)).to_bits();
    let [e, less_one, inverse] = decay::<V>(twice);
    let value = V::splat(0.0).sub(less_one).mul(inverse);
    let value = V::from_bits(value.to_bits().or(z.to_bits().and(sign)));
    // 1 / cosh^2 = 4 e / (1 + e)^2 with e = exp(-2|z|).
    let double = inverse.mul(V::splat(2.0));
    let lost = V::Bits::splat(INFINITY).sub(bits);
    [value, e.mul(double).mul(double)].map(|value| V::by_sign(lost, z, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative errors of values and slopes over many numbers, in units of 2^-24.
    fn errors(f: fn(&[f32], &mut [f32], &mut [f32]), exact: fn(f64) -> (f64, f64), most: f32) -> [f64; 2] {
        let z = (0..32_000).map(|i| most * ((i as f32 - 15_999.5) / 16_000.0).powi(3)).collect::<Vec<_>>();
        let (mut values, mut slopes) = (vec![0.0; z.len()], vec![0.0; z.len()]);
        f(&z, &mut values, &mut slopes);
        let mut worst = [0.0_f64; 2];
        for ((z, value), slope) in z.iter().zip(values).zip(slopes) {
            let exact = exact(f64::from(*z));
            for (worst, (found, exact)) in worst.iter_mut().zip([(value, exact.0), (slope, exact.1)]) {
                *worst = worst.max(((f64::from(found) - exact) / exact).abs() * f64::from(1 << 24));
            }
        }
        worst
    }

    #[test]
    fn gates_and_their_slopes_keep_their_digits_in_saturation() {
        let of_sigmoid = errors(
            sigmoids,
            |z| {
                let e = libm::exp(-z.abs());
                (if z > 0.0 { 1.0 } else { e } / (1.0 + e), e / ((1.0 + e) * (1.0 + e)))
            },
            86.0,
        );
        let of_tanh = errors(tanhs, |z| (libm::tanh(z), libm::cosh(z).powi(-2)), 43.0);
        assert!(of_sigmoid[0] < 5.0 && of_sigmoid[1] < 7.0, "{of_sigmoid:?}");
        assert!(of_tanh[0] < 5.0 && of_tanh[1] < 7.0, "{of_tanh:?}");
    }

    #[test]
    fn what_is_infinite_has_its_limit_and_nan_stays_nan() {
        let mut z = [0.0_f32; 32];
        (z[0], z[1], z[2], z[3]) = (f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN);
        let (mut values, mut slopes) = ([7.0; 32], [7.0; 32]);
        sigmoids(&z, &mut values, &mut slopes);
        assert_eq!((values[0], values[1], slopes[0], slopes[1]), (1.0, 0.0, 0.0, 0.0));
        assert!(values[2].is_nan() && slopes[2].is_nan() && values[3].is_nan() && slopes[3].is_nan());
        assert_eq!((values[4], slopes[4]), (0.5, 0.25));
        tanhs(&z, &mut values, &mut slopes);
        assert_eq!((values[0], values[1], slopes[0], slopes[1]), (1.0, -1.0, 0.0, 0.0));
        assert!(values[2].is_nan() && slopes[2].is_nan() && values[3].is_nan() && slopes[3].is_nan());
        assert_eq!((values[4].to_bits(), slopes[4]), (0, 1.0));
    }
}
