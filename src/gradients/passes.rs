//! The passes of one net, whose samples are shared out to threads.
//!
//! A group of samples goes through the whole net, forward and back, with exponents of its own: no thread waits for
//! another. The weight gradient of a map is then one product over all groups, in which their powers of two are
//! multiplied exactly. Groups depend on shapes alone, and so do the bits of all that comes out.

use super::Collected;
use super::found::{Found, narrow, rows};
use super::summed::{Recording, Steps};
use crate::backward;
use crate::error::Cancel;
use crate::forward::{Trace, forward};
use crate::kernel::{Matrix, Scaled, Tensor};
use crate::memory::{Kept, workspace};
use crate::part::{Collect, Module, Owner, Signal, TensorId, Which};
use crate::plan::{Place, Plan};
use crate::simd::Float;
use crate::threads::{Ends, together};
use crate::weights::Weights;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Some samples on their way through the net. Reused from call to call.
pub(super) struct Group<F> {
    samples: Range<usize>,
    pub trace: RwLock<Trace<F>>,
    pub back: RwLock<Back<F>>,
    /// The delta of every linear map, in the order in which a backward pass gets to them.
    deltas: Vec<RwLock<Scaled<F>>>,
}

impl<F> Default for Group<F> {
    fn default() -> Self {
        let back = Back { signal: Signal::default(), vectors: Vec::new(), steps: Steps::default() };
        Self { samples: 0..0, trace: RwLock::default(), back: RwLock::new(back), deltas: Vec::new() }
    }
}

/// What the way back of a group leaves behind.
pub(super) struct Back<F> {
    pub signal: Signal<F>,
    /// Gradients of what is no matrix.
    pub vectors: Vec<(TensorId, Tensor<f64>)>,
    /// What a net whose layers share their parameters has come to.
    pub steps: Steps<F>,
}

/// What calls leave for the next.
struct Space<F> {
    groups: Vec<Group<F>>,
}

impl<F> Default for Space<F> {
    fn default() -> Self {
        Self { groups: Vec::new() }
    }
}

/// What is known of a linear map.
struct Map<F> {
    owner: Owner,
    /// The number of the value that is its input.
    input: usize,
    /// Groups whose delta is there.
    ready: AtomicUsize,
    /// With `dL/dz`.
    found: Mutex<Option<(Found<F>, Tensor<F>)>>,
}

