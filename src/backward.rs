//! The backward pass: one layer, then the stack. Reads as a pair with `forward.rs`.

use crate::activation::{Activation, Shape};
use crate::forward::Trace;
use crate::kernel::{Along, Panels, Scaled};
use crate::norm::{Norm, Sums};
use crate::plan::{Join, Key, Plan, Which};
use crate::simd::Float;
use crate::skip::Order;
use crate::weights::{Linear, Numbers, Weights};

/// Receives what the backward pass computes.
pub trait Collect<F> {
    /// The gradient at the output of a linear map, `dL/dz` of a hidden layer, and the map's input: together its weight
    /// and bias gradients.
    fn map(&mut self, which: Which, delta: &Scaled<F>, input: &Scaled<F>);

    /// The gradient of a vector or of one number, times `2^exponent`.
    fn vector(&mut self, key: Key, values: &[f64], exponent: i64);
}

/// Receives nothing.
impl<F> Collect<F> for () {
    fn map(&mut self, _: Which, _: &Scaled<F>, _: &Scaled<F>) {}
    fn vector(&mut self, _: Key, _: &[f64], _: i64) {}
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
    scratch: Scaled<F>,
    half: Panels<F>,
    sums: Sums,
}

impl<F> Default for Signal<F> {
    fn default() -> Self {
        Self {
            dh: Scaled::default(),
            delta: Scaled::default(),
            around: Scaled::default(),
            scratch: Scaled::default(),
            half: Panels::default(),
            sums: Sums::default(),
        }
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
    let (hidden, numbers) = (&plan.hidden[layer], weights.layer(layer));
    let shape = &hidden.shape;
    let sums_first = shape.order == Order::Post;
    if let (false, Some(join)) = (sums_first, hidden.join) {
        part(join, plan, numbers, trace, signal, layer, collect);
    }
    if shape.order == Order::Pre {
        std::mem::swap(&mut signal.dh, &mut signal.delta);
        signal.delta.settle();
        through_map(plan, weights, trace, signal, layer, collect);
    }
    if let Some(norm) = plan.post_norm {
        through_norm(norm, numbers, trace, &mut signal.dh, &mut signal.sums, layer, collect);
    }
    through_activation(&shape.activation, trace, signal, layer, collect);
    std::mem::swap(&mut signal.dh, &mut signal.delta);
    if let (true, Some(join)) = (sums_first, hidden.join) {
        part(join, plan, numbers, trace, signal, layer, collect);
    }
    if let Some(norm) = plan.pre_norm {
        through_norm(norm, numbers, trace, &mut signal.dh, &mut signal.sums, layer, collect);
    }
    if shape.order != Order::Pre {
        std::mem::swap(&mut signal.dh, &mut signal.delta);
        through_map(plan, weights, trace, signal, layer, collect);
    }
    if hidden.opens_skip {
        signal.dh.scale_and_add(1.0, &signal.around);
    }
    // Not flushed: what is tiny here may be all that is left where the large values meet a flat activation.
}

/// From `dL/dz` in `delta` to the gradient of what the map got, in `dh`.
fn through_map<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &Trace<F>,
    signal: &mut Signal<F>,
    layer: usize,
    collect: &mut impl Collect<F>,
) {
    let Signal { dh, delta, .. } = signal;
    collect.map(Which::Hidden(layer), delta, trace.mapped(plan, layer));
    if plan.feed.is_some() {
        collect.map(Which::Input(layer), delta, &trace.feed[layer]);
    }
    weights.layer(layer).map.weight.backward(&delta.panels, &mut dh.panels);
    dh.exponent = delta.exponent;
}

/// From the gradient of a normalisation's output to that of its input.
fn through_norm<F: Float>(
    norm: Norm,
    numbers: &Numbers<F>,
    trace: &Trace<F>,
    dh: &mut Scaled<F>,
    sums: &mut Sums,
    layer: usize,
    collect: &mut impl Collect<F>,
) {
    dh.rescale();
    let exponent = dh.exponent;
    norm.backward(dh, &numbers.affine, &trace.kept(layer).normed, sums);
    collect.vector(Key::NormWeight(layer), &sums.weight, exponent);
    if norm.centres() {
        collect.vector(Key::NormBias(layer), &sums.bias, exponent);
    }
}

