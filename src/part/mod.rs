//! A layer is a short list of parts, and a part is a file: what it learns, what it keeps for the way back, forward
//! beside backward, and what the plan asks of it. `README.md` says how parts, streams and exponents fit together.

mod activate;
mod join;
mod map;
mod normalise;

pub use activate::Activate;
pub use join::{Join, Keep};
pub use map::{Linear, LinearPlan, Map, UnitNormals};
pub use normalise::{Affine, Normalise};

use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::kernel::{Panels, Scaled};
use crate::norm::Norm;
use crate::simd::Float;

/// One part of a layer.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// `W x + b`.
    Map(Map),
    /// A normalisation with its weight and bias.
    Norm(Normalise),
    /// An activation.
    Phi(Activate),
    /// A stream that begins: what comes here also goes around the parts up to its join.
    Keep(Keep),
    /// A stream that ends: what went around meets what came through.
    Join(Join),
}

/// A layer: parts in their order, and the slot of parameters that they name. Layers that name one slot share it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// In the order of the forward pass.
    pub parts: Vec<Part>,
    /// Index of the slot.
    pub slot: usize,
}

/// A net as any kind of spec describes it: the one form that is planned and run.
#[derive(Debug, Clone)]
pub struct Net {
    /// Layers that count; the readout behind them, if there is one, does not.
    pub depth: usize,
    /// Columns of the samples: every step's input where each layer gets one.
    pub columns: usize,
    /// Columns of each step's input, where each layer gets one.
    pub fed: Option<usize>,
    /// Features of the first layer's input.
    pub input: usize,
    /// Has the net a residual stream, though its first blocks may not join one?
    pub streams: bool,
    /// Input side first, the readout last.
    pub layers: Vec<Layer>,
    /// What the layers learn, slot by slot, in the order of a state dict.
    pub slots: Vec<Vec<Parameters>>,
}

/// How a part goes about its input and its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The input must be kept, for the way back needs it again; the output is another batch.
    Apart,
    /// The input may be changed and is not needed again; the output is another batch.
    Takes,
    /// The output takes the place of the input.
    InPlace,
    /// The input is the output.
    Nothing,
}

/// What a part sees of a forward pass beside the batches that it works on.
pub(crate) struct Here<'h, F> {
    /// The numbers of the layer.
    pub numbers: &'h [Numbers<F>],
    /// The input, where that is a value.
    pub input: Option<&'h Scaled<F>>,
    /// What went around, for a join.
    pub around: Option<&'h Scaled<F>>,
    /// The input of the step, alone in the slice, in a net that is fed.
    pub step: &'h [Scaled<F>],
    /// May what goes out carry an exponent?
    pub carries: bool,
    /// The row of a probe.
    pub row: usize,
}

/// What a part sees of a backward pass beside the signal.
pub(crate) struct Back<'b, F> {
    /// The numbers of the layer.
    pub numbers: &'b [Numbers<F>],
    /// What the forward pass has left.
    pub kept: &'b Kept<F>,
    /// The value that was the input, or that went around, and its number.
    pub value: Option<(&'b Scaled<F>, usize)>,
    /// The input of the step, alone in the slice, in a net that is fed.
    pub step: &'b [Scaled<F>],
}

