//! What parts learn: parameters as the plan knows them, their numbers, and whose gradient is whose.

use super::{Affine, Linear, LinearPlan, Module, UnitNormals};
use crate::error::{Cancel, Result};
use crate::simd::Float;

/// Parameters as the plan knows them.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// Where they stand in a state dict.
    pub module: Module,
    /// What they are.
    pub shape: Shape,
    /// What a state dict calls them, where that is not by module and slot.
    pub label: Option<Label>,
}

/// A name in a state dict.
#[derive(Debug, Clone, Copy)]
pub enum Label {
    /// Of the whole net.
    Net(&'static str),
    /// Of something in a block, by the number of the block.
    Block(usize, &'static str),
}

impl Label {
    /// The name.
    pub fn text(self) -> String {
        match self {
            Self::Net(what) => what.to_owned(),
            Self::Block(block, what) => format!("layers.{block}.{what}"),
        }
    }
}

/// What parameters are, and what they start from.
#[allow(clippy::large_enum_variant)] // Most of a net's parameters are those of maps: a box saves nothing.
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
        Self { module, shape: Shape::Linear(plan), label: None }
    }

    /// Weight and, where the mean is taken away, bias of a normalisation.
    pub fn affine(module: Module, features: usize, centres: bool) -> Self {
        Self { module, shape: Shape::Affine(features, centres), label: None }
    }

    /// One number of a module.
    pub fn scalar(module: Module, start: f64) -> Self {
        Self { module, shape: Shape::Scalar(start), label: None }
    }

    /// The same under a name of its own.
    pub fn called(self, label: Label) -> Self {
        Self { label: Some(label), ..self }
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

    /// What one number starts from; what else there is is drawn.
    pub fn start(&self) -> f64 {
        match self.shape {
            Shape::Scalar(start) => start,
            shape => unreachable!("a number was planned, not {shape:?}"),
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

    /// The factors and summands that these are, to be changed.
    pub fn affine_mut(&mut self) -> &mut Affine<F> {
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
