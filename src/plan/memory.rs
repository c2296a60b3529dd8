//! How much memory a pass takes, and how many layers are held at a time.

use super::{Placed, Plan};
use crate::kernel::{Matrix, Panels};
use crate::part::LinearPlan;
use crate::simd::Float;

/// Bytes of a layer on a pass beside its numbers: how they are laid out, and what allocators add to some blocks.
const BESIDE: u128 = 600;

impl Plan {
    /// Bytes of the weights.
    pub fn weight_bytes<F: Float>(&self) -> u128 {
        self.maps().map(LinearPlan::bytes::<F>).sum()
    }

    /// Bytes of a forward and backward pass: layer inputs and slopes are kept, the rest is a few of the largest.
    pub fn pass_bytes<F: Float>(&self, batch: usize) -> u128 {
        let kept = (0..self.depth()).map(|layer| self.trace_bytes::<F>(layer, batch)).sum::<u128>();
        kept + self.scratch_bytes::<F>(batch)
    }

    /// Bytes of a layer's values and of what its way back needs.
    fn trace_bytes<F: Float>(&self, layer: usize, batch: usize) -> u128 {
        let values = (self.layers[layer].input + 1..=self.layers[layer].output).map(|value| self.values[value]);
        let kept = |placed: &Placed| placed.part.kept_features(placed.features.0, placed.features.1);
        let kept = self.layers[layer].parts.iter().map(kept).sum::<usize>();
        BESIDE + Panels::<F>::bytes(values.sum::<usize>() + kept + self.fed.unwrap_or(0), batch * self.tokens)
    }

    /// Bytes of what a pass keeps of no layer for another.
    fn scratch_bytes<F: Float>(&self, samples: usize) -> u128 {
        let batch = samples * self.tokens;
        let scratch = |map: &LinearPlan| {
            let widest = map.fan_in.max(map.fan_out);
            let smaller = (2 * widest).min(batch) as u128;
            8 * Panels::<F>::bytes(widest, batch)
                + 2 * Matrix::<F>::bytes(map.fan_out, map.fan_in)
                + 2 * smaller * smaller * size_of::<F>() as u128
        };
        // The sum over the steps of a tied net is in f64.
        let sum = if self.tied() { 16 * self.weight_entries() as u128 } else { 0 };
        // Samples are drawn in rows, then put into panels.
        self.maps().map(scratch).max().unwrap_or(0) + 2 * Panels::<F>::bytes(self.columns, samples) + sum
    }

    /// How many layers a probe holds at a time: all, unless their weights and traces go beyond a budget. Then what
    /// lives at every so many layers is kept, and the layers between are drawn and run again on the way back: the
    /// square root of the depth, so that the two take about the same (Chen et al. 2016, arXiv:1604.06174).
    pub fn segment<F: Float>(&self, batch: usize) -> usize {
        const BUDGET: u128 = 200 << 20;
        let depth = self.depth();
        let weights = if self.tied() { 0 } else { self.weight_bytes::<F>() };
        let all = weights + (0..depth).map(|layer| self.trace_bytes::<F>(layer, batch)).sum::<u128>();
        // A readout of every step needs all of them at once.
        if all <= BUDGET || self.reads_every_step() {
            return depth;
        }
        let checkpoints = (0..depth).map(|layer| self.checkpoint_bytes::<F>(layer, batch)).sum::<u128>();
        let best = (depth as f64 * checkpoints as f64 / all as f64).sqrt() as usize;
        best.clamp(1, depth)
    }

    /// Bytes of all that lives at the beginning of a layer.
    fn checkpoint_bytes<F: Float>(&self, layer: usize, batch: usize) -> u128 {
        let layer = &self.layers[layer];
        let values = layer.live.iter().chain([&layer.input]);
        values.map(|&value| Panels::<F>::bytes(self.values[value], batch * self.tokens)).sum()
    }

    /// Bytes of a run that holds `segment` layers at a time.
    pub fn run_bytes<F: Float>(&self, batch: usize, segment: usize) -> u128 {
        let weights = |layer: usize| {
            let maps = self.slots[self.layers[layer].slot].iter().filter_map(|parameters| parameters.as_linear());
            maps.map(LinearPlan::bytes::<F>).sum::<u128>()
        };
        let layers = (0..self.depth()).map(|layer| weights(layer) + self.trace_bytes::<F>(layer, batch));
        let largest = layers.max().unwrap_or(0);
        let all = self.weight_bytes::<F>() + self.pass_bytes::<F>(batch) - self.scratch_bytes::<F>(batch);
        let cuts = (0..self.depth()).step_by(segment);
        let checkpoints = cuts.map(|layer| self.checkpoint_bytes::<F>(layer, batch)).sum::<u128>();
        all.min(segment as u128 * largest) + checkpoints + self.scratch_bytes::<F>(batch)
    }

    /// Bytes of the largest batch between two maps.
    pub fn widest_bytes<F: Float>(&self, batch: usize) -> u128 {
        let widest = self.maps().map(|map| map.fan_in.max(map.fan_out)).max().unwrap_or(0);
        Panels::<F>::bytes(widest, batch * self.tokens)
    }
}
