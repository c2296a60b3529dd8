//! The oracle: plain loops over plain vectors in `f64`, too simple to be wrong. Nothing is rescaled, packed or fused.
//!
//! A net is the list of its parts; each is a function here that gives what it makes of its input, and another that
//! takes a gradient back.

pub mod cell;
pub mod part;
mod rows;
pub mod train;

pub use rows::{Rows, Singular, affine, apart, beside, map2, rows, singular, standardise, transposed};

use crate::part::{Masks, Part, Which};
use crate::plan::{Place, Plan, Quantity};
use std::collections::BTreeMap;

/// Parameters or their gradients by the names of a state dict, in C order; weights are those before a transform.
pub type Tensors = BTreeMap<String, Vec<f64>>;

/// A net with its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Net<'n> {
    /// The parts, and where they stand.
    pub plan: &'n Plan,
    /// The numbers.
    pub state: &'n Tensors,
    /// What the masks of dropout are drawn from, in a pass of training.
    pub masks: Option<Masks>,
}

impl Net<'_> {
    /// The state-dict name of a tensor of a part; layers that share a slot of parameters have one name.
    pub fn name(&self, layer: usize, index: usize, which: Which) -> String {
        format!("{}.{}", self.plan.name(self.plan.layers[layer].slot, index), which.name())
    }

    /// A tensor of a part, if it has one of the kind.
    pub fn find(&self, layer: usize, index: usize, which: Which) -> Option<&Vec<f64>> {
        self.state.get(&self.name(layer, index, which))
    }

    /// A tensor of a part.
    pub fn tensor(&self, layer: usize, index: usize, which: Which) -> &Vec<f64> {
        &self.state[&self.name(layer, index, which)]
    }
}

/// Everything a forward pass computes, a batch of rows each.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The values by their numbers: `x`, or zeros where every step gets its own, then what layers hand on and maps get.
    pub values: Vec<Rows>,
    /// What happens within each layer, the readout too.
    pub steps: Vec<Step>,
}

/// What happens within a layer.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// What each part got.
    pub got: Vec<Rows>,
    /// What each part gave.
    pub gave: Vec<Rows>,
}

impl Pass {
    /// The output.
    pub fn y(&self) -> &Rows {
        &self.values[self.values.len() - 1]
    }

    /// What a layer gives a probe to see.
    pub fn shown(&self, plan: &Plan, layer: usize, quantity: Quantity) -> &Rows {
        let part = plan.layers[layer].parts.iter().position(|placed| placed.shows == Some(quantity));
        &self.steps[layer].gave[part.unwrap_or_default()]
    }

    /// The parts of a layer with what they got.
    pub fn got<'p>(&'p self, plan: &'p Plan, layer: usize) -> impl Iterator<Item = (&'p Part, &'p Rows)> {
        plan.layers[layer].parts.iter().map(|placed| &placed.part).zip(&self.steps[layer].got)
    }
}

/// Everything a backward pass computes.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Of every parameter: sums over the layers that share it.
    pub tensors: Tensors,
    /// What each layer adds to them, the readout too.
    pub steps: Vec<Tensors>,
    /// `dL/dz` of the rows of a probe.
    pub preactivations: Vec<Rows>,
    /// `dL/dh` of what each layer hands on.
    pub outputs: Vec<Rows>,
    /// `dL/dx`.
    pub input: Rows,
}

/// What the first layer gets: `x`, token by token, or zeros where every step gets its own.
pub fn first_input(plan: &Plan, x: &Rows) -> Rows {
    if plan.fed.is_some() {
        return vec![vec![0.0; plan.values[0]]; x.len()];
    }
    rows(&rows::flat(x), plan.values[0])
}

/// Add to the gradient of a tensor, which may have come already.
pub fn add(found: &mut Tensors, name: String, values: Vec<f64>) {
    let sum = found.entry(name).or_insert_with(|| vec![0.0; values.len()]);
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// One layer, from the values so far, which what it gives is added to.
pub fn step(net: &Net<'_>, layer: usize, values: &mut Vec<Rows>, x: &Rows) -> Step {
    let mut step = Step::default();
    let mut h = values[net.plan.layers[layer].input].clone();
    for placed in &net.plan.layers[layer].parts {
        let at = part::At { net, layer, placed, values, x };
        let (gave, next) = (part::forward(&at, &h), part::next(&at, &h));
        if let (Some(value), Some(next)) = (placed.next, next) {
            values.resize(values.len().max(value + 1), Rows::new());
            values[value] = next;
        }
        if let Place::Value(value) = placed.to {
            values.resize(values.len().max(value + 1), Rows::new());
            values[value].clone_from(&gave);
        }
        step.got.push(std::mem::replace(&mut h, gave.clone()));
        step.gave.push(gave);
    }
    step
}

/// The net on a batch.
pub fn forward(net: &Net<'_>, x: &Rows) -> Pass {
    let mut values = vec![first_input(net.plan, x)];
    let steps = (0..net.plan.layers.len()).map(|layer| step(net, layer, &mut values, x)).collect();
    Pass { values, steps }
}

/// Every gradient from the cotangent `dL/dy`.
pub fn backward(net: &Net<'_>, x: &Rows, pass: &Pass, cotangent: &Rows) -> Gradients {
    let layers = &net.plan.layers;
    let mut all = Gradients {
        tensors: Tensors::new(),
        steps: vec![Tensors::new(); layers.len()],
        preactivations: vec![Rows::new(); net.plan.rows.len()],
        outputs: vec![Rows::new(); layers.len()],
        input: rows::map(x, |_| 0.0),
    };
    // The gradients of the streams that go around: the first to come sets, the others add.
    let mut streams = BTreeMap::<usize, Rows>::new();
    let mut d = cotangent.clone();
    for (layer, Step { got, .. }) in pass.steps.iter().enumerate().rev() {
        let found = &mut all.steps[layer];
        let keeps = layers[layer].parts.iter().rev().take_while(|placed| matches!(placed.part, Part::Keep(_))).count();
        let last = layers[layer].parts.len() - keeps;
        if keeps == 0 {
            all.outputs[layer].clone_from(&d);
        }
        for (index, (placed, got)) in layers[layer].parts.iter().zip(got).enumerate().rev() {
            if let (Part::Map(map), Some(preactivations)) = (&placed.part, all.preactivations.get_mut(placed.row)) {
                *preactivations = cell::halves(&d, map.apart).1;
            }
            let at = part::At { net, layer, placed, values: &pass.values, x };
            d = part::backward(&at, got, d, found, &mut streams, &mut all.input);
            // What goes around from here on adds to the gradient of what the layer hands on.
            if index == last {
                all.outputs[layer].clone_from(&d);
            }
        }
    }
    for (key, values) in all.steps.iter().flatten() {
        add(&mut all.tensors, key.clone(), values.clone());
    }
    if net.plan.fed.is_none() {
        all.input = rows(&rows::flat(&d), net.plan.columns);
    }
    all
}
