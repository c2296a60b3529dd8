//! The forward pass: one layer, then the stack. Reads as a pair with `backward.rs`.

use crate::activation::{Activation, Shape};
use crate::error::{Cancel, Result};
use crate::kernel::{Panels, Scaled};
use crate::norm::{Normed, Sums};
use crate::plan::{Join, Plan};
use crate::simd::Float;
use crate::skip::Order;
use crate::spec::Layer;
use crate::weights::{Linear, Numbers, Weights};
use std::ops::Range;

/// What the forward pass leaves of a layer for the backward pass.
#[derive(Debug, Clone)]
pub struct Kept<F> {
    /// What the linear map got, where an activation stands before it.
    pub bent: Scaled<F>,
    /// `phi'(z)`; of a gated or a doubled activation, what each feature of the larger side is multiplied by.
    pub slopes: Panels<F>,
    /// What a learned slope was multiplied with.
    pub below: Scaled<F>,
    /// What the normalisation keeps.
    pub normed: Normed<F>,
    /// What came through the block, where a learned factor multiplies it.
    pub branch: Scaled<F>,
    /// The gate `T`, `1 - T`, and `T' (F(x) - x)`.
    pub gate: [Panels<F>; 3],
}

impl<F> Default for Kept<F> {
    fn default() -> Self {
        Self {
            bent: Scaled::default(),
            slopes: Panels::default(),
            below: Scaled::default(),
            normed: Normed::default(),
            branch: Scaled::default(),
            gate: std::array::from_fn(|_| Panels::default()),
        }
    }
}

/// What the forward pass leaves for the backward pass, of all layers or of some that follow each other. Reused from run
/// to run.
#[derive(Debug, Clone)]
pub struct Trace<F> {
    /// Index of the first layer.
    first: usize,
    /// The input of the first layer, then every hidden output.
    inputs: Vec<Scaled<F>>,
    /// The rest of each layer.
    kept: Vec<Kept<F>>,
    /// The inputs of all steps of a recurrent net that is fed.
    pub feed: Vec<Scaled<F>>,
    /// Of the layer at hand.
    z: Scaled<F>,
    scratch: Scaled<F>,
    halves: Halves<F>,
    sums: Sums,
}

/// Scratch of activations that change the number of features.
type Halves<F> = [Panels<F>; 4];

impl<F> Default for Trace<F> {
    fn default() -> Self {
        Self {
            first: 0,
            inputs: Vec::new(),
            kept: Vec::new(),
            feed: Vec::new(),
            z: Scaled::default(),
            scratch: Scaled::default(),
            halves: Halves::default(),
            sums: Sums::default(),
        }
    }
}

/// Sees every layer as it is computed. Each method says whether its values are finite.
pub trait Watch<F: Float> {
    /// `z_l`.
    fn mapped(&mut self, layer: usize, z: &Scaled<F>) -> bool;
    /// `phi'` of a layer.
    fn bent(&mut self, layer: usize, slopes: &Panels<F>);
    /// What the activation of a layer gets and gives.
    fn bending(&mut self, _layer: usize, _z: &Scaled<F>, _a: &Scaled<F>) {}
    /// `a_l`.
    fn activated(&mut self, layer: usize, a: &Scaled<F>) -> bool;
}

/// Sees nothing but whether values are finite.
impl<F: Float> Watch<F> for () {
    fn mapped(&mut self, _: usize, z: &Scaled<F>) -> bool {
        z.panels.largest().is_finite()
    }
    fn bent(&mut self, _: usize, _: &Panels<F>) {}
    fn activated(&mut self, _: usize, a: &Scaled<F>) -> bool {
        a.panels.largest().is_finite()
    }
}

impl<F: Float> Trace<F> {
    /// Where a first layer's input is to be put before [`forward`].
    pub fn begin(&mut self, layer: usize) -> &mut Scaled<F> {
        self.first = layer;
        if self.inputs.is_empty() {
            self.inputs.push(Scaled::default());
        }
        &mut self.inputs[0]
    }

    /// Put the samples of a plan, row-major, where a pass begins.
    pub fn set_input(&mut self, plan: &Plan, batch: usize, value: impl Fn(usize, usize) -> F) {
        self.begin(0).exponent = 0;
        let Some(feed) = &plan.feed else {
            self.inputs[0].panels.fill(plan.columns, batch, value);
            return;
        };
        // A recurrent net that is fed starts from zeros.
        self.inputs[0].panels.fill(plan.first_input, batch, |_, _| F::ZERO);
        self.feed.resize_with(plan.depth(), Scaled::default);
        for (step, input) in self.feed.iter_mut().enumerate() {
            input.panels.fill(feed.fan_in, batch, |sample, feature| value(sample, step * feed.fan_in + feature));
        }
    }

    /// The input of a layer; that of the layer past the last one is its output.
    pub fn input(&self, layer: usize) -> &Scaled<F> {
        &self.inputs[layer - self.first]
    }

