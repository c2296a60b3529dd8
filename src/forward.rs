//! The forward pass: one layer, then the stack. Reads as a pair with `backward.rs`.

use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::kernel::{Panels, Scaled};
use crate::plan::Plan;
use crate::simd::Float;
use crate::weights::Weights;

/// What the forward pass leaves for the backward pass. Reused from run to run.
#[derive(Debug, Clone)]
pub struct Trace<F> {
    /// Inputs of the layers: the net's input, then every hidden output.
    pub inputs: Vec<Scaled<F>>,
    /// `phi'(z)` of the hidden layers.
    pub slopes: Vec<Panels<F>>,
    /// The readout's output, where there is one.
    readout: Scaled<F>,
    /// Pre-activations of the layer at hand.
    z: Scaled<F>,
}

impl<F> Default for Trace<F> {
    fn default() -> Self {
        Self { inputs: Vec::new(), slopes: Vec::new(), readout: Scaled::default(), z: Scaled::default() }
    }
}

/// Sees every layer as it is computed.
pub trait Watch<F> {
    /// `z_l`, `a_l` and `phi'(z_l)`; the true `z` and `a` are times `2^exponent`.
    fn activated(&mut self, layer: usize, z: &Panels<F>, a: &Panels<F>, slopes: &Panels<F>, exponent: i64);
    /// `h_l`, after the skip.
    fn output(&mut self, layer: usize, h: &Scaled<F>);
}

/// Sees nothing.
impl<F> Watch<F> for () {
    fn activated(&mut self, _: usize, _: &Panels<F>, _: &Panels<F>, _: &Panels<F>, _: i64) {}
    fn output(&mut self, _: usize, _: &Scaled<F>) {}
}

impl<F: Float> Trace<F> {
    /// Take the input, a function of (sample, feature), before [`forward`].
    pub fn set_input(&mut self, features: usize, batch: usize, value: impl FnMut(usize, usize) -> F) {
        if self.inputs.is_empty() {
            self.inputs.push(Scaled::default());
        }
        self.inputs[0].panels.fill(features, batch, value);
        self.inputs[0].exponent = 0;
    }

    /// The output of the net, after [`forward`].
    pub fn output(&self, plan: &Plan) -> &Scaled<F> {
        if plan.readout.is_some() { &self.readout } else { &self.inputs[plan.depth()] }
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
    let Trace { inputs, slopes, z, .. } = trace;
    let (before, after) = inputs.split_at_mut(layer + 1);
    let (input, h) = (&before[layer], &mut after[0]);
    let map = &weights.maps[layer];
    map.weight.forward(&input.panels, &map.bias, &mut z.panels);
    z.exponent = input.exponent;
    activate(&plan.activations[layer], z, &mut h.panels, &mut slopes[layer]);
    h.exponent = z.exponent;
    h.panels.clear_padding();
    watch.activated(layer, &z.panels, &h.panels, &slopes[layer], z.exponent);
    let mut finite = z.panels.scan().finite && h.panels.scan().finite;
    if let Some(skip) = plan.skips[layer] {
        h.scale_and_add(skip.scale, &before[skip.from]);
        if h.exponent != 0 && !carries(plan, weights) {
            h.spell_out();
        }
        finite &= h.panels.scan().finite;
    }
    if carries(plan, weights) {
        finite &= h.rescale_if_far();
    }
    watch.output(layer, h);
    finite
}

/// All layers and the readout on the trace's input. Returns the first layer whose values are not finite, `depth` for the
/// readout; the pass goes on, as a framework's would.
pub fn forward<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &mut Trace<F>,
    watch: &mut impl Watch<F>,
    cancel: &Cancel,
) -> Result<Option<usize>> {
    let depth = plan.depth();
    trace.inputs.resize_with(depth + 1, Scaled::default);
    trace.slopes.resize_with(depth, Panels::default);
    let mut first = None;
    if carries(plan, weights) {
        trace.inputs[0].rescale_if_far();
    }
    for index in 0..depth {
        cancel.check()?;
        if !layer(plan, weights, trace, index, watch) {
            first.get_or_insert(index);
        }
    }
    if plan.readout.is_some() {
        let (input, map) = (&trace.inputs[depth], &weights.maps[depth]);
        map.weight.forward(&input.panels, &map.bias, &mut trace.readout.panels);
        trace.readout.exponent = input.exponent;
        trace.readout.panels.clear_padding();
        if !trace.readout.panels.scan().finite {
            first.get_or_insert(depth);
        }
    }
    Ok(first)
}
