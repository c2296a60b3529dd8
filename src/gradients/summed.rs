//! The gradients of a net whose layers share their parameters, summed over its steps.

use super::Collected;
use super::found::{Found, narrow};
use crate::backward;
use crate::error::Cancel;
use crate::forward::Trace;
use crate::kernel::{Matrix, Panels, Scaled, Tensor};
use crate::part::{Collect, Module, Owner, Signal, TensorId, Which};
use crate::plan::Plan;
use crate::simd::{Float, times_power_of_two};
use crate::weights::Weights;
use std::collections::HashMap;

/// Sums over the steps in the order of the backward pass.
struct Sums<'p, F> {
    plan: &'p Plan,
    weights: &'p Weights<F>,
    of: HashMap<TensorId, Tensor<f64>>,
    preactivations: Vec<Tensor<F>>,
    /// `dL/dx_t`, the last step first.
    inputs: Vec<Tensor<F>>,
    scratch: Matrix<F>,
    dx: Panels<F>,
}

impl<F: Float> Sums<'_, F> {
    fn add<T: Float>(&mut self, key: TensorId, values: &[T], exponent: i64) {
        self.of.entry(key).or_insert_with(|| Tensor::zeros(values.len())).add(values, exponent);
    }
}

impl<F: Float> Collect<F> for Sums<'_, F> {
    fn map(&mut self, owner: Owner, delta: &Scaled<F>, input: &Scaled<F>, _: Option<usize>) {
        let linear = self.weights.linear(self.plan, owner);
        let Found { weight, bias, delta: preactivation } = Found::of(linear, &[(delta, input)], &mut self.scratch);
        self.add(owner.tensor(Which::Weight), &weight.values, weight.exponent);
        self.add(owner.tensor(Which::Bias), &bias.values, bias.exponent);
        match owner.module {
            Module::Layers => self.preactivations[owner.row] = preactivation,
            Module::Inputs | Module::LayerInputs => {
                // That of all gates, where the recurrent map has a share of some.
                self.preactivations[owner.row] = preactivation;
                if self.plan.step(owner.layer).is_none() {
                    return;
                }
                linear.weight.backward(&delta.panels, &mut self.dx);
                self.inputs.push(Tensor { values: self.dx.to_rows(), exponent: delta.exponent });
            }
            _ => (),
        }
    }

    fn vector(&mut self, owner: Owner, which: Which, values: &[f64], exponent: i64) {
        self.add(owner.tensor(which), values, exponent);
    }

    fn dh(&mut self, _: usize, _: &Scaled<F>) {}
}

/// The gradients from a signal that has begun behind a forward pass.
pub(super) fn summed<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &Trace<F>,
    signal: &mut Signal<F>,
    cancel: &Cancel,
) -> Collected<F> {
    let mut sums = Sums {
        plan,
        weights,
        of: HashMap::new(),
        preactivations: plan.rows.iter().map(|_| Tensor { values: Vec::new(), exponent: 0 }).collect(),
        inputs: Vec::new(),
        scratch: Matrix::default(),
        dx: Panels::default(),
    };
    for layer in (0..plan.layers.len()).rev() {
        if cancel.check().is_err() {
            break;
        }
        backward::layer(plan, weights, trace, signal, layer, &mut sums);
    }
    let Sums { of: sums, preactivations, mut inputs, .. } = sums;
    inputs.reverse();
    let input = match plan.fed {
        Some(_) => side_by_side(&inputs, signal.dh.panels.batch()),
        None => super::found::rows([&signal.dh].into_iter()),
    };
    Collected { tensors: sums.into_iter().map(|(id, sum)| (id, narrow(&sum))).collect(), preactivations, input }
}

/// Row-major batches next to each other, each row those of all, aligned to the largest exponent.
fn side_by_side<F: Float>(steps: &[Tensor<F>], batch: usize) -> Tensor<F> {
    let exponent = steps.iter().map(|step| step.exponent).max().unwrap_or(0);
    let mut values = Vec::with_capacity(steps.iter().map(|step| step.values.len()).sum());
    for sample in 0..batch {
        for step in steps {
            let columns = step.values.len() / batch;
            let factor = F::of(times_power_of_two(1.0, step.exponent - exponent));
            values.extend(step.values[sample * columns..][..columns].iter().map(|v| *v * factor));
        }
    }
    Tensor { values, exponent }
}