/// The passes of a net over a batch.
pub(super) struct Passes<F> {
    pub plan: Arc<Plan>,
    pub weights: Arc<Weights<F>>,
    pub cancel: Cancel,
    threads: usize,
    space: Kept<Space<F>>,
    bytes: u128,
    /// In the order in which a backward pass gets to them.
    maps: Vec<Map<F>>,
    /// Groups and maps that are to be taken by a thread.
    turns: [Ends; 2],
    /// Has a thread panicked? Then nobody waits for what it was to do.
    broken: AtomicBool,
    pub spell: fn(&mut Tensor<F>),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read<T>(value: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    value.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(value: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    value.write().unwrap_or_else(PoisonError::into_inner)
}

/// The groups of a batch: few enough to use a layer's weights for many samples while they are in the caches, and more
/// than one wherever a group still fills the vectors. What is taken over all samples leaves one.
fn groups<F: Float>(plan: &Plan, samples: usize) -> Vec<Range<usize>> {
    let batch = samples * plan.tokens;
    let needs_all =
        plan.layers.iter().flat_map(|layer| &layer.parts).any(|placed| placed.part.needs_samples().is_some());
    // Half a panel is the least that fills a vector on every set.
    let unit = F::LANES / 2;
    let size = match batch / unit {
        _ if needs_all || plan.shares() && !plan.recurrent() => batch,
        0 | 1 => batch,
        2 | 3 => unit,
        4..16 => 2 * unit,
        // Layers beyond the second-level cache.
        _ if plan.weight_entries() >= plan.layers.len() << 18 => 8 * unit,
        _ => 4 * unit,
    };
    // The tokens of a sample stay together.
    let size = size.div_ceil(plan.tokens);
    (0..samples).step_by(size).map(|first| first..samples.min(first + size)).collect()
}

impl<F: Float> Passes<F> {
    /// Passes over row-major samples. `spell` sees every tensor.
    pub fn new(
        plan: &Arc<Plan>,
        weights: &Arc<Weights<F>>,
        x: &[F],
        threads: usize,
        spell: fn(&mut Tensor<F>),
        cancel: &Cancel,
    ) -> Self {
        let columns = plan.columns;
        let batch = x.len() / columns;
        let (mut space, samples) = (workspace::<Space<F>>(), groups::<F>(plan, batch));
        let count = samples.len();
        space.space.groups.resize_with(count, Group::default);
        for (group, samples) in space.space.groups.iter_mut().zip(samples).take_while(|_| cancel.check().is_ok()) {
            let row = |sample: usize| &x[(samples.start + sample) * columns..][..columns];
            write(&group.trace).gather(plan, samples.len(), row);
            group.samples = samples;
        }
        Self {
            plan: Arc::clone(plan),
            weights: Arc::clone(weights),
            cancel: cancel.clone(),
            threads,
            turns: [Ends::new(count), Ends::new(0)],
            // Deltas and what is kept of every layer take about the same.
            bytes: 2 * plan.pass_bytes::<F>(batch),
            space,
            maps: Vec::new(),
            broken: AtomicBool::new(false),
            spell,
        }
    }

    pub fn groups(&self) -> &[Group<F>] {
        &self.space.space.groups
    }

    /// The forward passes.
    pub fn forward(self) -> Self {
        let threads = self.threads.min(self.groups().len());
        together(threads, self, |passes, thread| {
            let Self { plan, weights, cancel, .. } = passes;
            while let Some(group) = passes.turns[0].next(thread) {
                let mut trace = write(&passes.groups()[group].trace);
                // A request to stop is found again by the caller.
                let _ = forward(plan, weights, &mut trace, 0..plan.layers.len(), &mut (), cancel);
            }
        })
    }

    /// The true output, row-major, after the forward passes, when no backward passes follow.
    pub fn last_output(self) -> Vec<f64> {
        let output = self.output();
        self.space.leave(self.bytes);
        output
    }

    /// The true output, row-major, after the forward passes.
    pub fn output(&self) -> Vec<f64> {
        let value = self.plan.value(self.plan.layers.len());
        self.groups().iter().flat_map(|group| read(&group.trace).value(value).to_rows()).collect()
    }

    /// All gradients from `dL/dy`, row-major.
    pub fn backward(mut self, cotangent: &[f64]) -> Collected<F> {
        let outputs = self.plan.output();
        self.maps = maps_backward(&self.plan).map(|(owner, input)| Map::new(owner, input)).collect();
        for Group { samples, back, deltas, .. } in &mut self.space.space.groups {
            let rows = &cotangent[samples.start * outputs..samples.end * outputs];
            let back = back.get_mut().unwrap_or_else(PoisonError::into_inner);
            let (features, count) = self.plan.last_value(samples.len());
            back.signal.begin(features, count, rows);
            back.vectors.clear();
            deltas.resize_with(self.maps.len().max(deltas.len()), RwLock::default);
        }
        if self.plan.shares() {
            self.turns = [Ends::new(self.groups().len()), Ends::new(0)];
            let threads = self.threads;
            let passes = together(threads.min(self.groups().len()), self, |passes, thread| {
                while let Some(group) = passes.turns[0].next(thread) {
                    passes.step_back(group);
                }
            });
            let (passes, found) = super::summed::summed(passes, threads);
            passes.space.leave(passes.bytes);
            return found;
        }
        self.turns = [Ends::new(self.groups().len()), Ends::new(self.maps.len())];
        let done = together(self.threads, self, |passes, thread| {
            let watch = Breaks(&passes.broken);
            while let Some(group) = passes.turns[0].next(thread) {
                passes.back(group);
            }
            let mut scratch = Matrix::default();
            while let Some(map) = passes.turns[1].next(thread) {
                // The first thread begins on the input side, where the passes end; the others where they begin.
                passes.finish(passes.maps.len() - 1 - map, &mut scratch);
            }
            drop(watch);
        });
        done.collected()
    }

    /// The way back of a group.
    fn back(&self, index: usize) {
        let Self { plan, weights, maps, cancel, .. } = self;
        let Group { trace, back, deltas, .. } = &self.groups()[index];
        let (trace, mut back) = (read(trace), write(back));
        let Back { signal, vectors, .. } = &mut *back;
        let mut deltas = Deltas { maps, of_group: deltas, next: 0, vectors };
        for layer in (0..plan.layers.len()).rev() {
            if cancel.check().is_err() {
                return;
            }
            backward::layer(plan, weights, &trace, signal, layer, &mut deltas);
        }
    }

    /// The way back of a group through layers that share their parameters: what it comes to is kept.
    fn step_back(&self, index: usize) {
        let Self { plan, weights, cancel, .. } = self;
        let Group { trace, back, .. } = &self.groups()[index];
        let (trace, mut back) = (read(trace), write(back));
        let Back { signal, vectors, steps } = &mut *back;
        steps.begin();
        let mut recording = Recording { steps, vectors };
        for layer in (0..plan.layers.len()).rev() {
            if cancel.check().is_err() {
                return;
            }
            backward::layer(plan, weights, &trace, signal, layer, &mut recording);
        }
    }

    /// The gradients of a map, once its deltas are there.
    fn finish(&self, map: usize, scratch: &mut Matrix<F>) {
        let (Map { owner, input, ready, found }, groups) = (&self.maps[map], self.groups());
        let mut turns = 0_u32;
        while ready.load(Ordering::Acquire) < groups.len() {
            if self.cancel.check().is_err() || self.broken.load(Ordering::Relaxed) {
                return;
            }
            // A layer takes microseconds: a thread that slept would come late, but one that spins must let others run.
            turns += 1;
            if turns.is_multiple_of(1024) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let held = groups.iter().map(|group| (read(&group.deltas[map]), read(&group.trace))).collect::<Vec<_>>();
        let groups = held.iter().map(|(delta, trace)| (&**delta, trace.value(*input)));
        let linear = self.weights.linear(&self.plan, *owner);
        let groups = groups.collect::<Vec<_>>();
        let (mut all, mut delta) = (Found::of(linear, &groups, scratch), rows(groups.iter().map(|group| group.0)));
        (self.spell)(&mut all.weight);
        (self.spell)(&mut delta);
        *lock(found) = Some((all, delta));
    }

    fn collected(mut self) -> Collected<F> {
        let (mut tensors, mut preactivations) = (HashMap::new(), Vec::new());
        for Map { owner, found, .. } in std::mem::take(&mut self.maps) {
            let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
            let Some((Found { weight, bias }, delta)) = found else { continue };
            tensors.insert(owner.tensor(Which::Weight), weight);
            tensors.insert(owner.tensor(Which::Bias), narrow(&bias));
            if owner.module == Module::Layers {
                preactivations.push(delta);
            }
        }
        preactivations.reverse();
        let backs = self.groups().iter().map(|group| read(&group.back)).collect::<Vec<_>>();
        let mut sums = HashMap::<TensorId, Tensor<f64>>::new();
        for (id, Tensor { values, exponent }) in backs.iter().flat_map(|back| &back.vectors) {
            sums.entry(*id).or_insert_with(|| Tensor::zeros(values.len())).add(values, *exponent);
        }
        tensors.extend(sums.into_iter().map(|(id, sum)| (id, narrow(&sum))));
        let input = rows(backs.iter().map(|back| &back.signal.dh));
        drop(backs);
        self.space.leave(self.bytes);
        Collected { tensors, preactivations, input }
    }
}

impl<F> Map<F> {
    fn new(owner: Owner, input: usize) -> Self {
        Self { owner, input, ready: AtomicUsize::new(0), found: Mutex::new(None) }
    }
}

/// Hands the deltas of a group on to the maps.
struct Deltas<'p, F> {
    maps: &'p [Map<F>],
    of_group: &'p [RwLock<Scaled<F>>],
    next: usize,
    vectors: &'p mut Vec<(TensorId, Tensor<f64>)>,
}

impl<F: Float> Collect<F> for Deltas<'_, F> {
    fn map(&mut self, owner: Owner, delta: &Scaled<F>, _: &Scaled<F>, _: Option<usize>) {
        let map = &self.maps[self.next];
        debug_assert_eq!(map.owner, owner);
        write(&self.of_group[self.next]).copy_from(delta);
        map.ready.fetch_add(1, Ordering::Release);
        self.next += 1;
    }

    fn vector(&mut self, owner: Owner, which: Which, values: &[f64], exponent: i64) {
        self.vectors.push((owner.tensor(which), Tensor { values: values.to_vec(), exponent }));
    }

    fn dh(&mut self, _: usize, _: &Scaled<F>) {}
}

/// Says so if it is dropped by a panic.
struct Breaks<'p>(&'p AtomicBool);

impl Drop for Breaks<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

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
