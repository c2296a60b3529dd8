//! A layer is a short list of parts, and a part is a file: what it learns, what it keeps for the way back, forward
//! beside backward, and what the plan asks of it. `README.md` says how parts, streams and exponents fit together.

mod activate;
mod attend;
mod cell;
mod drop;
mod join;
mod map;
mod normalise;
mod parameters;
mod pool;
mod signal;
mod steps;

pub use activate::Activate;
pub(crate) use attend::TOKENS;
pub use attend::{Attend, Heads, QKV};
pub use cell::Cell;
pub use drop::{Drop, Masks};
pub use join::{Join, Keep};
pub use map::{Blocks, Linear, LinearPlan, Map, UnitNormals};
pub use normalise::{Affine, Normalise};
pub use parameters::{Label, Numbers, Owner, Parameters, Shape, TensorId, Which};
pub use pool::{Pool, Pooling};
pub(crate) use signal::BY_BLOCK;
pub use signal::{Collect, Scratch, Signal, Watch};
pub use steps::{Cut, Steps};

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
    /// Dropout.
    Drop(Drop),
    /// The gates of a recurrent cell.
    Cell(Cell),
    /// An end of truncated backpropagation.
    Cut(Cut),
    /// The readout of every step.
    Steps(Steps),
    /// Attention among the tokens of a sample.
    Attend(Attend),
    /// The tokens of a sample become one.
    Pool(Pool),
}

/// A layer: parts in their order, and the slot of parameters that they name. Layers that name one slot share it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// In the order of the forward pass.
    pub parts: Vec<Part>,
    /// Index of the slot.
    pub slot: usize,
    /// What it hands on.
    pub hands_on: HandsOn,
}

/// What a layer hands on, which a probe tells of where it is more than the output of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandsOn {
    /// Its output, and no more.
    Output,
    /// The residual stream, wherever no other way around it is open.
    Stream,
    /// The state of a recurrent net.
    State,
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
    /// Tokens of a sample, each a row of a batch; 1 where samples are rows.
    pub tokens: usize,
    /// Features of the first layer's input.
    pub input: usize,
    /// Input side first, the readout last.
    pub layers: Vec<Layer>,
    /// What the layers learn, slot by slot, in the order of a state dict.
    pub slots: Vec<Vec<Parameters>>,
}

/// Evidence of a net beyond MLPs. A page measures MLPs alone: in a module of WebAssembly there is no value of this type, so
/// that the compiler leaves out all that works on what holds one.
#[cfg(not(target_family = "wasm"))]
pub type Beyond = ();
/// The same, of which there is none.
#[cfg(target_family = "wasm")]
pub type Beyond = std::convert::Infallible;

/// The evidence, or a refusal where nets are MLPs.
#[allow(clippy::unnecessary_wraps)] // Not everywhere.
pub fn beyond() -> crate::error::Result<Beyond> {
    #[cfg(target_family = "wasm")]
    return Err(crate::error::Error::Value("a page measures MLPs alone".to_owned()));
    #[cfg(not(target_family = "wasm"))]
    Ok(())
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
    /// What went around, for a join, or the state before a step.
    pub around: Option<&'h Scaled<F>>,
    /// The states behind all steps, with their numbers, for the readout of every step.
    pub states: &'h [(&'h Scaled<F>, usize)],
    /// The input of the step, alone in the slice, in a net that is fed.
    pub step: &'h [Scaled<F>],
    /// What the masks of dropout are drawn from, in a pass of training.
    pub masks: Option<Masks>,
    /// May what goes out carry an exponent?
    pub carries: bool,
    /// The row of a probe.
    pub row: usize,
    /// The first of the columns that the part notes.
    pub columns: usize,
}

