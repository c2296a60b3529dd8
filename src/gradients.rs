//! Explicit gradients of one net, and the losses that start them.

use crate::activation::Activation;
use crate::backward;
use crate::error::{Cancel, Result};
use crate::forward::{Trace, forward};
use crate::kernel::{Matrix, Panels, Scaled, Tensor, outer_rows};
use crate::loss::{Loss, Targets};
use crate::part::{Collect, Linear, Module, Owner, Signal, TensorId, Watch, Which};
use crate::plan::{Place, Plan};
use crate::simd::{Float, exponent_of, times_power_of_two};
use crate::threads::share;
use crate::weights::Weights;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

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
    /// `dL/dy` and the loss, from the output.
    pub fn cotangent<F: Float>(&self, output: &Scaled<F>) -> (Vec<f64>, Option<f64>) {
        match self {
            Self::Cotangent(cotangent) => (cotangent.clone(), None),
            Self::Loss(loss, targets) => {
                let (loss, gradient) = loss.evaluate(&output.to_rows(), output.panels.features(), targets);
                (gradient, Some(loss))
            }
        }
    }
}

/// What is known of a linear map: its delta, once the backward pass has been there, then its gradients.
struct Slot<F> {
    owner: Owner,
    /// The number of the value that is its input.
    input: usize,
    delta: OnceLock<Scaled<F>>,
    found: OnceLock<Found<F>>,
}

impl<F> Slot<F> {
    fn new(owner: Owner, input: usize) -> Self {
        Self { owner, input, delta: OnceLock::new(), found: OnceLock::new() }
    }
}

/// `dL/dW`, `dL/db` and `dL/dz` of a map.
struct Found<F> {
    weight: Tensor<F>,
    bias: Tensor<f64>,
    delta: Tensor<F>,
}

impl<F: Float> Found<F> {
    fn of(linear: &Linear<F>, delta: &Scaled<F>, input: &Scaled<F>, scratch: &mut Matrix<F>) -> Self {
        let mut near = Scaled::default();
        let input = input.near_one(&mut near);
        let mut weight = outer_rows(&delta.panels, &input.panels, scratch);
        linear.gradient_of_parameters(&mut weight);
        let mut bias = Vec::new();
        delta.panels.weighted(&vec![1.0; delta.panels.batch()], &mut bias);
        Self {
            weight: Tensor { values: weight, exponent: delta.exponent + input.exponent },
            bias: Tensor { values: bias, exponent: delta.exponent },
            delta: Tensor { values: delta.panels.to_rows(), exponent: delta.exponent },
        }
    }
}

/// The gradients of the maps, worked out by any thread as soon as their deltas are there, the readout's first.
struct Board<'p, F> {
    plan: &'p Plan,
    weights: &'p Weights<F>,
    trace: &'p Trace<F>,
    /// One a map, in the order in which the backward pass gets to them.
    slots: Vec<Slot<F>>,
    /// How many deltas are there; `None` when no more will come.
    ready: Mutex<Option<usize>>,
    changed: Condvar,
    /// How many maps have been taken.
    taken: AtomicUsize,
    /// What else the backward pass finds.
    vectors: Mutex<Vec<(TensorId, Tensor<f64>)>>,
    spell: fn(&mut Tensor<F>),
}

impl<F: Float> Collect<F> for &Board<'_, F> {
    fn map(&mut self, owner: Owner, delta: &Scaled<F>, _: &Scaled<F>, _: Option<usize>) {
        if let Some(ready) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            debug_assert_eq!(self.slots[*ready].owner, owner);
            let _ = self.slots[*ready].delta.set(delta.clone());
            *ready += 1;
        }
        self.changed.notify_all();
    }

    fn vector(&mut self, owner: Owner, which: Which, values: &[f64], exponent: i64) {
        let tensor = Tensor { values: values.to_vec(), exponent };
        self.vectors.lock().unwrap_or_else(PoisonError::into_inner).push((owner.tensor(which), tensor));
    }

    fn dh(&mut self, _: usize, _: &Scaled<F>) {}
}

/// No more deltas will come, whether the passes ended or panicked.
struct Close<'b, 'p, F>(&'b Board<'p, F>);

