//! The numbers of a net: drawn from its streams, or given.

use crate::error::{Cancel, Result};
use crate::part::{Linear, LinearPlan, Numbers, Owner, Parameters, UnitNormals, Which};
use crate::plan::{Plan, Tensor};
use crate::simd::Float;
use crate::threads::share;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The numbers of a net, or of some layers of a deep one that follow each other, slot by slot.
#[derive(Debug, Clone)]
pub struct Weights<F> {
    slots: Vec<Vec<Numbers<F>>>,
    /// Index of the first of these slots.
    first: usize,
    /// The numbers of the readout. They stand apart: nets of several depths share the others.
    readout: Vec<Numbers<F>>,
    /// Is every bias of the net zero?
    pub unbiased: bool,
}

impl<F> Default for Weights<F> {
    fn default() -> Self {
        Self { slots: Vec::new(), first: 0, readout: Vec::new(), unbiased: true }
    }
}

/// Draw the numbers of a slot.
fn draw_slot<F: Float>(
    numbers: &mut Vec<Numbers<F>>,
    plan: &[Parameters],
    seed: u64,
    units: &mut UnitNormals<F>,
    cancel: &Cancel,
) -> Result<()> {
    cancel.check()?;
    numbers.resize_with(plan.len(), Numbers::default);
    numbers.iter_mut().zip(plan).try_for_each(|(numbers, plan)| numbers.draw(plan, seed, units, cancel))
}

impl<F: Float> Weights<F> {
    /// Make room for some layers of a net, keeping the allocations. Gives their slots.
    pub fn begin(&mut self, plan: &Plan, layers: &Range<usize>) -> Range<usize> {
        let which = slots(plan, layers);
        self.first = which.start;
        self.unbiased = plan.unbiased;
        self.slots.resize_with(which.len().max(self.slots.len()), Vec::new);
        which
    }

    /// Draw one of the layers that there is room for. Layers that share their numbers are drawn with the first.
    pub fn draw(
        &mut self,
        plan: &Plan,
        layer: usize,
        seed: u64,
        units: &mut UnitNormals<F>,
        cancel: &Cancel,
    ) -> Result<()> {
        let slot = plan.layers[layer].slot;
        if layer != slot {
            return Ok(());
        }
        draw_slot(&mut self.slots[slot - self.first], &plan.slots[slot], seed, units, cancel)
    }