/// From the gradient of `a` in `dh` to that of `z` in `delta`.
fn through_activation<F: Float>(
    activation: &Activation,
    trace: &Trace<F>,
    signal: &mut Signal<F>,
    layer: usize,
    collect: &mut impl Collect<F>,
) {
    let Signal { dh, delta, scratch, half, sums: Sums { weight: sums, .. }, .. } = signal;
    let kept = trace.kept(layer);
    if activation.learned().is_some() {
        dh.panels.products(Along::Samples, &kept.below.panels, sums);
        collect.vector(Key::Slope(layer), &[sums.iter().sum()], dh.exponent + kept.below.exponent);
    }
    match activation.shape() {
        Shape::Each => {
            delta.set_product(dh, &kept.slopes, 1.0);
        }
        Shape::Gated => {
            scratch.stack(dh, dh);
            delta.set_product(scratch, &kept.slopes, 1.0);
        }
        Shape::Doubled => {
            scratch.set_product(dh, &kept.slopes, 1.0);
            let features = scratch.panels.features() / 2;
            delta.panels.take(&scratch.panels, 0..features);
            half.take(&scratch.panels, features..2 * features);
            delta.panels.combine(F::of(1.0), half, F::of(1.0));
            delta.exponent = scratch.exponent;
        }
    }
}

/// From the gradient behind a join, in `dh`, to those of what came through the block, in its place, and of what went
/// around it.
fn part<F: Float>(
    join: Join,
    plan: &Plan,
    numbers: &Numbers<F>,
    trace: &Trace<F>,
    signal: &mut Signal<F>,
    layer: usize,
    collect: &mut impl Collect<F>,
) {
    let Signal { dh, delta, around, scratch, sums: Sums { weight: sums, .. }, .. } = signal;
    let kept = trace.kept(layer);
    match join {
        Join::Add(scale) => {
            around.copy_from(dh);
            dh.times(scale);
        }
        Join::Learned(scale) => {
            around.copy_from(dh);
            dh.panels.products(Along::Samples, &kept.branch.panels, sums);
            let sum = [scale * sums.iter().sum::<f64>()];
            collect.vector(Key::Alpha(layer), &sum, dh.exponent + kept.branch.exponent);
            dh.times(scale * numbers.alpha);
        }
        Join::Gate => {
            let [open, shut, back] = &kept.gate;
            let Some(from) = plan.hidden[layer].shape.from else { return };
            around.set_product(dh, shut, 1.0);
            delta.set_product(dh, back, 1.0);
            collect.map(Which::Gate(layer), delta, trace.input(from));
            numbers.gate.weight.backward(&delta.panels, &mut scratch.panels);
            scratch.exponent = delta.exponent;
            around.scale_and_add(1.0, scratch);
            delta.set_product(dh, open, 1.0);
            std::mem::swap(dh, delta);
        }
        Join::Concatenate => {
            let Some(from) = plan.hidden[layer].shape.from else { return };
            let through = plan.hidden[from].shape.input;
            around.panels.take(&dh.panels, 0..through);
            around.exponent = dh.exponent;
            scratch.panels.take(&dh.panels, through..dh.panels.features());
            dh.panels.copy_from(&scratch.panels);
        }
    }
}

/// From `dL/dy` in `signal.dh` to the gradient of the readout's input in its place.
pub fn readout<F: Float>(map: &Linear<F>, input: &Scaled<F>, signal: &mut Signal<F>, collect: &mut impl Collect<F>) {
    collect.map(Which::Readout, &signal.dh, input);
    signal.delta.copy_from(&signal.dh);
    map.weight.backward(&signal.delta.panels, &mut signal.dh.panels);
}
