//! The backward pass: the parts of a layer, the last one first, then the stack. Reads as a pair with `forward.rs`.

use crate::forward::Trace;
use crate::part::{Back, Collect, Signal};
use crate::plan::{Place, Plan};
use crate::simd::Float;
use crate::weights::Weights;

/// One layer: from the gradient of what it hands on, in `signal.dh`, to that of what it gets.
pub fn layer<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &Trace<F>,
    signal: &mut Signal<F>,
    layer: usize,
    collect: &mut impl Collect<F>,
) {
    let Some(last) = plan.layers[layer].parts.len().checked_sub(1) else { return };
    if plan.layers[layer].on_stream {
        collect.dh(plan.layers[layer].parts[last].row, &signal.dh);
    }
    (0..=last).rev().for_each(|index| part(plan, weights, trace, signal, (layer, index), collect));
    // Not flushed: what is tiny here may be all that is left where the large values meet a flat activation.
}

/// One part, by its layer and its place in it: from the gradient of what it gives, in `signal.dh`, to that of what it
/// got.
pub(crate) fn part<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &Trace<F>,
    signal: &mut Signal<F>,
    (layer, index): (usize, usize),
    collect: &mut impl Collect<F>,
) {
    let placed = &plan.layers[layer].parts[index];
    let value = match (placed.around, placed.from) {
        (Some(value), _) | (None, Place::Value(value)) => Some((trace.value(value), value)),
        (None, Place::Moving) => None,
    };
    let (numbers, kept) = (weights.layer(plan, layer), &trace.kept(layer)[index]);
    let (step, row, first) = (trace.step(layer), placed.row, (layer, index) == (0, 0));
    let back = Back { numbers, kept, value, step, row, first };
    placed.part.backward(&back, signal, |parameters| plan.owner(layer, back.row, parameters), collect);
}