    /// What else is kept of a layer.
    pub fn kept(&self, layer: usize) -> &Kept<F> {
        &self.kept[layer - self.first]
    }

    /// What a layer's linear map got.
    pub fn mapped(&self, plan: &Plan, layer: usize) -> &Scaled<F> {
        if plan.hidden[layer].shape.order == Order::Pre { &self.kept(layer).bent } else { self.input(layer) }
    }
}

/// May `h` carry an exponent? Where every `phi(0) = 0` and no bias is added, a signal of any size stays in proportion:
/// exactly where `phi` is positively homogeneous, and wherever it is too small for `phi` to bend.
fn carries<F>(plan: &Plan, weights: &Weights<F>) -> bool {
    plan.proportional && weights.unbiased
}

/// Below this power of two `phi(z)` is `phi'(0) z` to the last bit of `f64`.
const STRAIGHT: i64 = -60;

/// `a = phi(z)` and what its way back is multiplied by. A carried `z` is spelled out where `phi` bends it.
fn activate<F: Float>(
    activation: &Activation,
    z: &mut Scaled<F>,
    a: &mut Scaled<F>,
    slopes: &mut Panels<F>,
    [first, second, third, fourth]: &mut Halves<F>,
) {
    let (features, batch) = (z.panels.features(), z.panels.batch());
    match activation.shape() {
        Shape::Each => {
            a.panels.reshape(features, batch);
            slopes.reshape(features, batch);
            if z.exponent != 0 && !activation.homogeneous() {
                if let (Some([below, above]), Some(..STRAIGHT)) = (activation.at_zero(), z.magnitude()) {
                    let slope_of = |z: &F| F::of(if *z > F::ZERO { above } else { below });
                    let all = z.panels.values().iter().zip(a.panels.values_mut()).zip(slopes.values_mut());
                    for ((z, a), slope) in all {
                        *slope = slope_of(z);
                        *a = *z * *slope;
                    }
                    a.exponent = z.exponent;
                    return;
                }
                z.spell_out();
            }
            activation.apply(z.panels.values(), a.panels.values_mut(), slopes.values_mut());
        }
        Shape::Gated => {
            z.spell_out();
            // a = value * g(gate): the way back is g(gate) for the value, value * g'(gate) for the gate.
            let (value, gate, g, slope) = (first, second, third, fourth);
            value.take(&z.panels, 0..features / 2);
            gate.take(&z.panels, features / 2..features);
            g.reshape(features / 2, batch);
            slope.reshape(features / 2, batch);
            activation.apply(gate.values(), g.values_mut(), slope.values_mut());
            slope.times(value);
            slopes.stack(g, slope);
            value.times(g);
            a.panels.copy_from(value);
        }
        Shape::Doubled => {
            // [phi(z), phi(-z)]; the way back of the second half changes its sign.
            let (value, slope, mirrored, mirrored_slope) = (first, second, third, fourth);
            for values in [&mut *value, &mut *slope, &mut *mirrored_slope] {
                values.reshape(features, batch);
            }
            activation.apply(z.panels.values(), value.values_mut(), slope.values_mut());
            slopes.copy_from(slope);
            mirrored.copy_from(&z.panels);
            mirrored.scale(F::of(-1.0));
            activation.apply(mirrored.values(), slope.values_mut(), mirrored_slope.values_mut());
            a.panels.stack(value, slope);
            mirrored_slope.scale(F::of(-1.0));
            value.copy_from(slopes);
            slopes.stack(value, mirrored_slope);
        }
    }
    a.exponent = z.exponent;
}

/// The activation of a layer with its learned slope, if it has one.
pub fn activation_of<F>(shape: &Layer, numbers: &Numbers<F>) -> Activation {
    match shape.activation.learned() {
        Some(_) => shape.activation.with_slope(numbers.slope),
        None => shape.activation,
    }
}

/// `(1 - T) x + T F(x)` with `T = sigmoid(W_T x + b_T)`, in place of `F(x)`.
fn gate<F: Float>(map: &Linear<F>, x: &Scaled<F>, branch: &mut Panels<F>, kept: &mut Kept<F>) {
    let [open, shut, back] = &mut kept.gate;
    map.weight.forward(&x.panels, &map.bias, shut);
    open.reshape(shut.features(), shut.batch());
    back.reshape(shut.features(), shut.batch());
    Activation::sigmoid().apply(shut.values(), open.values_mut(), back.values_mut());
    shut.set_complement(open);
    // F(x) - x, whose products with T and T' are the way forward and the way back.
    branch.combine(F::of(1.0), &x.panels, F::of(-1.0));
    back.times(branch);
    branch.times(open);
    branch.combine(F::of(1.0), &x.panels, F::of(1.0));
}

