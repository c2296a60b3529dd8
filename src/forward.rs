//! The forward pass: one layer, then the stack. Reads as a pair with `backward.rs`.

use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::kernel::{Panels, Scaled};
use crate::plan::Plan;
use crate::simd::Float;
use crate::weights::{Linear, Weights};
use std::ops::Range;

/// What the forward pass leaves for the backward pass, of all layers or of some that follow each other. Reused from run
/// to run.
#[derive(Debug, Clone)]
pub struct Trace<F> {
    /// Index of the first layer.
    first: usize,
    /// The input of the first layer, then every hidden output.
    inputs: Vec<Scaled<F>>,
    /// `phi'(z)` of the layers.
    slopes: Vec<Panels<F>>,
    /// Pre-activations of the layer at hand.
    z: Scaled<F>,
}

impl<F> Default for Trace<F> {
    fn default() -> Self {
        Self { first: 0, inputs: Vec::new(), slopes: Vec::new(), z: Scaled::default() }
    }
}

/// Sees every layer as it is computed.
pub trait Watch<F: Float> {
    /// `z_l`, `a_l` and `phi'(z_l)`; the true `z` and `a` are times `2^exponent`. Is every `z` and `a` finite?
    fn activated(&mut self, layer: usize, z: &Panels<F>, a: &Panels<F>, slopes: &Panels<F>, exponent: i64) -> bool;
}

/// Sees nothing but whether values are finite.
impl<F: Float> Watch<F> for () {
    fn activated(&mut self, _: usize, z: &Panels<F>, a: &Panels<F>, _: &Panels<F>, _: i64) -> bool {
        z.largest().is_finite() && a.largest().is_finite()
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

    /// The input of a layer; that of the layer past the last one is its output.
    pub fn input(&self, layer: usize) -> &Scaled<F> {
        &self.inputs[layer - self.first]
    }

    /// `phi'(z)` of a layer.
    pub fn slopes(&self, layer: usize) -> &Panels<F> {
        &self.slopes[layer - self.first]
    }
}

/// May `h` carry an exponent? Where every `phi(0) = 0` and no bias is added, a signal of any size stays in proportion:
/// exactly where `phi` is positively homogeneous, and wherever it is too small for `phi` to bend.
fn carries<F>(plan: &Plan, weights: &Weights<F>) -> bool {
    plan.through_zero && weights.unbiased
}

/// Below this power of two `phi(z)` is `phi'(0) z` to the last bit of `f64`.
const STRAIGHT: i64 = -60;

/// `a = phi(z)` and `phi'(z)`. A carried `z` is spelled out where `phi` bends it.
fn activate<F: Float>(activation: &Activation, z: &mut Scaled<F>, a: &mut Panels<F>, slopes: &mut Panels<F>) {
    a.reshape(z.panels.features(), z.panels.batch());
    slopes.reshape(z.panels.features(), z.panels.batch());
    if z.exponent != 0 && !activation.homogeneous() {
        if let (Some([below, above]), Some(..STRAIGHT)) = (activation.at_zero(), z.magnitude()) {
            let slope_of = |z: &F| F::of(if *z > F::ZERO { above } else { below });
            for ((z, a), slope) in z.panels.values().iter().zip(a.values_mut()).zip(slopes.values_mut()) {
                *slope = slope_of(z);
                *a = *z * *slope;
            }
            return;
        }
        z.spell_out();
    }
    activation.apply(z.panels.values(), a.values_mut(), slopes.values_mut());
}

/// One hidden layer: `z = W h + b`, `a = phi(z)`, `h = a` or `h = h_from + scale a`. False where a value is not finite.
fn layer<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &mut Trace<F>,
    layer: usize,
    watch: &mut impl Watch<F>,
) -> bool {
    let Trace { first, inputs, slopes, z } = trace;
    let (before, after) = inputs.split_at_mut(layer - *first + 1);
    let (input, h, slopes) = (&before[layer - *first], &mut after[0], &mut slopes[layer - *first]);
    let map = weights.map(layer);
    map.weight.forward(&input.panels, &map.bias, &mut z.panels);
    z.exponent = input.exponent;
    activate(&plan.activations[layer], z, &mut h.panels, slopes);
    h.exponent = z.exponent;
    h.panels.clear_padding();
    let mut finite = watch.activated(layer, &z.panels, &h.panels, slopes, z.exponent);
    if let Some(skip) = plan.skips[layer] {
        h.scale_and_add(skip.scale, &before[skip.from - *first]);
        if h.exponent != 0 && !carries(plan, weights) {
            h.spell_out();
        }
        finite &= h.panels.largest().is_finite();
    }
    if carries(plan, weights) {
        finite &= h.rescale_if_far();
    }
    finite
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
    trace.inputs.resize_with((layers.len() + 1).max(trace.inputs.len()), Scaled::default);
    trace.slopes.resize_with(layers.len().max(trace.slopes.len()), Panels::default);
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