    /// Draw some layers of a net for a seed, shared out to some threads.
    pub fn draw_on(
        &mut self,
        threads: usize,
        plan: &Plan,
        layers: Range<usize>,
        seed: u64,
        cancel: &Cancel,
    ) -> Result<()> {
        /// Entries that take longer to draw than a thread to start.
        const WORTH_A_THREAD: usize = 300_000;
        let maps = plan.slots[slots(plan, &layers)].iter().flatten().filter_map(Parameters::as_linear);
        let entries = maps.map(LinearPlan::entries).sum::<usize>();
        let threads = if entries < WORTH_A_THREAD { 1 } else { threads };
        let each = Mutex::new(self.reshape(plan, layers));
        let failure = Mutex::new(None);
        let work = || {
            let next = || each.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((numbers, plan)) = next() {
                if let Err(error) = draw_slot(numbers, plan, seed, &mut UnitNormals::with_room(0), cancel) {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            }
        };
        share(threads, work, work);
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Draw the readout of a net, if it has one.
    pub fn draw_readout(&mut self, plan: &Plan, seed: u64, units: &mut UnitNormals<F>, cancel: &Cancel) -> Result<()> {
        let Some(layer) = plan.layers.get(plan.depth()) else { return Ok(()) };
        draw_slot(&mut self.readout, &plan.slots[layer.slot], seed, units, cancel)
    }

    /// Take the shape of some layers of a net; gives the slots side by side with what they are to be.
    fn reshape<'w, 'p>(
        &'w mut self,
        plan: &'p Plan,
        layers: Range<usize>,
    ) -> impl Iterator<Item = (&'w mut Vec<Numbers<F>>, &'p [Parameters])> {
        let which = self.begin(plan, &layers);
        self.slots.iter_mut().zip(plan.slots[which].iter().map(Vec::as_slice))
    }

    /// A whole net's numbers for a seed.
    pub fn drawn(plan: &Plan, seed: u64, threads: usize, cancel: &Cancel) -> Result<Self> {
        let mut weights = Self::default();
        weights.draw_on(threads, plan, 0..plan.depth(), seed, cancel)?;
        weights.draw_readout(plan, seed, &mut UnitNormals::with_room(0), cancel)?;
        Ok(weights)
    }

    /// Take given numbers: every tensor of the plan in C order, in its order and of its shape.
    pub fn given(plan: &Plan, tensors: Vec<Vec<F>>, cancel: &Cancel) -> Result<Self> {
        let mut weights = Self::default();
        let mut slots = plan.slots.iter().map(|slot| vec![Numbers::default(); slot.len()]).collect::<Vec<_>>();
        for ((id, _, _), values) in plan.tensors().into_iter().zip(tensors) {
            cancel.check()?;
            weights.unbiased &= id.which == Which::Weight || values.iter().all(|b| *b == F::ZERO);
            slots[id.slot][id.index].set(&plan.slots[id.slot][id.index], id.which, values, cancel)?;
        }
        if plan.has_readout() {
            weights.readout = slots.pop().unwrap_or_default();
        }
        Ok(Self { slots, ..weights })
    }

    /// Every tensor of the plan, in its order.
    pub fn tensors(&self, plan: &Plan, cancel: &Cancel) -> Result<Vec<Vec<F>>> {
        let tensor = |(id, _, _): Tensor| {
            cancel.check()?;
            Ok(self.slot(plan, id.slot)[id.index].get(&plan.slots[id.slot][id.index], id.which))
        };
        plan.tensors().into_iter().map(tensor).collect()
    }

    /// The numbers of a slot of a whole net, to be changed.
    pub fn slot_mut(&mut self, plan: &Plan, slot: usize) -> &mut [Numbers<F>] {
        if slot < hidden_slots(plan) { &mut self.slots[slot] } else { &mut self.readout }
    }

    /// The numbers of a slot of a whole net.
    pub fn slot(&self, plan: &Plan, slot: usize) -> &[Numbers<F>] {
        if slot < hidden_slots(plan) { &self.slots[slot] } else { &self.readout }
    }

    /// Multiply the weights of a layer's map.
    pub fn scale(&mut self, plan: &Plan, layer: usize, index: usize, factor: f64) {
        self.layer_mut(plan, layer)[index].linear_mut().weight.scale(F::of(factor));
    }

    /// The numbers of a layer, the readout's for the depth.
    pub fn layer(&self, plan: &Plan, layer: usize) -> &[Numbers<F>] {
        if layer == plan.depth() { &self.readout } else { &self.slots[plan.layers[layer].slot - self.first] }
    }

    fn layer_mut(&mut self, plan: &Plan, layer: usize) -> &mut [Numbers<F>] {
        if layer == plan.depth() { &mut self.readout } else { &mut self.slots[plan.layers[layer].slot - self.first] }
    }

    /// The linear map that owns a gradient.
    pub fn linear(&self, plan: &Plan, owner: Owner) -> &Linear<F> {
        self.layer(plan, owner.layer)[owner.index].linear()
    }
}

/// Slots of the layers that count.
fn hidden_slots(plan: &Plan) -> usize {
    plan.slots.len() - usize::from(plan.has_readout())
}

/// The slots of some layers.
fn slots(plan: &Plan, layers: &Range<usize>) -> Range<usize> {
    if plan.tied() { 0..hidden_slots(plan) } else { layers.clone() }
}
