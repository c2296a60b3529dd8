//! A spec turned into shapes, streams and memory: pure arithmetic that the passes follow.

use crate::activation::Activation;
use crate::init::Distribution;
use crate::kernel::{Matrix, Panels};
use crate::rng::{Role, Stream};
use crate::simd::Float;
use crate::spec::Spec;

/// One linear map: a hidden layer's or the readout's.
#[derive(Debug, Clone, Copy)]
pub struct Map {
    /// Columns of the weights.
    pub fan_in: usize,
    /// Rows of the weights.
    pub fan_out: usize,
    /// Distribution of the weights.
    pub weight: Distribution,
    /// Distribution of the biases.
    pub bias: Distribution,
    /// Hidden layer index of the streams.
    layer: usize,
    /// Roles of the streams.
    roles: (Role, Role),
}

impl Map {
    /// The streams of weights and biases for a seed.
    pub fn streams(&self, seed: u64) -> (Stream, Stream) {
        (Stream::new(seed, self.layer, self.roles.0), Stream::new(seed, self.layer, self.roles.1))
    }
}

/// A skip that ends at a layer: `h_l = h_from + scale * a_l`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Skip {
    /// Index of the block's input among the layer inputs (0 is the net's input).
    pub from: usize,
    /// Factor of the branch.
    pub scale: f64,
}

/// What the passes need to know of a net.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Columns of the input.
    pub in_features: usize,
    /// Hidden layers, input side first.
    pub hidden: Vec<Map>,
    /// Their activations.
    pub activations: Vec<Activation>,
    /// The skip that ends at each layer, if any.
    pub skips: Vec<Option<Skip>>,
    /// Does a skip begin at the input of each layer?
    pub opens_skip: Vec<bool>,
    /// Layers that a skip spans.
    block: usize,
    /// The readout, if any.
    pub readout: Option<Map>,
    /// Is every bias drawn as zero?
    pub unbiased: bool,
    /// Is `phi(0) = 0` for all activations? Without biases the forward pass then carries an exponent.
    pub through_zero: bool,
}

impl Plan {
    /// The plan of a spec.
    pub fn new(spec: &Spec) -> Self {
        let map = |layer: Option<usize>, roles| {
            let place = spec.place(layer);
            Map {
                fan_in: place.fan_in,
                fan_out: place.fan_out,
                weight: spec.init.weight(&place),
                bias: spec.init.bias(spec.bias.as_ref(), &place),
                layer: layer.unwrap_or(0),
                roles,
            }
        };
        let hidden = (0..spec.depth).map(|layer| map(Some(layer), (Role::Weight, Role::Bias))).collect::<Vec<_>>();
        let activations = (0..spec.depth).map(|layer| *spec.activation.at(layer)).collect::<Vec<_>>();
        let skips = (0..spec.depth).map(|layer| {
            let residual = spec.residual.filter(|r| (layer + 1) % r.block == 0)?;
            let from = layer + 1 - residual.block;
            (spec.fan_in(from) == hidden[layer].fan_out).then_some(Skip { from, scale: residual.branch_scale })
        });
        let skips = skips.collect::<Vec<Option<Skip>>>();
        let mut opens_skip = vec![false; spec.depth];
        skips.iter().flatten().for_each(|skip| opens_skip[skip.from] = true);
        let readout = spec.out_features.map(|_| map(None, (Role::ReadoutWeight, Role::ReadoutBias)));
        Self {
            in_features: spec.in_features,
            skips,
            opens_skip,
            unbiased: hidden.iter().chain(&readout).all(|map| map.bias.is_zero()),
            through_zero: activations.iter().all(|activation| activation.at_zero().is_some()),
            block: spec.residual.map_or(1, |residual| residual.block),
            readout,
            hidden,
            activations,
        }
    }

    /// Hidden layers.
    pub fn depth(&self) -> usize {
        self.hidden.len()
    }

    /// Every linear map, the readout last.
    pub fn maps(&self) -> impl Iterator<Item = &Map> {
        self.hidden.iter().chain(&self.readout)
    }

