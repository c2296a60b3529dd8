//! Layer-sequential unit-variance scaling: weights scaled by what the data make of them (Mishkin and Matas 2015,
//! arXiv:1511.06422). Biases stay.

use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::forward::{Trace, forward};
use crate::kernel::{Panels, Scaled};
use crate::part::{Linear, Part, Shape, Watch};
use crate::plan::Plan;
use crate::simd::Float;
use crate::weights::Weights;

/// Takes `z` of one row.
struct Take<F> {
    row: usize,
    z: Scaled<F>,
}

impl<F: Float> Watch<F> for Take<F> {
    fn z(&mut self, row: usize, z: &Scaled<F>) -> bool {
        if row == self.row {
            self.z.copy_from(z);
        }
        true
    }
    fn phi(&mut self, _: usize, _: &Activation, _: &Scaled<F>, _: &Scaled<F>, _: &Panels<F>) {}
    fn a(&mut self, _: usize, _: &Scaled<F>) -> bool {
        true
    }
    fn h(&mut self, _: usize, _: &Scaled<F>) {}
}

/// The factor of the weights that gives `W h + b` unit variance over samples and features; 1 where none does.
pub fn factor<F: Float>(linear: &Linear<F>, z: &Scaled<F>) -> f64 {
    let features = linear.weight.rows();
    let z = z.to_rows();
    let count = z.len() as f64;
    let bias = |i: usize| linear.bias.get(i % features).map_or(0.0, |b| b.wide());
    let mean = |f: &dyn Fn(usize, f64) -> f64| z.iter().enumerate().map(|(i, &z)| f(i, z)).sum::<f64>() / count;
    let (product_mean, bias_mean) = (mean(&|i, z| z - bias(i)), mean(&|i, _| bias(i)));
    let product = |i: usize, z: f64| z - bias(i) - product_mean;
    let (own, both, biases) = (
        mean(&|i, z| product(i, z) * product(i, z)),
        mean(&|i, z| product(i, z) * (bias(i) - bias_mean)),
        mean(&|i, _| (bias(i) - bias_mean) * (bias(i) - bias_mean)),
    );
    // own c^2 + 2 both c + biases = 1.
    let root = (both * both - own * (biases - 1.0)).sqrt();
    let factor = (root - both) / own;
    if factor.is_finite() && factor > 0.0 { factor } else { 1.0 }
}

/// The plan with the factors that give every layer of a net unit variance on the samples that `begin` puts; the readout
/// is scaled by [`factor`] once its output is known.
pub fn calibrated<F: Float>(
    plan: &Plan,
    seed: u64,
    threads: usize,
    begin: impl FnOnce(&mut Trace<F>),
    cancel: &Cancel,
) -> Result<Plan> {
    let mut plan = plan.clone();
    let (mut weights, mut trace) = (Weights::default(), Trace::default());
    weights.draw_on(threads, &plan, 0..plan.depth(), seed, cancel)?;
    begin(&mut trace);
    for layer in 0..plan.depth() {
        for index in 0..plan.layers[layer].parts.len() {
            let placed = plan.layers[layer].parts[index];
            let Part::Map(map) = placed.part else { continue };
            let mut take = Take { row: placed.row, z: Scaled::default() };
            forward(&plan, &weights, &mut trace, layer..layer + 1, &mut take, cancel)?;
            let factor = factor(weights.layer(&plan, layer)[map.own].linear(), &take.z);
            let slot = plan.layers[layer].slot;
            if let Shape::Linear(linear) = &mut plan.slots[slot][map.own].shape {
                linear.factor *= factor;
            }
            weights.scale(&plan, layer, map.own, factor);
        }
        forward(&plan, &weights, &mut trace, layer..layer + 1, &mut (), cancel)?;
    }
    Ok(plan)
}