/// The answers of the parts, which the plan folds over a net, and their two ways.
impl Part {
    /// The name of the part.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Map(_) => "map",
            Self::Norm(_) => "norm",
            Self::Phi(_) => "activation",
            Self::Keep(_) => "keep",
            Self::Join(_) => "join",
        }
    }

    /// How the part goes about its input and its output.
    pub fn work(&self) -> Work {
        match self {
            Self::Map(_) => Work::Apart,
            Self::Phi(_) => Work::Takes,
            Self::Norm(_) | Self::Join(_) => Work::InPlace,
            Self::Keep(_) => Work::Nothing,
        }
    }

    /// Does the part, behind an activation, make its output the activations of the layer?
    pub fn adjusts(&self) -> bool {
        matches!(self, Self::Norm(_))
    }

    /// Does a part without biases pass a small signal in proportion, whatever its size? Then signals may carry an
    /// exponent.
    pub fn proportional(&self) -> bool {
        match self {
            Self::Map(map) => map.fed.is_none(),
            Self::Norm(_) => false,
            Self::Phi(phi) => phi.activation.at_zero().is_some(),
            Self::Keep(_) => true,
            Self::Join(join) => join.proportional(),
        }
    }

    /// The normalisation over the samples of a batch, if this part is one.
    pub fn needs_samples(&self) -> Option<&Norm> {
        match self {
            Self::Norm(part) => Some(&part.norm).filter(|norm| norm.needs_samples()),
            _ => None,
        }
    }

    /// The linear map of a value, if the part has one: its place among the parameters of the layer's slot.
    pub fn linear(&self) -> Option<usize> {
        match self {
            Self::Map(map) => Some(map.own),
            Self::Join(join) => join.linear(),
            _ => None,
        }
    }

    /// Features that go out, of those that come in and those that went around.
    pub fn features(&self, slot: &[Parameters], input: usize, around: usize) -> usize {
        match self {
            Self::Map(map) => slot[map.own].linear().fan_out,
            Self::Phi(phi) => phi.activation.outputs(input),
            Self::Join(join) => join.features(input, around),
            _ => input,
        }
    }

    /// Features of all that is kept for the way back, of those that come in and go out. The input of a map is kept by
    /// whoever made it.
    pub fn kept_features(&self, input: usize, output: usize) -> usize {
        match self {
            Self::Map(_) | Self::Keep(_) => 0,
            Self::Norm(_) => input,
            Self::Phi(phi) => phi.kept_features(input),
            Self::Join(join) => join.kept_features(output),
        }
    }

    /// The way forward. `taken` is the input of a part that takes it; a part that works in place finds it in `output`.
    /// False where the part itself sees a value that is not finite.
    pub(crate) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        taken: &mut Scaled<F>,
        output: &mut Scaled<F>,
        kept: &mut Kept<F>,
        scratch: &mut Scratch<F>,
        watch: &mut impl Watch<F>,
    ) -> bool {
        match (self, here.input, here.around) {
            (Self::Map(map), Some(x), _) => map.forward(here, x, output, &mut scratch.spare),
            (Self::Norm(norm), ..) => norm.forward(here.numbers, &mut output.panels, kept, &mut scratch.sums),
            (Self::Phi(phi), ..) => phi.forward(here, taken, output, kept, &mut scratch.halves, watch),
            (Self::Join(join), _, Some(x)) => return join.forward(here, x, output, kept, &mut scratch.spare),
            (Self::Keep(_), ..) => (),
            (Self::Map(_), None, _) | (Self::Join(_), _, None) => unreachable!("the plan gives {self:?} a value"),
        }
        true
    }

    /// The way back: from the gradient of what the part gave, in `signal.dh`, to that of what it got.
    pub(crate) fn backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        signal: &mut Signal<F>,
        owner: impl Fn(usize) -> Owner,
        collect: &mut impl Collect<F>,
    ) {
        match (self, back.value) {
            (Self::Map(map), Some(x)) => map.backward(back, x, signal, owner, collect),
            (Self::Norm(norm), _) => norm.backward(back, signal, owner(norm.affine), collect),
            (Self::Phi(phi), _) => phi.backward(back, signal, owner, collect),
            (Self::Join(join), Some(x)) => join.backward(back, x, signal, owner, collect),
            (Self::Keep(keep), _) => keep.backward(signal),
            (Self::Map(_) | Self::Join(_), None) => unreachable!("the plan gives {self:?} a value"),
        }
    }
}

/// The module of a state dict that parameters belong to; in the order of a state dict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Module {
    /// The linear map of a hidden layer.
    Layers,
    /// Weight and bias of a normalisation.
    Norms,
    /// The learned slope of an activation.
    Activations,
    /// The learned factor of a branch.
    Skips,
    /// The map of a gate.
    Gates,
    /// The map of every step's input, one for the whole net.
    Inputs,
    /// The map of the readout.
    Readout,
}

