//! How much memory a pass takes, and how many layers are held at a time.

use super::{Placed, Plan};
use crate::kernel::attention::Heads;
use crate::kernel::{Matrix, Panels};
use crate::part::{LinearPlan, Part};
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
        let kept = |placed: &Placed| placed.part.kept_features::<F>(placed.features.0, placed.features.1);
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
        let input = 2 * Panels::<F>::bytes(self.columns, samples);
        // Outputs, their gradient, what it is made of, and its rows in f64.
        let output = 4 * self.output_bytes::<F>(samples) + (size_of::<f64>() * self.output() * samples) as u128;
        self.maps().map(scratch).max().unwrap_or(0) + input + sum + output
            // Both ways have buffers of their own.
            + 2 * self.attention_buffer_bytes::<F>()
    }

    /// Bytes of the buffers of attention of one way, forward or backward.
    pub fn attention_buffer_bytes<F: Float>(&self) -> u128 {
        self.heads().map(Heads::buffer_bytes::<F>).max().unwrap_or(0)
    }

    /// Bytes of all outputs at once, which those of every step make larger than any layer.
    pub fn output_bytes<F: Float>(&self, samples: usize) -> u128 {
        let (features, rows) = self.last_value(samples);
        Panels::<F>::bytes(features, rows)
    }

    /// The attention of each layer that has it.
    fn heads(&self) -> impl Iterator<Item = &Heads> {
        let parts = self.layers.iter().flat_map(|layer| &layer.parts);
        parts.filter_map(|placed| if let Part::Attend(attend) = &placed.part { Some(&attend.heads) } else { None })
    }

    /// Bytes of the weights of attention that one layer keeps of so many samples.
    pub fn attention_bytes<F: Float>(&self, samples: usize) -> u128 {
        let of_layer = |heads: &Heads| heads.weights::<F>(samples) as u128 * size_of::<F>() as u128;
        self.heads().map(of_layer).max().unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{RnnRequest, Spec, TransformerRequest};

    #[test]
    fn attention_takes_memory_by_the_square_of_the_tokens() {
        let of_tokens = |tokens: i128| {
            let asked = TransformerRequest { heads: 1, tokens, ..TransformerRequest::new(1, 4) };
            Plan::new(&Spec::of_blocks(&asked).unwrap()).pass_bytes::<f32>(1)
        };
        let pairs = 4096_u128 * 4096;
        // One weight of a pair is kept, and each way has logits twice and once in f64.
        let needed = pairs * (4 + 2 * (2 * 4 + 8));
        assert!(of_tokens(4096) > needed && of_tokens(4096) < needed + needed / 10);
        // Few tokens are padded to whole vectors.
        assert!(of_tokens(1) > 16 * 4);
    }

    #[test]
    fn outputs_of_every_step_are_counted_for_all_steps() {
        let asked = RnnRequest { out_features: Some(2000), ..RnnRequest::new(1000, 4) };
        let pass = |asked: &RnnRequest| Plan::new(&Spec::of_steps(asked).unwrap()).pass_bytes::<f32>(16);
        let output = 1000 * 2000 * 16;
        assert!(pass(&asked) < output);
        // Four batches of them in float32, and one in f64.
        let every = pass(&RnnRequest { outputs: "every".to_owned(), ..asked });
        assert!(every > 24 * output && every < 27 * output, "{every}");
    }

    #[test]
    fn open_streams_are_counted_before_a_deep_stack_is_planned() {
        for (layers, cell) in [(40, "tanh"), (40, "lstm"), (40, "gru")] {
            let asked = RnnRequest { layers, cell: cell.to_owned(), ..RnnRequest::new(5, 3) };
            let spec = Spec::of_steps(&asked).unwrap();
            let plan = Plan::new(&spec);
            let listed = plan.layers.iter().map(|layer| layer.live.capacity() * size_of::<usize>());
            assert!(listed.sum::<usize>() as u128 <= spec.stream_bytes(), "{layers} {cell}");
        }
    }
}
