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

/// Of every row of a probe `z`, what its activation gets and what that gives, on row-major samples.
pub fn signals<F: Float>(plan: &Plan, weights: &Weights<F>, x: &[F], cancel: &Cancel) -> Result<Vec<[Tensor<F>; 3]>> {
    let nothing = || std::array::from_fn(|_| Tensor { values: Vec::new(), exponent: 0 });
    let mut signals = Signals(plan.rows.iter().map(|_| nothing()).collect());
    let (mut trace, columns) = (Trace::default(), plan.columns);
    trace.set_input(plan, x.len() / columns, |sample, feature| x[sample * columns + feature]);
    forward(plan, weights, &mut trace, 0..plan.depth(), &mut signals, cancel)?;
    Ok(signals.0)
}

/// Keeps what the forward pass computes of every row.
struct Signals<F>(Vec<[Tensor<F>; 3]>);

fn tensor<F: Float>(signal: &Scaled<F>) -> Tensor<F> {
    Tensor { values: signal.panels.to_rows(), exponent: signal.exponent }
}

impl<F: Float> Watch<F> for Signals<F> {
    fn z(&mut self, row: usize, z: &Scaled<F>) -> bool {
        self.0[row][0] = tensor(z);
        true
    }
    fn phi(&mut self, row: usize, _: &Activation, z: &Scaled<F>, a: &Scaled<F>, _: &Panels<F>) {
        self.0[row][1] = tensor(z);
        self.0[row][2] = tensor(a);
    }
    fn a(&mut self, _: usize, _: &Scaled<F>) -> bool {
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
    let (cotangent, loss) = start.cotangent(plan.output(), || passes.output());
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