impl Module {
    /// The name in a state dict of what a slot of parameters has of this module.
    pub fn name(self, slot: usize) -> String {
        match self {
            Self::Layers => format!("layers.{slot}"),
            Self::Norms => format!("norms.{slot}"),
            Self::Activations => format!("activations.{slot}"),
            Self::Skips => format!("skips.{slot}"),
            Self::Gates => format!("gates.{slot}"),
            Self::Inputs => "inputs".to_owned(),
            Self::Readout => "readout".to_owned(),
        }
    }
}

/// Parameters as the plan knows them.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// Where they stand in a state dict.
    pub module: Module,
    /// What they are.
    pub shape: Shape,
}

/// What parameters are, and what they start from.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Weights and biases of a linear map.
    Linear(LinearPlan),
    /// A factor for each of so many features, and a summand too if told so.
    Affine(usize, bool),
    /// One number, which starts from this value.
    Scalar(f64),
}

/// Which tensor of some parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// Factors.
    Weight,
    /// Summands.
    Bias,
}

impl Which {
    /// The last word of a tensor's name in a state dict.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

impl Parameters {
    /// A linear map of a module.
    pub fn linear_of(module: Module, plan: LinearPlan) -> Self {
        Self { module, shape: Shape::Linear(plan) }
    }

    /// Weight and, where the mean is taken away, bias of a normalisation.
    pub fn affine(features: usize, centres: bool) -> Self {
        Self { module: Module::Norms, shape: Shape::Affine(features, centres) }
    }

    /// One number of a module.
    pub fn scalar(module: Module, start: f64) -> Self {
        Self { module, shape: Shape::Scalar(start) }
    }

    /// The linear map that these are.
    pub fn linear(&self) -> &LinearPlan {
        match &self.shape {
            Shape::Linear(plan) => plan,
            shape => unreachable!("a map was planned, not {shape:?}"),
        }
    }

    /// The linear map, if these are one.
    pub fn as_linear(&self) -> Option<&LinearPlan> {
        match &self.shape {
            Shape::Linear(plan) => Some(plan),
            _ => None,
        }
    }

    /// The tensors and their shapes, in the order of a state dict.
    pub fn tensors(&self) -> Vec<(Which, Vec<usize>)> {
        let (weight, bias) = match &self.shape {
            Shape::Linear(plan) => (vec![plan.fan_out, plan.fan_in], plan.bias.map(|_| vec![plan.fan_out])),
            Shape::Affine(features, centres) => (vec![*features], centres.then(|| vec![*features])),
            Shape::Scalar(_) => (vec![1], None),
        };
        [(Which::Weight, weight)].into_iter().chain(bias.map(|shape| (Which::Bias, shape))).collect()
    }
}

/// The numbers of some parameters.
#[derive(Debug, Clone)]
pub enum Numbers<F> {
    /// Weights and biases.
    Linear(Linear<F>),
    /// Factors and summands.
    Affine(Affine<F>),
    /// One number; in `f64`, as it multiplies whole batches.
    Scalar(f64),
}

impl<F> Default for Numbers<F> {
    fn default() -> Self {
        Self::Scalar(0.0)
    }
}

impl<F: Float> Numbers<F> {
    /// Draw for a seed, keeping the allocations.
    pub fn draw(&mut self, plan: &Parameters, seed: u64, units: &mut UnitNormals<F>, cancel: &Cancel) -> Result<()> {
        match &plan.shape {
            Shape::Linear(plan) => {
                if !matches!(self, Self::Linear(_)) {
                    *self = Self::Linear(Linear::default());
                }
                self.linear_mut().draw(plan, seed, units, cancel)?;
            }
            Shape::Affine(..) => *self = Self::Affine(Affine::default()),
            Shape::Scalar(start) => *self = Self::Scalar(*start),
        }
        Ok(())
    }

