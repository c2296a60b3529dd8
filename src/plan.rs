//! A spec turned into shapes, streams and memory: pure arithmetic that the passes follow.

use crate::activation::Shape;
use crate::error::{Error, Result};
use crate::init::{Distribution, Init, Place};
use crate::kernel::{Matrix, Panels};
use crate::norm::Norm;
use crate::rng::{Role, Stream};
use crate::simd::Float;
use crate::skip::{self, Order};
use crate::spec::{Layer, Spec};
use crate::transform::Transform;

/// One linear map: of a hidden layer, of a gate, of the inputs of a recurrent net, or the readout.
#[derive(Debug, Clone, Copy)]
pub struct Map {
    /// Columns of the weights.
    pub fan_in: usize,
    /// Rows of the weights.
    pub fan_out: usize,
    /// Distribution of the weights.
    pub weight: Distribution,
    /// A factor of what is drawn.
    pub factor: f64,
    /// Distribution of the biases; none where there are no biases.
    pub bias: Option<Distribution>,
    /// What the weights go through before they are used.
    pub transform: Option<Transform>,
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

/// How the input of a block joins what its layers make of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Join {
    /// `x + scale * F(x)`.
    Add(f64),
    /// `x + scale * alpha * F(x)`.
    Learned(f64),
    /// `(1 - T) * x + T * F(x)`.
    Gate,
    /// `x` and `F(x)` side by side.
    Concatenate,
}

/// A hidden layer.
#[derive(Debug, Clone, Copy)]
pub struct Hidden {
    /// Its shape and its activation.
    pub shape: Layer,
    /// The skip that ends here, if any.
    pub join: Option<Join>,
    /// Does a skip begin at its input?
    pub opens_skip: bool,
}

/// The parameters of a layer, or of all layers of a tied net.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// The linear map.
    pub map: Map,
    /// Features of the normalisation.
    pub normed: Option<usize>,
    /// What a learned slope of the activation starts from.
    pub slope: Option<f64>,
    /// What a learned factor of the branch starts from.
    pub alpha: Option<f64>,
    /// The map of the gate.
    pub gate: Option<Map>,
}

/// Which linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// Of a hidden layer.
    Hidden(usize),
    /// Of the gate of the block that ends at a layer.
    Gate(usize),
    /// Of the input of a step.
    Input(usize),
    /// The readout.
    Readout,
}

impl Which {
    /// The map whose parameters all steps of a tied net share.
    pub fn of_first_step(self) -> Self {
        match self {
            Self::Hidden(_) => Self::Hidden(0),
            Self::Gate(_) => Self::Gate(0),
            Self::Input(_) => Self::Input(0),
            Self::Readout => Self::Readout,
        }
    }
}

/// Which tensor of parameters, the layer a layer or a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// Weights of a map.
    Weight(Which),
    /// Biases of a map.
    Bias(Which),
    /// Factors of a normalisation.
    NormWeight(usize),
    /// Summands of a normalisation.
    NormBias(usize),
    /// A learned slope.
    Slope(usize),
    /// A learned factor of a branch.
    Alpha(usize),
}

impl Key {
    /// The tensor that all steps of a tied net share.
    pub fn of_first_step(self) -> Self {
        match self {
            Self::Weight(which) => Self::Weight(which.of_first_step()),
            Self::Bias(which) => Self::Bias(which.of_first_step()),
            Self::NormWeight(_) => Self::NormWeight(0),
            Self::NormBias(_) => Self::NormBias(0),
            Self::Slope(_) => Self::Slope(0),
            Self::Alpha(_) => Self::Alpha(0),
        }
    }
}

