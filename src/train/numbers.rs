//! The numbers of one tensor among those of a net, to be read and to be stepped.

use crate::part::{Numbers, TensorId, Which};
use crate::plan::Plan;
use crate::simd::Float;
use crate::weights::Weights;

/// The entries of a tensor in C order.
pub(super) fn tensor<F: Float>(weights: &Weights<F>, plan: &Plan, id: TensorId) -> Vec<F> {
    weights.slot(plan, id.slot)[id.index].get(&plan.slots[id.slot][id.index], id.which)
}

/// Let `visit` work on the entries of a tensor, slice by slice; one number passes through a slice of its own.
pub(super) fn visit<F: Float>(weights: &mut Weights<F>, plan: &Plan, id: TensorId, mut visit: impl FnMut(&mut [F])) {
    match (&mut weights.slot_mut(plan, id.slot)[id.index], id.which) {
        (Numbers::Linear(linear), Which::Weight) => linear.raw_mut().slices_mut().for_each(visit),
        (Numbers::Linear(linear), Which::Bias) => visit(&mut linear.bias),
        (Numbers::Affine(affine), Which::Weight) => visit(&mut affine.weight),
        (Numbers::Affine(affine), Which::Bias) => visit(&mut affine.bias),
        (Numbers::Scalar(value), _) => {
            let mut slice = [F::of(*value)];
            visit(&mut slice);
            *value = slice[0].wide();
        }
    }
}

/// Write out what stands for itself, so that it can be stepped: the ones and zeros of normalisations.
pub(super) fn spell_out<F: Float>(weights: &mut Weights<F>, plan: &Plan, ids: &[TensorId]) {
    for &id in ids {
        let shape = plan.slots[id.slot][id.index];
        let numbers = &mut weights.slot_mut(plan, id.slot)[id.index];
        if let Numbers::Affine(affine) = numbers {
            let values = affine.parameters(&shape, id.which);
            match id.which {
                Which::Weight => affine.weight = values,
                Which::Bias => affine.bias = values,
            }
        }
    }
}