impl<F> Drop for Close<'_, '_, F> {
    fn drop(&mut self) {
        *self.0.ready.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.changed.notify_all();
    }
}

impl<F: Float> Board<'_, F> {
    /// Work out maps until none is left.
    fn work(&self, cancel: &Cancel) {
        let mut scratch = Matrix::default();
        loop {
            let taken = self.taken.fetch_add(1, Ordering::Relaxed);
            let Some(Slot { owner, input, delta, found }) = self.slots.get(taken) else { return };
            let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            let waits = |ready: &mut Option<usize>| ready.is_some_and(|ready| ready <= taken);
            drop(self.changed.wait_while(ready, waits));
            let Some(delta) = delta.get().filter(|_| cancel.check().is_ok()) else { return };
            let linear = self.weights.linear(self.plan, *owner);
            let mut all = Found::of(linear, delta, self.trace.value(*input), &mut scratch);
            (self.spell)(&mut all.weight);
            (self.spell)(&mut all.delta);
            let _ = found.set(all);
        }
    }
}

/// The gradients of a tied net, summed over its steps in the order of the backward pass.
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
        let Found { weight, bias, delta: preactivation } = Found::of(linear, delta, input, &mut self.scratch);
        self.add(owner.tensor(Which::Weight), &weight.values, weight.exponent);
        self.add(owner.tensor(Which::Bias), &bias.values, bias.exponent);
        match owner.module {
            Module::Layers => self.preactivations.push(preactivation),
            Module::Inputs => {
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

/// The output of a net on row-major samples.
pub fn output<F: Float>(plan: &Plan, weights: &Weights<F>, x: &[F], cancel: &Cancel) -> Result<Vec<f64>> {
    let mut trace = Trace::default();
    plan.check_batch(x.len() / plan.columns)?;
    Ok(pass(plan, weights, x, &mut trace, cancel)?.to_rows())
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

/// All gradients of a net on row-major samples. `spell` sees every tensor of the parameters and pre-activations.
///
/// One thread runs the passes; the others turn deltas into gradients behind it.
pub fn gradients<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    x: &[F],
    start: &Start,
    threads: usize,
    spell: fn(&mut Tensor<F>),
    cancel: &Cancel,
) -> Result<Gradients<F>> {
    let mut trace = Trace::default();
    plan.check_batch(x.len() / plan.columns)?;
    let output = pass(plan, weights, x, &mut trace, cancel)?;
    let (cotangent, loss) = start.cotangent(output);
    let mut signal = Signal::default();
    signal.begin(output.panels.features(), output.panels.batch(), &cotangent);
    let mut passed = Passed { plan, weights, trace: &trace, signal: &mut signal, cancel };
    let (mut tensors, mut preactivations, input) =
        if plan.tied() || plan.fed.is_some() { passed.summed() } else { passed.shared(threads, x.len(), spell) };
    cancel.check()?;
    preactivations.iter_mut().for_each(spell);
    let input = input.unwrap_or(Tensor { values: signal.dh.panels.to_rows(), exponent: signal.dh.exponent });
    let tensors = plan.tensors().into_iter().filter_map(|(id, _, _)| tensors.remove(&id));
    let spelled = |mut tensor| {
        spell(&mut tensor);
        tensor
    };
    Ok(Gradients { tensors: tensors.map(spelled).collect(), preactivations, input, loss })
}

/// Tensors of the parameters, `dL/dz` of the layers, and `dL/dx` where it is not what is left of the signal.
type Collected<F> = (HashMap<TensorId, Tensor<F>>, Vec<Tensor<F>>, Option<Tensor<F>>);

/// A net after its forward pass.
struct Passed<'p, F> {
    plan: &'p Plan,
    weights: &'p Weights<F>,
    trace: &'p Trace<F>,
    signal: &'p mut Signal<F>,
    cancel: &'p Cancel,
}

impl<F: Float> Passed<'_, F> {
    fn backward(&mut self, collect: &mut impl Collect<F>) {
        let Self { plan, weights, trace, signal, cancel } = self;
        for layer in (0..plan.layers.len()).rev() {
            if cancel.check().is_err() {
                break;
            }
            backward::layer(plan, weights, trace, signal, layer, collect);
        }
    }

    /// The gradients of a net whose layers have their own parameters, on some threads.
    fn shared(&mut self, threads: usize, entries: usize, spell: fn(&mut Tensor<F>)) -> Collected<F> {
        let (plan, cancel) = (self.plan, self.cancel);
        let board = Board {
            plan,
            weights: self.weights,
            trace: self.trace,
            slots: maps_backward(plan).map(|(owner, input)| Slot::new(owner, input)).collect(),
            ready: Mutex::new(Some(0)),
            changed: Condvar::new(),
            taken: AtomicUsize::new(0),
            vectors: Mutex::new(Vec::new()),
            spell,
        };
        let passes = || {
            let close = Close(&board);
            self.backward(&mut &board);
            drop(close);
            board.work(cancel);
        };
        // A thread takes longer to start than a small net's gradients.
        let work = plan.weight_entries() * entries / plan.columns;
        share(if work < WORTH_A_THREAD { 1 } else { threads }, passes, || board.work(cancel));
        let mut tensors = HashMap::new();
        let mut preactivations = Vec::new();
        for Slot { owner, found, .. } in board.slots {
            let Some(Found { weight, bias, delta }) = found.into_inner() else { continue };
            tensors.insert(owner.tensor(Which::Weight), weight);
            tensors.insert(owner.tensor(Which::Bias), narrow(&bias));
            if owner.module == Module::Layers {
                preactivations.push(delta);
            }
        }
        preactivations.reverse();
        let vectors = board.vectors.into_inner().unwrap_or_else(PoisonError::into_inner);
        tensors.extend(vectors.into_iter().map(|(id, vector)| (id, narrow(&vector))));
        (tensors, preactivations, None)
    }

    /// The gradients of a net whose layers share their parameters.
    fn summed(&mut self) -> Collected<F> {
        let mut sums = Sums {
            plan: self.plan,
            weights: self.weights,
            of: HashMap::new(),
            preactivations: Vec::new(),
            inputs: Vec::new(),
            scratch: Matrix::default(),
            dx: Panels::default(),
        };
        self.backward(&mut sums);
        let Sums { of: sums, mut preactivations, mut inputs, .. } = sums;
        preactivations.reverse();
        inputs.reverse();
        let input = self.plan.fed.map(|_| side_by_side(&inputs, self.signal.dh.panels.batch()));
        (sums.into_iter().map(|(id, sum)| (id, narrow(&sum))).collect(), preactivations, input)
    }
}