/// Join what came through a block with what went around it, in place of the former. False where a value is not finite.
fn joined<F: Float>(
    join: Join,
    numbers: &Numbers<F>,
    x: &Scaled<F>,
    branch: &mut Scaled<F>,
    kept: &mut Kept<F>,
    scratch: &mut Scaled<F>,
    carries: bool,
) -> bool {
    match join {
        Join::Add(scale) => branch.scale_and_add(scale, x),
        Join::Learned(scale) => {
            kept.branch.copy_from(branch);
            branch.scale_and_add(scale * numbers.alpha, x);
        }
        Join::Gate => gate(&numbers.gate, x, &mut branch.panels, kept),
        Join::Concatenate => {
            scratch.copy_from(branch);
            branch.stack(x, scratch);
        }
    }
    if branch.exponent != 0 && !carries {
        branch.spell_out();
    }
    branch.panels.largest().is_finite()
}

/// One hidden layer: `z = W h + b`, `a = phi(z)`, `h = a` or what a skip makes of it. False where a value is not finite.
fn layer<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &mut Trace<F>,
    layer: usize,
    watch: &mut impl Watch<F>,
) -> bool {
    let Trace { first, inputs, kept, feed, z, scratch, halves, sums } = trace;
    let (before, after) = inputs.split_at_mut(layer - *first + 1);
    let (input, h, kept) = (&before[layer - *first], &mut after[0], &mut kept[layer - *first]);
    let (hidden, numbers) = (&plan.hidden[layer], weights.layer(layer));
    let shape = &hidden.shape;
    let activation = activation_of(shape, numbers);
    let around = shape.from.map(|from| &before[from - *first]);
    let (mut finite, carries) = (true, carries(plan, weights));
    let learns = shape.activation.learned().is_some();

    if shape.order == Order::Pre {
        z.copy_from(input);
    } else {
        map(plan, weights, layer, input, feed, z, scratch);
        finite &= watch.mapped(layer, z);
    }
    // Now z is on its way to the activation, whether the map came before it or comes after.
    if let Some(norm) = plan.pre_norm {
        norm.forward(&mut z.panels, &numbers.affine, &mut kept.normed, sums);
    }
    let sums_first = shape.order == Order::Post;
    if let (true, Some(join), Some(x)) = (sums_first, hidden.join, around) {
        finite &= joined(join, numbers, x, z, kept, scratch, carries);
    }
    if learns {
        kept.below.copy_from(z);
        kept.below.panels.values_mut().iter_mut().for_each(|z| *z = if *z > F::ZERO { F::ZERO } else { *z });
    }
    let a = if shape.order == Order::Pre { &mut kept.bent } else { &mut *h };
    activate(&activation, z, a, &mut kept.slopes, halves);
    a.panels.clear_padding();
    watch.bent(layer, &kept.slopes);
    watch.bending(layer, z, a);
    if let Some(norm) = plan.post_norm {
        norm.forward(&mut a.panels, &numbers.affine, &mut kept.normed, sums);
        a.panels.clear_padding();
    }
    finite &= watch.activated(layer, a);
    if shape.order == Order::Pre {
        map(plan, weights, layer, &kept.bent, feed, h, scratch);
        h.panels.clear_padding();
        finite &= watch.mapped(layer, h);
    }
    if let (false, Some(join), Some(x)) = (sums_first, hidden.join, around) {
        finite &= joined(join, numbers, x, h, kept, scratch, carries);
    }
    if carries {
        finite &= h.rescale_if_far();
    }
    finite
}

/// `W x + b`, and `U x_t` where the step has an input of its own.
fn map<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    layer: usize,
    x: &Scaled<F>,
    feed: &[Scaled<F>],
    z: &mut Scaled<F>,
    scratch: &mut Scaled<F>,
) {
    let linear = &weights.layer(layer).map;
    linear.weight.forward(&x.panels, &linear.bias, &mut z.panels);
    z.exponent = x.exponent;
    if plan.feed.is_some() {
        weights.feed.weight.forward(&feed[layer].panels, &[], &mut scratch.panels);
        z.panels.combine(F::of(1.0), &scratch.panels, F::of(1.0));
    }
}

/// Some layers that follow each other, from the input put by [`Trace::begin`]. Returns the first layer whose values are
/// not finite; the pass goes on, as a framework's would.
pub fn forward<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &mut Trace<F>,
    layers: Range<usize>,
    watch: &mut impl Watch<F>,
    cancel: &Cancel,
) -> Result<Option<usize>> {
    let count = layers.end - trace.first;
    trace.inputs.resize_with((count + 1).max(trace.inputs.len()), Scaled::default);
    trace.kept.resize_with(count.max(trace.kept.len()), Kept::default);
    let mut first = None;
    if layers.start == 0 && carries(plan, weights) {
        trace.inputs[0].rescale_if_far();
    }
    for index in layers {
        cancel.check()?;
        if !layer(plan, weights, trace, index, watch) {
            first.get_or_insert(index);
        }
    }
    Ok(first)
}

/// The readout. False where a value is not finite.
pub fn readout<F: Float>(map: &Linear<F>, input: &Scaled<F>, out: &mut Scaled<F>) -> bool {
    map.weight.forward(&input.panels, &map.bias, &mut out.panels);
    out.exponent = input.exponent;
    out.panels.clear_padding();
    out.panels.largest().is_finite()
}