    /// Names of the maps in a state dict: `layers.0`, ..., `readout`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let hidden = (0..self.depth()).map(|layer| format!("layers.{layer}"));
        hidden.chain(self.readout.map(|_| "readout".to_owned()))
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        self.maps().last().map_or(self.in_features, |map| map.fan_out)
    }

    /// Entries of the weights.
    pub fn weight_entries(&self) -> usize {
        self.maps().map(|map| map.fan_out * map.fan_in).sum()
    }

    /// Bytes of the weights.
    pub fn weight_bytes<F: Float>(&self) -> u128 {
        self.maps().map(|map| Matrix::<F>::bytes(map.fan_out, map.fan_in + 1)).sum()
    }

    /// Bytes of a forward and backward pass: layer inputs and slopes are kept, the rest is a few of the largest.
    pub fn pass_bytes<F: Float>(&self, batch: usize) -> u128 {
        self.maps().map(|map| trace_bytes::<F>(map, batch)).sum::<u128>() + self.scratch_bytes::<F>(batch)
    }

    /// Bytes of what a pass keeps of no layer for another.
    fn scratch_bytes<F: Float>(&self, batch: usize) -> u128 {
        let scratch = |map: &Map| {
            let widest = map.fan_in.max(map.fan_out);
            let smaller = (2 * widest).min(batch) as u128;
            8 * Panels::<F>::bytes(widest, batch)
                + 2 * Matrix::<F>::bytes(map.fan_out, map.fan_in)
                + 2 * smaller * smaller * size_of::<F>() as u128
        };
        self.maps().map(scratch).max().unwrap_or(0) + Panels::<F>::bytes(self.in_features, batch)
    }

    /// How many layers a probe holds at a time: all, unless their weights and traces go beyond a budget. Then the
    /// inputs of every so many layers are kept, and the layers between are drawn and run again on the way back: the
    /// square root of the depth, so that the two take about the same (Chen et al. 2016, arXiv:1604.06174).
    pub fn segment<F: Float>(&self, batch: usize) -> usize {
        const BUDGET: u128 = 200 << 20;
        let depth = self.depth();
        let layer = |map: &Map| Matrix::<F>::bytes(map.fan_out, map.fan_in) + trace_bytes::<F>(map, batch);
        let all = self.hidden.iter().map(layer).sum::<u128>();
        if all <= BUDGET {
            return depth;
        }
        let checkpoints = self.hidden.iter().map(|map| Panels::<F>::bytes(map.fan_out, batch)).sum::<u128>();
        let best = (depth as f64 * checkpoints as f64 / all as f64).sqrt() as usize;
        // A block keeps its input for its end.
        best.max(1).next_multiple_of(self.block).min(depth)
    }

    /// Bytes of a run that holds `segment` layers at a time.
    pub fn run_bytes<F: Float>(&self, batch: usize, segment: usize) -> u128 {
        let layer = |map: &Map| Matrix::<F>::bytes(map.fan_out, map.fan_in + 1) + trace_bytes::<F>(map, batch);
        let largest = self.maps().map(layer).max().unwrap_or(0);
        let all = self.weight_bytes::<F>() + self.pass_bytes::<F>(batch) - self.scratch_bytes::<F>(batch);
        let checkpoints = self.depth().div_ceil(segment) as u128 * self.widest_bytes::<F>(batch);
        all.min(segment as u128 * largest) + checkpoints + self.scratch_bytes::<F>(batch)
    }

    /// Bytes of the largest batch between two maps.
    pub fn widest_bytes<F: Float>(&self, batch: usize) -> u128 {
        let widest = self.maps().map(|map| map.fan_in.max(map.fan_out)).max().unwrap_or(0);
        Panels::<F>::bytes(widest, batch)
    }
}

/// Bytes of a layer's output and slopes.
fn trace_bytes<F: Float>(map: &Map, batch: usize) -> u128 {
    2 * Panels::<F>::bytes(map.fan_out, batch)
}