    /// Take given numbers of one tensor, in C order.
    pub fn set(&mut self, plan: &Parameters, which: Which, values: Vec<F>, cancel: &Cancel) -> Result<()> {
        match (&plan.shape, which) {
            (Shape::Linear(plan), _) => {
                if !matches!(self, Self::Linear(_)) {
                    *self = Self::Linear(Linear::default());
                }
                self.linear_mut().set(plan, which, values, cancel)?;
            }
            (Shape::Affine(..), _) => {
                if !matches!(self, Self::Affine(_)) {
                    *self = Self::Affine(Affine::default());
                }
                let Self::Affine(affine) = self else { return Ok(()) };
                match which {
                    Which::Weight => affine.weight = values,
                    Which::Bias => affine.bias = values,
                }
            }
            (Shape::Scalar(_), _) => *self = Self::Scalar(values[0].wide()),
        }
        Ok(())
    }

    /// The numbers of one tensor as a caller knows them, in C order.
    pub fn get(&self, plan: &Parameters, which: Which) -> Vec<F> {
        match (self, which) {
            (Self::Linear(linear), Which::Weight) => linear.parameters(),
            (Self::Linear(linear), Which::Bias) => linear.bias.clone(),
            (Self::Affine(affine), which) => affine.parameters(plan, which),
            (Self::Scalar(value), _) => vec![F::of(*value)],
        }
    }

    /// The linear map that these are.
    pub fn linear(&self) -> &Linear<F> {
        match self {
            Self::Linear(linear) => linear,
            _ => unreachable!("the plan gave this part a map"),
        }
    }

    /// The linear map that these are, to be changed.
    pub fn linear_mut(&mut self) -> &mut Linear<F> {
        match self {
            Self::Linear(linear) => linear,
            _ => unreachable!("the plan gave this part a map"),
        }
    }

    /// The factors and summands that these are.
    pub fn affine(&self) -> &Affine<F> {
        match self {
            Self::Affine(affine) => affine,
            _ => unreachable!("the plan gave this part a weight and a bias"),
        }
    }

    /// The one number that these are.
    pub fn scalar(&self) -> f64 {
        match self {
            Self::Scalar(value) => *value,
            _ => unreachable!("the plan gave this part one number"),
        }
    }
}

/// What the forward pass leaves of a part for the backward pass.
#[derive(Debug, Clone, Default)]
pub enum Kept<F> {
    /// Nothing, or nothing yet.
    #[default]
    Nothing,
    /// Of an activation.
    Phi(activate::Kept<F>),
    /// Of a normalisation.
    Norm(normalise::Kept<F>),
    /// Of a join.
    Join(join::Kept<F>),
}

/// Parameters whose gradient is found, and where: a tied net has several layers with one slot of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The 0-based layer; the depth of the net for the readout.
    pub layer: usize,
    /// The row of a probe that the part belongs to.
    pub row: usize,
    /// The slot of parameters.
    pub slot: usize,
    /// Which parameters of the slot.
    pub index: usize,
    /// The module that they belong to.
    pub module: Module,
}

/// A tensor of parameters, one for all layers that share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorId {
    /// The slot of parameters.
    pub slot: usize,
    /// Which parameters of the slot.
    pub index: usize,
    /// Which of their tensors.
    pub which: Which,
}

impl Owner {
    /// A tensor of these parameters.
    pub fn tensor(&self, which: Which) -> TensorId {
        TensorId { slot: self.slot, index: self.index, which }
    }
}

/// Sees every layer as it is computed. `z` and `a` say whether their values are finite.
pub trait Watch<F: Float> {
    /// The pre-activations `z` of a row.
    fn z(&mut self, row: usize, z: &Scaled<F>) -> bool;
    /// The activation of a row, with the slope that it has learned: what it got, what it gave, and its slopes
    /// `phi'(z)`.
    fn phi(&mut self, row: usize, activation: &Activation, z: &Scaled<F>, a: &Scaled<F>, slopes: &Panels<F>);
    /// The activations `a` of a row.
    fn a(&mut self, row: usize, a: &Scaled<F>) -> bool;
    /// The residual stream behind a layer.
    fn h(&mut self, row: usize, h: &Scaled<F>);
}