/// What the passes need to know of a net.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Columns of the samples: every step's input where each layer gets one.
    pub columns: usize,
    /// Features of the first layer's input.
    pub first_input: usize,
    /// Hidden layers, input side first.
    pub hidden: Vec<Hidden>,
    /// Their parameters; one for all in a tied net.
    pub parameters: Vec<Parameters>,
    /// The normalisation before the activation, if any.
    pub pre_norm: Option<Norm>,
    /// The one after it, if any.
    pub post_norm: Option<Norm>,
    /// Layers that a skip spans.
    block: usize,
    /// The map of every step's input, if any.
    pub feed: Option<Map>,
    /// The readout, if any.
    pub readout: Option<Map>,
    /// Is every bias drawn as zero?
    pub unbiased: bool,
    /// Without biases, does a signal of any size stay in proportion, or would if it were small enough for no activation
    /// to bend it? Then the forward pass carries an exponent.
    pub proportional: bool,
    /// Are weights scaled by what the data make of them?
    pub calibrates: bool,
}

impl Plan {
    /// The plan of a spec.
    pub fn new(spec: &Spec) -> Self {
        // A valid spec has layers.
        let layers = spec.layers().unwrap_or_default();
        let map = |layer: Option<usize>, place: Place<'_>, roles| {
            let init = spec.init_of(layer);
            Map {
                fan_in: place.fan_in,
                fan_out: place.fan_out,
                weight: init.weight(&place),
                factor: 1.0,
                bias: Some(init.bias(spec.bias.as_ref(), &place)),
                transform: None,
                layer: layer.unwrap_or(0),
                roles,
            }
        };
        let place = |layer| spec.place(&layers, layer);
        let joins = layers.iter().map(|layer| {
            layer.from?;
            let skip = spec.skip?;
            Some(match skip.join() {
                skip::Join::Add => Join::Add(spec.branch_scale),
                skip::Join::Learned => Join::Learned(spec.branch_scale),
                skip::Join::Gate => Join::Gate,
                skip::Join::Concatenate => Join::Concatenate,
            })
        });
        let joins = joins.collect::<Vec<_>>();
        let hidden = layers.iter().zip(&joins).map(|(&shape, &join)| Hidden { shape, join, opens_skip: false });
        let mut hidden = hidden.collect::<Vec<_>>();
        layers.iter().filter_map(|layer| layer.from).for_each(|from| hidden[from].opens_skip = true);
        let parameters = |(index, layer): (usize, &Layer)| {
            let hidden_map =
                Map { transform: spec.transform, ..map(Some(index), place(Some(index)), (Role::Weight, Role::Bias)) };
            let normed = match (layer.order, spec.post_norm) {
                (Order::Pre, false) => layer.input,
                (Order::Pre, true) => layer.fan_in,
                (_, false) => layer.width,
                (_, true) => layer.activation.outputs(layer.width),
            };
            // The layers of a tied net share one gate or factor, whichever of them has it.
            let join = if spec.tied { joins.iter().flatten().next().copied() } else { joins[index] };
            let of_gate = Place {
                fan_in: layers[layer.from.unwrap_or(index)].input,
                fan_out: layer.output,
                ..place(Some(index))
            };
            let gate = spec.skip.filter(|_| join == Some(Join::Gate)).map(|skip| Map {
                factor: skip.gate_gain(),
                bias: Some(Distribution::Constant(skip.gate_bias())),
                ..map(Some(index), of_gate, (Role::GateWeight, Role::GateBias))
            });
            Parameters {
                map: hidden_map,
                normed: spec.norm.map(|_| normed),
                slope: layer.activation.learned(),
                alpha: spec.skip.filter(|_| matches!(join, Some(Join::Learned(_)))).map(|skip| skip.alpha()),
                gate,
            }
        };
        let count = if spec.tied { 1 } else { spec.depth };
        let parameters = layers.iter().enumerate().take(count).map(parameters).collect::<Vec<_>>();
        let feed = spec.fed.then(|| Map {
            bias: None,
            ..map(Some(0), Place { fan_in: spec.in_features, ..place(Some(0)) }, (Role::InputWeight, Role::InputWeight))
        });
        let readout = spec.out_features.map(|_| map(None, place(None), (Role::ReadoutWeight, Role::ReadoutBias)));
        let biased = |map: &Map| map.bias.is_some_and(|bias| !bias.is_zero());
        Self {
            columns: spec.columns(),
            first_input: layers.first().map_or(0, |layer| layer.input),
            unbiased: !parameters.iter().map(|p| &p.map).chain(&readout).any(biased),
            proportional: spec.norm.is_none()
                && !spec.fed
                && !joins.contains(&Some(Join::Gate))
                && layers.iter().all(|layer| layer.activation.at_zero().is_some()),
            calibrates: spec.init.values().iter().any(Init::calibrates),
            pre_norm: spec.norm.filter(|_| !spec.post_norm),
            post_norm: spec.norm.filter(|_| spec.post_norm),
            block: if spec.skip.is_some() { spec.block } else { 1 },
            hidden,
            parameters,
            feed,
            readout,
        }
    }

    /// Refuse a batch that says nothing: one sample is its own mean.
    pub fn check_batch(&self, batch: usize) -> Result<()> {
        match self.norm().filter(|norm| norm.needs_samples() && batch < 2) {
            None => Ok(()),
            Some(norm) => Err(Error::Value(format!(
                "norm='{}' needs a batch of at least 2 samples, got {batch}: one sample is its own mean",
                norm.text()
            ))),
        }
    }

    /// The normalisation, if any.
    fn norm(&self) -> Option<Norm> {
        self.pre_norm.or(self.post_norm)
    }

    /// Do all layers share their parameters?
    pub fn tied(&self) -> bool {
        self.parameters.len() < self.hidden.len()
    }

    /// The parameters of a layer.
    pub fn slot(&self, layer: usize) -> usize {
        if self.tied() { 0 } else { layer }
    }

    /// A linear map.
    pub fn map(&self, which: Which) -> Option<&Map> {
        match which {
            Which::Hidden(layer) => Some(&self.parameters[self.slot(layer)].map),
            Which::Gate(layer) => self.parameters[self.slot(layer)].gate.as_ref(),
            Which::Input(_) => self.feed.as_ref(),
            Which::Readout => self.readout.as_ref(),
        }
    }

    /// Every tensor of parameters with its name in a state dict and its shape: input side first, the readout last.
    pub fn tensors(&self) -> Vec<(Key, String, Vec<usize>)> {
        let mut all = Vec::new();
        let map = |all: &mut Vec<_>, which: Which, name: String, map: &Map| {
            all.push((Key::Weight(which), format!("{name}.weight"), vec![map.fan_out, map.fan_in]));
            if map.bias.is_some() {
                all.push((Key::Bias(which), format!("{name}.bias"), vec![map.fan_out]));
            }
        };
        for (layer, parameters) in self.parameters.iter().enumerate() {
            map(&mut all, Which::Hidden(layer), format!("layers.{layer}"), &parameters.map);
            if let (Some(features), Some(norm)) = (parameters.normed, self.norm()) {
                all.push((Key::NormWeight(layer), format!("norms.{layer}.weight"), vec![features]));
                if norm.centres() {
                    all.push((Key::NormBias(layer), format!("norms.{layer}.bias"), vec![features]));
                }
            }
            if parameters.slope.is_some() {
                all.push((Key::Slope(layer), format!("activations.{layer}.weight"), vec![1]));
            }
            if parameters.alpha.is_some() {
                all.push((Key::Alpha(layer), format!("skips.{layer}.weight"), vec![1]));
            }
            if let Some(gate) = &parameters.gate {
                map(&mut all, Which::Gate(layer), format!("gates.{layer}"), gate);
            }
        }
        if let Some(feed) = &self.feed {
            map(&mut all, Which::Input(0), "inputs".to_owned(), feed);
        }
        if let Some(readout) = &self.readout {
            map(&mut all, Which::Readout, "readout".to_owned(), readout);
        }
        all
    }

    /// Hidden layers.
    pub fn depth(&self) -> usize {
        self.hidden.len()
    }

    /// Every linear map with parameters of its own, the readout last.
    pub fn maps(&self) -> impl Iterator<Item = &Map> {
        let hidden = self.parameters.iter().flat_map(|p| std::iter::once(&p.map).chain(&p.gate));
        hidden.chain(&self.feed).chain(&self.readout)
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        self.readout.map_or_else(|| self.hidden.last().map_or(0, |h| h.shape.output), |map| map.fan_out)
    }

    /// Entries of the weights.
    pub fn weight_entries(&self) -> usize {
        self.maps().map(|map| map.fan_out * map.fan_in).sum()
    }

    /// Bytes of the weights.
    pub fn weight_bytes<F: Float>(&self) -> u128 {
        self.maps().map(map_bytes::<F>).sum()
    }

    /// Bytes of a forward and backward pass: layer inputs and slopes are kept, the rest is a few of the largest.
    pub fn pass_bytes<F: Float>(&self, batch: usize) -> u128 {
        let kept = (0..self.depth()).map(|layer| self.trace_bytes::<F>(layer, batch)).sum::<u128>();
        kept + self.scratch_bytes::<F>(batch)
    }

    /// Bytes of a layer's output and of what its way back needs.
    fn trace_bytes<F: Float>(&self, layer: usize, batch: usize) -> u128 {
        let Hidden { shape, join, .. } = &self.hidden[layer];
        let parameters = &self.parameters[self.slot(layer)];
        let joined = match join {
            Some(Join::Gate) => 3 * shape.output,
            Some(Join::Learned(_)) => shape.output,
            _ => 0,
        };
        let slopes = match shape.activation.shape() {
            Shape::Each => shape.width,
            Shape::Gated | Shape::Doubled => 2 * shape.width,
        };
        let before = if shape.order == Order::Pre { shape.fan_in } else { 0 };
        let learned = if parameters.slope.is_some() { shape.width.max(shape.input) } else { 0 };
        let fed = self.feed.map_or(0, |map| map.fan_in);
        let features = shape.output + slopes + before + learned + joined + fed + parameters.normed.unwrap_or(0);
        Panels::<F>::bytes(features, batch)
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
        // The sum over the steps of a tied net is in f64.
        let sum = if self.tied() {
            16 * self.parameters[0].map.fan_in as u128 * self.parameters[0].map.fan_out as u128
        } else {
            0
        };
        // Samples are drawn in rows, then put into panels.
        self.maps().map(scratch).max().unwrap_or(0) + 2 * Panels::<F>::bytes(self.columns, batch) + sum
    }

    /// How many layers a probe holds at a time: all, unless their weights and traces go beyond a budget. Then the
    /// inputs of every so many layers are kept, and the layers between are drawn and run again on the way back: the
    /// square root of the depth, so that the two take about the same (Chen et al. 2016, arXiv:1604.06174).
    pub fn segment<F: Float>(&self, batch: usize) -> usize {
        const BUDGET: u128 = 200 << 20;
        let depth = self.depth();
        let weights = if self.tied() { 0 } else { self.weight_bytes::<F>() };
        let all = weights + (0..depth).map(|layer| self.trace_bytes::<F>(layer, batch)).sum::<u128>();
        if all <= BUDGET {
            return depth;
        }
        let checkpoints = self.hidden.iter().map(|h| Panels::<F>::bytes(h.shape.output, batch)).sum::<u128>();
        let best = (depth as f64 * checkpoints as f64 / all as f64).sqrt() as usize;
        // A block keeps its input for its end.
        best.max(1).next_multiple_of(self.block).min(depth)
    }

    /// Bytes of a run that holds `segment` layers at a time.
    pub fn run_bytes<F: Float>(&self, batch: usize, segment: usize) -> u128 {
        let weights = |layer: usize| {
            let Parameters { map, gate, .. } = &self.parameters[self.slot(layer)];
            map_bytes::<F>(map) + gate.as_ref().map_or(0, map_bytes::<F>)
        };
        let layers = (0..self.depth()).map(|layer| weights(layer) + self.trace_bytes::<F>(layer, batch));
        let largest = layers.max().unwrap_or(0);
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

/// Bytes of weights and biases, with those before a transform.
fn map_bytes<F: Float>(map: &Map) -> u128 {
    Matrix::<F>::bytes(map.fan_out, map.fan_in + 1) * if map.transform.is_some() { 2 } else { 1 }
}