/// What a part sees of a backward pass beside the signal.
pub(crate) struct Back<'b, F> {
    /// The numbers of the layer.
    pub numbers: &'b [Numbers<F>],
    /// What the forward pass has left.
    pub kept: &'b Kept<F>,
    /// The value that was the input, and its number.
    pub input: Option<(&'b Scaled<F>, usize)>,
    /// The value that went around, and its number.
    pub around: Option<(&'b Scaled<F>, usize)>,
    /// The states behind all steps, with their numbers, for the readout of every step.
    pub states: &'b [(&'b Scaled<F>, usize)],
    /// The input of the step, alone in the slice, in a net that is fed.
    pub step: &'b [Scaled<F>],
    /// The row of a probe.
    pub row: usize,
    /// The first of the columns that the part notes.
    pub columns: usize,
    /// Is this the first part of the net, whose input is that of the net?
    pub first: bool,
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
            Self::Drop(_) => "dropout",
            Self::Cell(_) => "cell",
            Self::Cut(_) => "cut",
            Self::Steps(_) => "steps",
            Self::Attend(_) => "attention",
            Self::Pool(_) => "pool",
        }
    }

    /// How the part goes about its input and its output.
    pub fn work(&self) -> Work {
        match self {
            Self::Map(_) | Self::Steps(_) => Work::Apart,
            Self::Phi(_) | Self::Cell(_) | Self::Attend(_) | Self::Pool(_) => Work::Takes,
            Self::Norm(_) | Self::Join(_) | Self::Drop(_) => Work::InPlace,
            Self::Keep(_) | Self::Cut(_) => Work::Nothing,
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
            Self::Norm(_) | Self::Cell(_) | Self::Steps(_) | Self::Attend(_) => false,
            Self::Phi(phi) => phi.activation.at_zero().is_some(),
            Self::Keep(_) | Self::Drop(_) | Self::Cut(_) | Self::Pool(_) => true,
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
            Self::Steps(steps) => Some(steps.own),
            _ => None,
        }
    }

    /// Features that go out, of those that come in and those that went around.
    pub fn features(&self, slot: &[Parameters], input: usize, around: usize) -> usize {
        match self {
            Self::Map(map) => slot[map.own].linear().fan_out * (1 + usize::from(map.apart)),
            Self::Phi(phi) => phi.activation.outputs(input),
            Self::Join(join) => join.features(input, around),
            Self::Cell(cell) => cell.features(input),
            Self::Steps(steps) => steps.count * slot[steps.own].linear().fan_out,
            Self::Attend(attend) => attend.heads.count * attend.heads.features,
            _ => input,
        }
    }

    /// Names of the columns of a probe that are of this part alone: it notes them, each on the way forward or on the way
    /// back. Parts of one name have the same in all of a net.
    pub fn extra(&self) -> Vec<String> {
        match self {
            Self::Attend(_) => Attend::extra(),
            Self::Cell(cell) => cell.extra(),
            _ => Vec::new(),
        }
    }

    /// Features of all that is kept for the way back, of those that come in and go out. The input of a map is kept by
    /// whoever made it.
    pub fn kept_features<F: Float>(&self, input: usize, output: usize) -> usize {
        match self {
            Self::Map(_) | Self::Keep(_) | Self::Cut(_) | Self::Steps(_) | Self::Pool(_) => 0,
            Self::Norm(_) | Self::Drop(_) => input,
            Self::Phi(phi) => phi.kept_features(input),
            Self::Join(join) => join.kept_features(output),
            Self::Cell(cell) => cell.kept_features(input),
            Self::Attend(attend) => attend.kept_features::<F>(input),
        }
    }

    /// The stream that the part reads, and ends unless a later part reads it.
    pub fn reads(&self) -> Option<usize> {
        match self {
            Self::Map(map) => map.state,
            Self::Join(join) => Some(join.stream),
            Self::Cell(cell) => Some(cell.stream),
            _ => None,
        }
    }

    /// The stream that begins with the part, or that it moves on.
    pub fn begins(&self) -> Option<usize> {
        match self {
            Self::Keep(keep) => Some(keep.stream).filter(|_| !keep.to_readout),
            Self::Cell(cell) => Some(cell.stream).filter(|_| cell.moves()),
            _ => None,
        }
    }

    /// The way forward. `taken` is the input of a part that takes it, and `next` gets what a stream is moved on to; a
    /// part that works in place finds its input in `output`.
    /// False where the part itself sees a value that is not finite.
    pub(crate) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        (taken, next): (&mut Scaled<F>, &mut Scaled<F>),
        output: &mut Scaled<F>,
        kept: &mut Kept<F>,
        scratch: &mut Scratch<F>,
        watch: &mut impl Watch<F>,
    ) -> bool {
        match (self, here.input, here.around) {
            (Self::Map(map), Some(x), _) => map.forward(here, x, output, scratch),
            (Self::Norm(norm), ..) => norm.forward(here.numbers, &mut output.panels, kept, &mut scratch.sums),
            (Self::Phi(phi), ..) => phi.forward(here, taken, output, kept, &mut scratch.halves, watch),
            (Self::Join(join), _, Some(x)) => return join.forward(here, x, output, kept, &mut scratch.spare),
            (Self::Drop(drop), ..) => {
                drop.forward(here, &mut output.panels, kept, (&mut scratch.uniforms, &mut scratch.rows));
            }
            (Self::Attend(attend), ..) => return attend.forward(here, taken, output, kept, scratch, watch),
            (Self::Pool(pool), ..) => pool.forward(taken, output, &mut scratch.rows),
            (Self::Cell(cell), _, Some(state)) => {
                return cell.forward(here, state, (taken, next, output), kept, scratch, watch);
            }
            (Self::Steps(steps), ..) => steps.forward(here, output, scratch),
            (Self::Keep(_) | Self::Cut(_), ..) => (),
            (Self::Map(_), None, _) | (Self::Join(_) | Self::Cell(_), _, None) => {
                unreachable!("the plan gives {self:?} a value")
            }
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
        match (self, back.input, back.around) {
            (Self::Map(map), Some(x), _) => map.backward(back, x, signal, owner, collect),
            (Self::Norm(norm), ..) => norm.backward(back, signal, owner(norm.affine), collect),
            (Self::Phi(phi), ..) => phi.backward(back, signal, owner, collect),
            (Self::Join(join), _, Some(x)) => join.backward(back, x, signal, owner, collect),
            (Self::Cell(cell), _, Some((state, _))) => cell.backward(back, state, signal, owner, collect),
            (Self::Steps(steps), ..) => steps.backward(back, signal, owner(steps.own), collect),
            (Self::Keep(keep), ..) => keep.backward(signal),
            (Self::Cut(cut), ..) => cut.backward(signal),
            (Self::Drop(_), ..) => Drop::backward(back.kept, signal),
            (Self::Attend(attend), ..) => attend.backward(back, signal, collect),
            (Self::Pool(pool), ..) => pool.backward(signal),
            (Self::Map(_), None, _) | (Self::Join(_) | Self::Cell(_), _, None) => {
                unreachable!("the plan gives {self:?} a value")
            }
        }
    }
}

/// The module of a state dict that parameters belong to; in the order of a state dict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The map of what goes around a branch.
    Projections,
    /// The map of every step's input, one for the whole net.
    Inputs,
    /// The map of what a layer of a recurrent net gets at every step beside its own state.
    LayerInputs,
    /// Weight and bias of the normalisation behind the last layer.
    FinalNorm,
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
            Self::Projections => format!("projections.{slot}"),
            Self::Inputs => "inputs".to_owned(),
            Self::LayerInputs => format!("inputs.{slot}"),
            Self::FinalNorm => "final_norm".to_owned(),
            Self::Readout => "readout".to_owned(),
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
    /// The mask of a dropout.
    Drop(Panels<F>),
    /// Of a recurrent cell.
    Cell(Box<cell::Kept<F>>),
    /// Of attention.
    Attend(attend::Kept<F>),
}
