//! Explicit gradients of one net, and the losses that start them.

mod found;
mod passes;
mod summed;

use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::forward::{Trace, forward};
use crate::kernel::{Panels, Scaled, Tensor};
use crate::loss::{Loss, Targets};
use crate::part::{TensorId, Watch};
use crate::plan::Plan;
use crate::simd::Float;
use crate::weights::Weights;
use passes::Passes;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Every gradient of one backward pass, input side first.
#[derive(Debug, Clone)]
pub struct Gradients<F> {
    /// Of the parameters, in the order of [`Plan::tensors`]; of a tied net summed over its steps.
    pub tensors: Vec<Tensor<F>>,
    /// `dL/dz` of the hidden layers, `(batch, width)`.
    pub preactivations: Vec<Tensor<F>>,
    /// `dL/dx`, `(batch, columns)`.
    pub input: Tensor<F>,
    /// The loss, where there is one.
    pub loss: Option<f64>,
}

/// What starts the backward pass.
#[derive(Debug, Clone)]
pub enum Start {
    /// `dL/dy`, row-major.
    Cotangent(Vec<f64>),
    /// A loss on targets.
    Loss(Loss, Targets),
}

impl Start {
    /// `dL/dy` and the loss, from an output of so many columns.
    pub fn cotangent(&self, columns: usize, output: impl FnOnce() -> Vec<f64>) -> (Cow<'_, [f64]>, Option<f64>) {
        match self {
            Self::Cotangent(cotangent) => (Cow::Borrowed(cotangent), None),
            Self::Loss(loss, targets) => {
                let (loss, gradient) = loss.evaluate(&output(), columns, targets);
                (Cow::Owned(gradient), Some(loss))
            }
        }
    }
}

/// The output of a net on row-major samples.
pub fn output<F: Float>(
    plan: &Arc<Plan>,
    weights: &Arc<Weights<F>>,
    x: &[F],
    threads: usize,
    cancel: &Cancel,
) -> Result<Vec<f64>> {
    plan.check_batch(x.len() / plan.columns)?;
    let passes = Passes::new(plan, weights, x, threads, |_| (), cancel).forward();
    cancel.check()?;
    Ok(passes.last_output())
}

/// What a forward pass computes of every layer, and the output.
#[derive(Debug, Clone)]
pub struct Signals<F> {
    /// What the map gives.
    pub z: Vec<Tensor<F>>,
    /// What the activation gets.
    pub inputs: Vec<Tensor<F>>,
    /// What the activation gives.
    pub outputs: Vec<Tensor<F>>,
    /// `phi'` at what the activation gets; of a gated or a doubled one, an entry for each feature of the larger side.
    pub slopes: Vec<Tensor<F>>,
    /// The activations, normalised where a normalisation comes behind.
    pub a: Vec<Tensor<F>>,
    /// What the layer hands on.
    pub h: Vec<Tensor<F>>,
    /// The output of the net.
    pub output: Tensor<F>,
}

impl<F: Float> Signals<F> {
    /// The signals on row-major samples.
    pub fn of(plan: &Plan, weights: &Weights<F>, x: &[F], cancel: &Cancel) -> Result<Self> {
        let (mut trace, columns, depth) = (Trace::default(), plan.columns, plan.depth());
        plan.check_batch(x.len() / columns)?;
        let none = || Tensor { values: Vec::new(), exponent: 0 };
        let [z, inputs, outputs, slopes, a] = std::array::from_fn(|_| vec![none(); plan.rows.len()]);
        let mut signals = Self { z, inputs, outputs, slopes, a, h: Vec::with_capacity(depth), output: none() };
        trace.set_input(plan, x.len() / columns, |sample, feature| x[sample * columns + feature]);
        forward(plan, weights, &mut trace, 0..depth, &mut signals, cancel)?;
        signals.h.extend(plan.layers[..depth].iter().map(|layer| tensor(trace.value(layer.output))));
        // What stands behind the last layer has no row.
        forward(plan, weights, &mut trace, depth..plan.layers.len(), &mut (), cancel)?;
        signals.output = tensor(trace.value(plan.value(plan.layers.len())));
        Ok(signals)
    }

    /// Make all values the true ones, 0 or infinite where the type ends.
    pub fn spell_out(&mut self, cancel: &Cancel) -> Result<()> {
        let Self { z, inputs, outputs, slopes: _, a, h, output } = self;
        output.spell_out();
        let layers = [z, inputs, outputs, a, h].into_iter().flatten();
        layers.into_iter().try_for_each(|signal| cancel.check().map(|()| signal.spell_out()))
    }
}

fn tensor<F: Float>(signal: &Scaled<F>) -> Tensor<F> {
    Tensor { values: signal.panels.to_rows(), exponent: signal.exponent }
}

impl<F: Float> Watch<F> for Signals<F> {
    fn z(&mut self, row: usize, z: &Scaled<F>) -> bool {
        self.z[row] = tensor(z);
        true
    }
    fn phi(&mut self, row: usize, _: &Activation, z: &Scaled<F>, a: &Scaled<F>, slopes: &Panels<F>) {
        self.inputs[row] = tensor(z);
        self.outputs[row] = tensor(a);
        self.slopes[row] = Tensor { values: slopes.to_rows(), exponent: 0 };
    }
    fn a(&mut self, row: usize, a: &Scaled<F>) -> bool {
        self.a[row] = tensor(a);
        true
    }
    fn h(&mut self, _: usize, _: &Scaled<F>) {}
}

/// Tensors of the parameters, `dL/dz` of the layers, and `dL/dx`.
struct Collected<F> {
    tensors: HashMap<TensorId, Tensor<F>>,
    preactivations: Vec<Tensor<F>>,
    input: Tensor<F>,
}

/// All gradients of a net on row-major samples. `spell` sees every tensor of the parameters and pre-activations.
pub fn gradients<F: Float>(
    plan: &Arc<Plan>,
    weights: &Arc<Weights<F>>,
    x: &[F],
    start: &Start,
    threads: usize,
    spell: fn(&mut Tensor<F>),
    cancel: &Cancel,
) -> Result<Gradients<F>> {
    plan.check_batch(x.len() / plan.columns)?;
    let passes = Passes::new(plan, weights, x, threads, spell, cancel).forward();
    cancel.check()?;
    let (cotangent, loss) = start.cotangent(plan.output_row(), || passes.output());
    let Collected { mut tensors, mut preactivations, input } = passes.backward(&cotangent);
    cancel.check()?;
    preactivations.iter_mut().for_each(spell);
    let tensors = plan.tensors().into_iter().filter_map(|(id, _, _)| tensors.remove(&id));
    let spelled = |mut tensor| {
        spell(&mut tensor);
        tensor
    };
    Ok(Gradients { tensors: tensors.map(spelled).collect(), preactivations, input, loss })
}