/// Sees nothing but whether values are finite.
impl<F: Float> Watch<F> for () {
    fn z(&mut self, _: usize, z: &Scaled<F>) -> bool {
        z.panels.largest().is_finite()
    }
    fn phi(&mut self, _: usize, _: &Activation, _: &Scaled<F>, _: &Scaled<F>, _: &Panels<F>) {}
    fn a(&mut self, _: usize, a: &Scaled<F>) -> bool {
        a.panels.largest().is_finite()
    }
    fn h(&mut self, _: usize, _: &Scaled<F>) {}
}

/// Receives what the backward pass computes.
pub trait Collect<F> {
    /// The gradient at the output of a linear map (`dL/dz`, if it is a layer's own), and the map's input: together its
    /// weight and bias gradients. `value` names the input among the values of the net, if it is one.
    fn map(&mut self, owner: Owner, delta: &Scaled<F>, input: &Scaled<F>, value: Option<usize>);

    /// The gradient of a vector or of one number, times `2^exponent`.
    fn vector(&mut self, owner: Owner, which: Which, values: &[f64], exponent: i64);

    /// The whole gradient of the residual stream behind a layer.
    fn dh(&mut self, row: usize, dh: &Scaled<F>);
}

/// Receives nothing.
impl<F> Collect<F> for () {
    fn map(&mut self, _: Owner, _: &Scaled<F>, _: &Scaled<F>, _: Option<usize>) {}
    fn vector(&mut self, _: Owner, _: Which, _: &[f64], _: i64) {}
    fn dh(&mut self, _: usize, _: &Scaled<F>) {}
}

/// Buffers of the forward pass that no layer leaves for another.
#[derive(Debug, Clone)]
pub struct Scratch<F> {
    spare: Scaled<F>,
    halves: [Panels<F>; 4],
    sums: normalise::Sums,
}

impl<F> Default for Scratch<F> {
    fn default() -> Self {
        Self {
            spare: Scaled::default(),
            halves: std::array::from_fn(|_| Panels::default()),
            sums: normalise::Sums::default(),
        }
    }
}

/// Buffers of the backward pass. Reused from run to run.
#[derive(Debug, Clone)]
pub struct Signal<F> {
    /// The gradient of what the part at hand gave, then of what it got; `dL/dx` after the pass.
    pub dh: Scaled<F>,
    /// The gradients of the streams that go around parts.
    streams: Vec<Stream<F>>,
    delta: Scaled<F>,
    spare: Scaled<F>,
    half: Panels<F>,
    sums: normalise::Sums,
}

/// The gradient of a stream.
#[derive(Debug, Clone)]
struct Stream<F> {
    gradient: Scaled<F>,
    /// Has a gradient come yet? The first one sets, the others add.
    reached: bool,
}

impl<F> Default for Stream<F> {
    fn default() -> Self {
        Self { gradient: Scaled::default(), reached: false }
    }
}

impl<F> Default for Signal<F> {
    fn default() -> Self {
        Self {
            dh: Scaled::default(),
            streams: Vec::new(),
            delta: Scaled::default(),
            spare: Scaled::default(),
            half: Panels::default(),
            sums: normalise::Sums::default(),
        }
    }
}

impl<F: Float> Signal<F> {
    /// Begin a backward pass from `dL/dy`, true values in C order.
    pub fn begin(&mut self, features: usize, batch: usize, cotangent: &[f64]) {
        self.dh.fill(features, batch, cotangent);
        self.streams.iter_mut().for_each(|stream| stream.reached = false);
    }

    /// A gradient reaches a stream: the values of `gradient`, which is left with others.
    fn reach(streams: &mut Vec<Stream<F>>, stream: usize, gradient: &mut Scaled<F>) {
        streams.resize_with(streams.len().max(stream + 1), Stream::default);
        let stream = &mut streams[stream];
        if stream.reached {
            stream.gradient.scale_and_add(1.0, gradient);
        } else {
            std::mem::swap(&mut stream.gradient, gradient);
            stream.reached = true;
        }
    }
}
