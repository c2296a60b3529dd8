//! The backward pass: the parts of a layer, the last one first, then the stack. Reads as a pair with `forward.rs`.

use crate::forward::Trace;
use crate::part::{Back, Collect, Part, Signal};
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
    let parts = &plan.layers[layer].parts;
    // What goes around from here on adds to the gradient of what the layer hands on.
    let keeps = parts.iter().rev().take_while(|placed| matches!(placed.part, Part::Keep(_))).count();
    for index in (0..=last).rev() {
        if index + keeps == last && plan.layers[layer].on_stream {
            collect.dh(parts[last].row, &signal.dh);
        }
        part(plan, weights, trace, signal, (layer, index), collect);
    }
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
    let value = |value: usize| (trace.value(value), value);
    let input = if let Place::Value(from) = placed.from { Some(value(from)) } else { None };
    let (around, states) = (placed.around.map(value), trace.states(plan, &placed.part));
    let (numbers, kept) = (weights.layer(plan, layer), &trace.kept(layer)[index]);
    let (states, step, first) = (&states, trace.step(plan, layer), (layer, index) == (0, 0));
    let (row, columns) = (placed.row, placed.columns);
    let back = Back { numbers, kept, input, around, states, step, row, columns, first };
    placed.part.backward(&back, signal, |parameters| plan.owner(layer, back.row, parameters), collect);
}
