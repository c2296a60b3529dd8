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
        let lanes = S::Double::LANES;
        let (z, z_rest) = self.z.split_at(self.z.len() / lanes * lanes);
        let (a, a_rest) = self.a.split_at_mut(z.len());
        let (slope, slope_rest) = self.slope.split_at_mut(z.len());
        for ((z, a), slope) in z.chunks_exact(lanes).zip(a.chunks_exact_mut(lanes)).zip(slope.chunks_exact_mut(lanes)) {
            one_vector::<S, P, F>(&self.values, z, a, slope);
        }
        if !z_rest.is_empty() {
            let [mut z, mut a, mut slope] = [[F::ZERO; LONGEST]; 3];
            z[..z_rest.len()].copy_from_slice(z_rest);
            one_vector::<S, P, F>(&self.values, &z, &mut a, &mut slope);
            a_rest.copy_from_slice(&a[..z_rest.len()]);
            slope_rest.copy_from_slice(&slope[..z_rest.len()]);
        }
    }
}

/// At least as many elements as a vector of any set has.
const LONGEST: usize = 16;

#[inline(always)]
fn one_vector<S: Set, P: Formula, F: Float>(values: &Values, z: &[F], a: &mut [F], slope: &mut [F]) {
    let (value, derivative) = P::both(Reals::<_, F>::new(F::load_wide::<S>(z)), values);
    F::store_wide::<S>(value.lanes(), a);
    F::store_wide::<S>(derivative.lanes(), slope);
}

/// Outputs and slopes of a slice of pre-activations; all three of one length.
pub fn map<P: Formula, F: Float>(values: &Values, z: &[F], a: &mut [F], slope: &mut [F]) {
    simd::run(Map { formula: PhantomData::<P>, values: *values, z, a, slope });
}