/// Rounded to the type, the largest brought to 1 so that it fits.
fn narrow<F: Float>(wide: &Tensor<f64>) -> Tensor<F> {
    let largest = wide.values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let shift = if largest > 0.0 && largest.is_finite() { exponent_of(largest) } else { 0 };
    let values = wide.values.iter().map(|v| F::of(times_power_of_two(*v, -shift))).collect();
    Tensor { values, exponent: wide.exponent + shift }
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

/// Multiply-adds of a weight gradient from which on further threads are started: some hundred microseconds.
const WORTH_A_THREAD: usize = 10_000_000;

/// The linear maps with their inputs, in the order in which the backward pass gets to them; those of inputs of every
/// step are not among them.
fn maps_backward(plan: &Plan) -> impl Iterator<Item = (Owner, usize)> {
    let of_layer = move |layer: usize| {
        plan.layers[layer].parts.iter().rev().filter_map(move |placed| {
            let input = match (placed.around, placed.from) {
                (Some(value), _) | (None, Place::Value(value)) => value,
                (None, Place::Moving) => return None,
            };
            Some((plan.owner(layer, placed.row, placed.part.linear()?), input))
        })
    };
    (0..plan.layers.len()).rev().flat_map(of_layer)
}

/// The forward pass of a whole net; gives its output.
fn pass<'t, F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    x: &[F],
    trace: &'t mut Trace<F>,
    cancel: &Cancel,
) -> Result<&'t Scaled<F>> {
    let columns = plan.columns;
    trace.set_input(plan, x.len() / columns, |sample, feature| x[sample * columns + feature]);
    forward(plan, weights, trace, 0..plan.layers.len(), &mut (), cancel)?;
    Ok(trace.value(plan.value(plan.layers.len())))
}
