//! The gradients of a net whose layers share their parameters, summed over its steps.
//!
//! A backward pass keeps what each map gets and gives, step by step. Then the weight gradient of a map is a product over
//! many steps at once, of all groups of samples: a product a step would read and write the whole gradient each time.

use super::Collected;
use super::found::{Found, narrow, rows};
use super::passes::{Passes, lock, read};
use crate::forward::Trace;
use crate::kernel::{Matrix, Scaled, Tensor};
use crate::part::{Collect, Module, Owner, TensorId, Which};
use crate::simd::{Float, times_power_of_two};
use crate::threads::{Ends, together};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Samples of one product, of all its steps together: their deltas and inputs stay in the second-level cache.
const SAMPLES: usize = 512;

/// A map that a backward pass has come to.
#[derive(Debug)]
struct Step<F> {
    owner: Owner,
    delta: Scaled<F>,
    /// The number of the value that is its input, or what else that is.
    value: Option<usize>,
    input: Scaled<F>,
}

impl<F: Float> Step<F> {
    /// What the map got.
    fn input<'s>(&'s self, trace: &'s Trace<F>) -> &'s Scaled<F> {
        self.value.map_or(&self.input, |value| trace.value(value))
    }
}

/// All maps that a backward pass has come to, in that order. Reused from pass to pass.
#[derive(Debug)]
pub(super) struct Steps<F> {
    all: Vec<Step<F>>,
    count: usize,
}

impl<F> Default for Steps<F> {
    fn default() -> Self {
        Self { all: Vec::new(), count: 0 }
    }
}

impl<F> Steps<F> {
    /// Get ready for a pass.
    pub fn begin(&mut self) {
        self.count = 0;
    }

    fn all(&self) -> &[Step<F>] {
        &self.all[..self.count]
    }
}

/// Keeps what a backward pass comes to.
pub(super) struct Recording<'r, F> {
    pub steps: &'r mut Steps<F>,
    pub vectors: &'r mut Vec<(TensorId, Tensor<f64>)>,
}

impl<F: Float> Collect<F> for Recording<'_, F> {
    fn map(&mut self, owner: Owner, delta: &Scaled<F>, input: &Scaled<F>, value: Option<usize>) {
        let Steps { all, count } = &mut *self.steps;
        if *count == all.len() {
            all.push(Step { owner, delta: Scaled::default(), value, input: Scaled::default() });
        }
        let step = &mut all[*count];
        (step.owner, step.value) = (owner, value);
        step.delta.copy_from(delta);
        if value.is_none() {
            step.input.copy_from(input);
        }
        *count += 1;
    }

    fn vector(&mut self, owner: Owner, which: Which, values: &[f64], exponent: i64) {
        self.vectors.push((owner.tensor(which), Tensor { values: values.to_vec(), exponent }));
    }

    fn dh(&mut self, _: usize, _: &Scaled<F>) {}
}

/// Steps of one map that are taken together.
struct Together<F> {
    /// Their places among the steps of a pass.
    steps: Vec<usize>,
    found: Mutex<Option<OfSteps<F>>>,
}

/// What is found of some steps of a map.
struct OfSteps<F> {
    gradients: Found<F>,
    /// `dL/dz` by row.
    preactivations: Vec<(usize, Tensor<F>)>,
    /// `dL/dx_t` by step.
    inputs: Vec<(usize, Tensor<F>)>,
}

/// All that is to be summed, and who has taken what.
struct Work<F> {
    passes: Passes<F>,
    /// The step that tells `dL/dz` of each row: the last one, which is of all gates.
    shown: HashMap<usize, usize>,
    parts: Vec<Together<F>>,
    turns: Ends,
}

impl<F: Float> Work<F> {
    fn new(passes: Passes<F>) -> Self {
        let (mut parts, mut last, mut shown) = (Vec::<Together<F>>::new(), HashMap::new(), HashMap::new());
        let backs = passes.groups().iter().map(|group| read(&group.back)).collect::<Vec<_>>();
        let samples =
            |step: &usize| backs.iter().map(|back| back.steps.all()[*step].delta.panels.batch()).sum::<usize>();
        // A pass that was given up has come to less.
        let count = backs.iter().map(|back| back.steps.all().len()).min().unwrap_or(0);
        for (index, Step { owner, .. }) in backs[0].steps.all()[..count].iter().enumerate() {
            let key = owner.tensor(Which::Weight);
            let most = if passes.plan.recurrent() { (SAMPLES / samples(&index).max(1)).max(1) } else { 1 };
            let fits = last.get(&key).copied().filter(|&part: &usize| parts[part].steps.len() < most);
            let part = fits.unwrap_or_else(|| {
                parts.push(Together { steps: Vec::new(), found: Mutex::new(None) });
                parts.len() - 1
            });
            last.insert(key, part);
            parts[part].steps.push(index);
            if matches!(owner.module, Module::Layers | Module::Inputs | Module::LayerInputs) {
                shown.insert(owner.row, index);
            }
        }
        drop(backs);
        Self { turns: Ends::new(parts.len()), passes, shown, parts }
    }

