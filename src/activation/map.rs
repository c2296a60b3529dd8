//! A formula over vectors: activations of whole slices.

#![allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.

use crate::signature::Values;
use crate::simd::{self, Float, Real, Reals, Set, Task, Vector};
use std::marker::PhantomData;

/// The function of a row, written once for one number and for vectors.
pub trait Formula {
    /// `(phi(z), phi'(z))`; inlined, to be compiled for the instruction set at hand.
    fn both<R: Real>(z: R, values: &Values) -> (R, R);
}

/// A formula over slices of one length.
struct Map<'v, P, F> {
    formula: PhantomData<P>,
    values: Values,
    z: &'v [F],
    a: &'v mut [F],
    slope: &'v mut [F],
}

impl<P: Formula, F: Float> Task for Map<'_, P, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let block = if two::<S>() { 2 * S::Double::LANES } else { S::Double::LANES };
        let (z, z_rest) = self.z.split_at(self.z.len() / block * block);
        let (a, a_rest) = self.a.split_at_mut(z.len());
        let (slope, slope_rest) = self.slope.split_at_mut(z.len());
        let [mut last_z, mut last_a, mut last_slope] = [[F::ZERO; LONGEST]; 3];
        let rest = z_rest.len();
        last_z[..rest].copy_from_slice(z_rest);
        let last = if rest == 0 { 0 } else { block };
        // One loop over both: the formula is compiled once.
        let (last_z, last_out) = (&last_z[..last], (&mut last_a[..last], &mut last_slope[..last]));
        for (z, (a, slope)) in [(z, (a, slope)), (last_z, last_out)] {
            let out = a.chunks_exact_mut(block).zip(slope.chunks_exact_mut(block));
            for (z, (a, slope)) in z.chunks_exact(block).zip(out) {
                one_block::<S, P, F>(&self.values, z, a, slope);
            }
        }
        a_rest.copy_from_slice(&last_a[..rest]);
        slope_rest.copy_from_slice(&last_slope[..rest]);
    }
}

/// At least as many elements as a block of any set has.
const LONGEST: usize = 8;

/// Are two vectors worked on side by side? A formula is one chain of operations that each wait for the one before. Beside
/// four lanes of AVX2 a second chain saves 5 to 12 %; beside eight lanes it saves less, and takes registers. The four lanes
/// of WebAssembly are two chains.
#[inline(always)]
fn two<S: Set>() -> bool {
    S::Double::LANES < LONGEST && !cfg!(target_feature = "simd128")
}

/// A block of one vector or two.
#[inline(always)]
fn one_block<S: Set, P: Formula, F: Float>(values: &Values, z: &[F], a: &mut [F], slope: &mut [F]) {
    let lanes = S::Double::LANES;
    let low = P::both(Reals::<_, F>::new(F::load_wide::<S>(z)), values);
    // Before anything is stored, or the compiler would keep the two apart.
    let high = if two::<S>() { P::both(Reals::<_, F>::new(F::load_wide::<S>(&z[lanes..])), values) } else { low };
    F::store_wide::<S>(low.0.lanes(), a);
    F::store_wide::<S>(low.1.lanes(), slope);
    if two::<S>() {
        F::store_wide::<S>(high.0.lanes(), &mut a[lanes..]);
        F::store_wide::<S>(high.1.lanes(), &mut slope[lanes..]);
    }
}

/// Outputs and slopes of a slice of pre-activations; all three of one length.
pub fn map<P: Formula, F: Float>(values: &Values, z: &[F], a: &mut [F], slope: &mut [F]) {
    simd::run(Map { formula: PhantomData::<P>, values: *values, z, a, slope });
}

/// An activation number by number, for a module of WebAssembly: its nets are in `f32`, and `f64` is not worth its bytes.
pub fn one_by_one<P: Formula>(values: &Values, z: &[f64], a: &mut [f64], slope: &mut [f64]) {
    for ((z, a), slope) in z.iter().zip(a).zip(slope) {
        (*a, *slope) = P::both(*z, values);
    }
}
