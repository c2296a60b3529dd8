//! The backward pass: one layer, then the stack. Reads as a pair with `forward.rs`.

use crate::forward::Trace;
use crate::kernel::Scaled;
use crate::plan::Plan;
use crate::simd::{Float, exponent_of, times_power_of_two};
use crate::weights::{Linear, Weights};

/// Receives what the backward pass computes.
pub trait Collect<F> {
    /// `dL/dz` of a linear map (`depth` for the readout) and the map's input: together its weight and bias gradients.
    fn map(&mut self, index: usize, delta: &Scaled<F>, input: &Scaled<F>);
}

/// Receives nothing.
impl<F> Collect<F> for () {
    fn map(&mut self, _: usize, _: &Scaled<F>, _: &Scaled<F>) {}
}

/// Buffers of the pass. Reused from run to run.
#[derive(Debug, Clone)]
pub struct Signal<F> {
    /// `dL/dh` of the layer at hand; `dL/dx` after the pass.
    pub dh: Scaled<F>,
    /// `dL/dz` of the layer at hand.
    delta: Scaled<F>,
    /// `dL/dh` at the end of a block, on its way around the branch.
    around: Scaled<F>,
}

impl<F> Default for Signal<F> {
    fn default() -> Self {
        Self { dh: Scaled::default(), delta: Scaled::default(), around: Scaled::default() }
    }
}

/// One hidden layer: `delta = dh scale phi'(z)`, then `dh = W^T delta`, plus what went around the block.
pub fn layer<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &Trace<F>,
    signal: &mut Signal<F>,
    layer: usize,
    collect: &mut impl Collect<F>,
) {
    let Signal { dh, delta, around } = signal;
    let skip = plan.skips[layer];
    if skip.is_some() {
        around.copy_from(dh);
    }
    // The factor of a branch may lie outside the type: its exponent joins the signal's.
    let scale = skip.map_or(1.0, |skip| skip.scale);
    let shift = if scale == 0.0 { 0 } else { exponent_of(scale) };
    delta.set_product(dh, trace.slopes(layer), times_power_of_two(scale, -shift));
    delta.exponent += shift;
    collect.map(layer, delta, trace.input(layer));
    weights.map(layer).weight.backward(&delta.panels, &mut dh.panels);
    dh.exponent = delta.exponent;
    if plan.opens_skip[layer] {
        dh.scale_and_add(1.0, around);
    }
    // Not flushed: what is tiny here may be all that is left where the large values meet a flat activation.
}

/// From `dL/dy` in `signal.dh` to the gradient of the readout's input in its place.
pub fn readout<F: Float>(
    map: &Linear<F>,
    input: &Scaled<F>,
    signal: &mut Signal<F>,
    index: usize,
    collect: &mut impl Collect<F>,
) {
    collect.map(index, &signal.dh, input);
    signal.delta.copy_from(&signal.dh);
    map.weight.backward(&signal.delta.panels, &mut signal.dh.panels);
}
