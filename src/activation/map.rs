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
        for ((z, a), slope) in z.chunks_exact(block).zip(a.chunks_exact_mut(block)).zip(slope.chunks_exact_mut(block)) {
            one_block::<S, P, F>(&self.values, z, a, slope);
        }
        if !z_rest.is_empty() {
            let [mut z, mut a, mut slope] = [[F::ZERO; LONGEST]; 3];
            z[..z_rest.len()].copy_from_slice(z_rest);
            one_block::<S, P, F>(&self.values, &z, &mut a, &mut slope);
            a_rest.copy_from_slice(&a[..z_rest.len()]);
            slope_rest.copy_from_slice(&slope[..z_rest.len()]);
        }
    }
}

/// At least as many elements as a block of any set has.
const LONGEST: usize = 8;

/// Are two vectors worked on side by side? A formula is one chain of operations that each wait for the one before. Beside
/// four lanes of AVX2 a second chain saves 5 to 12 %; beside eight lanes it saves less, and takes registers.
#[inline(always)]
fn two<S: Set>() -> bool {
    S::Double::LANES < LONGEST
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
