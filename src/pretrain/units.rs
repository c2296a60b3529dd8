//! Units of a Boltzmann machine that learns, in `f32`: probabilities of batches, and samples of them.
//!
//! The logistic function of the activations works in `f64` and gives slopes too: here it took half of an epoch.

use crate::kernel::RowMajor;
use crate::simd::{self, Narrow, NarrowBits, Set, Task, Vector};

/// `z = 1 / (1 + e^-z)`, in place, to 3e-7; there are whole vectors of values.
pub(super) fn logistic(z: &mut RowMajor<f32>) {
    simd::run(Logistic(z.values_mut()));
}

/// 1 where a uniform number is below a probability, else 0; there are whole vectors of each.
pub(super) fn below(uniforms: &[f32], probabilities: &[f32], out: &mut [f32]) {
    simd::run(Below { uniforms, probabilities, out });
}

struct Logistic<'v>(&'v mut [f32]);

impl Task for Logistic<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for values in self.0.chunks_exact_mut(S::Single::LANES) {
            one::<S::Single>(S::Single::load(values)).store(values);
        }
    }
}

/// `1 / (1 + e^-x)`: of `|x|`, whose `e^-|x|` is at most 1, and for the others times `e^-|x|`.
#[inline(always)]
fn one<V: Narrow>(x: V) -> V {
    /// Added to it, a number is rounded to a whole one, which stands in its low bits.
    const WHOLE: f32 = 12_582_912.0;
    /// Beyond it, the smaller of the two values is as good as 0: it is 2e-35 there.
    const FAR: f32 = 80.0;
    let splat = V::splat;
    let size = V::from_bits(x.to_bits().and(V::Bits::splat(u32::MAX >> 1)));
    let size = V::by_sign(splat(FAR).sub(size).to_bits(), splat(FAR), size);
    // -size = n ln 2 + r with |r| <= ln(2) / 2; n times the high part of ln 2 is exact.
    let shifted = size.fused(splat(-std::f32::consts::LOG2_E), splat(WHOLE));
    let n = shifted.sub(splat(WHOLE));
    let r = n.fused(splat(-0.693_359_4), splat(0.0).sub(size));
    let r = n.fused(splat(2.121_944_4e-4), r);
    // The series of e^r: the first term left out is below 2e-7 of it.
    let mut power = splat(1.0 / 720.0);
    for term in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power.fused(r, splat(term));
    }
    let decay = V::from_bits(power.to_bits().add(shifted.to_bits().left::<23>()));
    // 1 / (1 + decay) by Newton's steps from a parabola, whose error of 0.016 they square twice.
    let sum = splat(0.0).sub(decay).sub(splat(1.0));
    let mut inverse = decay.fused(splat(0.323), splat(-0.819)).fused(decay, splat(0.995));
    for _ in 0..2 {
        let error = sum.fused(inverse, splat(1.0));
        inverse = inverse.fused(error, inverse);
    }
    V::by_sign(x.to_bits(), decay.mul(inverse), inverse)
}

struct Below<'v> {
    uniforms: &'v [f32],
    probabilities: &'v [f32],
    out: &'v mut [f32],
}

impl Task for Below<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let lanes = S::Single::LANES;
        let given = self.uniforms.chunks_exact(lanes).zip(self.probabilities.chunks_exact(lanes));
        for (out, (uniforms, probabilities)) in self.out.chunks_exact_mut(lanes).zip(given) {
            let difference = S::Single::load(uniforms).sub(S::Single::load(probabilities));
            S::Single::by_sign(difference.to_bits(), S::Single::splat(1.0), S::Single::splat(0.0)).store(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logistic_function_is_that_of_libm_to_3e_7() {
        let given = (0..8000).map(|i| (i as f32 - 4000.0) * 0.03).collect::<Vec<_>>();
        let mut z = RowMajor::of(8, 1000, &given);
        let exact = z.values().iter().map(|z| 1.0 / (1.0 + libm::exp(-f64::from(*z)))).collect::<Vec<_>>();
        logistic(&mut z);
        for (found, exact) in z.values().iter().zip(exact) {
            assert!((f64::from(*found) - exact).abs() < 3e-7, "{found} {exact}");
        }
    }

    #[test]
    fn units_are_on_where_the_number_drawn_is_below_their_probability() {
        let probabilities = (0..16).map(|i| i as f32 / 16.0).collect::<Vec<_>>();
        let mut out = [7.0; 16];
        below(&[0.5; 16], &probabilities, &mut out);
        assert!(out.iter().enumerate().all(|(i, v)| *v == if i > 8 { 1.0 } else { 0.0 }), "{out:?}");
    }
}