    /// The gradients of some steps of a map.
    fn finish(&self, part: usize, scratch: &mut Matrix<F>) {
        let Passes { plan, weights, .. } = &self.passes;
        let Together { steps, found } = &self.parts[part];
        let groups = self.passes.groups().iter().map(|group| (read(&group.back), read(&group.trace)));
        let groups = groups.collect::<Vec<_>>();
        let of_groups = |step: usize| groups.iter().map(move |(back, trace)| (&back.steps.all()[step], &**trace));
        let deltas = |step: usize| of_groups(step).map(|(step, _)| &step.delta);
        let owner = |step: usize| groups[0].0.steps.all()[step].owner;
        let linear = weights.linear(plan, owner(steps[0]));
        let terms =
            steps.iter().flat_map(|&step| of_groups(step)).map(|(step, trace)| (&step.delta, step.input(trace)));
        let gradients = Found::of(linear, &terms.collect::<Vec<_>>(), scratch);
        let shown = steps.iter().filter(|&step| self.shown.get(&owner(*step).row) == Some(step));
        let preactivations = shown.map(|&step| (owner(step).row, rows(deltas(step)))).collect();
        let fed = |step: &usize| {
            let Owner { module, layer, .. } = owner(*step);
            let of_inputs = matches!(module, Module::Inputs | Module::LayerInputs);
            plan.step(layer).filter(|_| of_inputs).map(|time| (time, *step))
        };
        let of_input = |delta: &Scaled<F>| {
            let mut dx = Scaled { exponent: delta.exponent, ..Scaled::default() };
            linear.weight.backward(&delta.panels, &mut dx.panels);
            dx
        };
        let inputs = steps.iter().filter_map(fed).map(|(time, step)| {
            let dx = deltas(step).map(of_input).collect::<Vec<_>>();
            (time, rows(dx.iter()))
        });
        let inputs = inputs.collect();
        *lock(found) = Some(OfSteps { gradients, preactivations, inputs });
    }

    /// Everything together, in the order of the backward pass.
    fn collected(self) -> (Passes<F>, Collected<F>) {
        let Self { passes, parts, .. } = self;
        let mut sums = HashMap::<TensorId, Tensor<f64>>::new();
        let mut add = |key: TensorId, values: &dyn Fn(&mut Tensor<f64>), count: usize| {
            values(sums.entry(key).or_insert_with(|| Tensor::zeros(count)));
        };
        let none = || Tensor { values: Vec::new(), exponent: 0 };
        let mut preactivations = vec![none(); passes.plan.rows.len()];
        let mut steps = vec![none(); passes.plan.steps()];
        for Together { steps: places, found } in parts {
            let Some(found) = found.into_inner().unwrap_or_else(PoisonError::into_inner) else { continue };
            let OfSteps { gradients: Found { weight, bias }, preactivations: shown, inputs } = found;
            let owner = read(&passes.groups()[0].back).steps.all()[places[0]].owner;
            add(owner.tensor(Which::Weight), &|sum| sum.add(&weight.values, weight.exponent), weight.values.len());
            add(owner.tensor(Which::Bias), &|sum| sum.add(&bias.values, bias.exponent), bias.values.len());
            shown.into_iter().for_each(|(row, delta)| preactivations[row] = delta);
            inputs.into_iter().for_each(|(time, dx)| steps[time] = dx);
        }
        let backs = passes.groups().iter().map(|group| read(&group.back)).collect::<Vec<_>>();
        for (id, Tensor { values, exponent }) in backs.iter().flat_map(|back| &back.vectors) {
            add(*id, &|sum| sum.add(values, *exponent), values.len());
        }
        let input = match passes.plan.fed {
            Some(columns) => side_by_side(&steps, columns),
            None => rows(backs.iter().map(|back| &back.signal.dh)),
        };
        drop(backs);
        let tensors = sums.into_iter().map(|(id, sum)| (id, narrow(&sum))).collect();
        (passes, Collected { tensors, preactivations, input })
    }
}

/// The gradients behind the backward passes of all groups.
pub(super) fn summed<F: Float>(passes: Passes<F>, threads: usize) -> (Passes<F>, Collected<F>) {
    let work = Work::new(passes);
    let threads = threads.min(work.parts.len());
    let done = together(threads, work, |work, thread| {
        let mut scratch = Matrix::default();
        while let Some(part) = work.turns.next(thread) {
            if work.passes.cancel.check().is_err() {
                return;
            }
            work.finish(part, &mut scratch);
        }
    });
    done.collected()
}

/// Row-major batches next to each other, each row those of all, aligned to the largest exponent.
fn side_by_side<F: Float>(steps: &[Tensor<F>], columns: usize) -> Tensor<F> {
    let exponent = steps.iter().map(|step| step.exponent).max().unwrap_or(0);
    let total = steps.iter().map(|step| step.values.len()).sum::<usize>();
    let mut values = vec![F::ZERO; total];
    for (time, step) in steps.iter().enumerate() {
        let factor = F::of(times_power_of_two(1.0, step.exponent - exponent));
        let rows = values[time * columns..].chunks_mut(columns * steps.len());
        for (row, from) in rows.zip(step.values.chunks_exact(columns)) {
            row.iter_mut().zip(from).for_each(|(v, from)| *v = *from * factor);
        }
    }
    Tensor { values, exponent }
}
