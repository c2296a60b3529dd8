//! From the fields of an `MLP` to layers of parts: what stands where, and what each part learns.

use super::{Bias, Mlp, Position};
use crate::activation::{Activation, Shape};
use crate::error::{Cancel, Error, Result};
use crate::init::{Distribution, Init, Place, Stands};
use crate::norm::Norm;
use crate::part::{
    Activate, Blocks, Drop, HandsOn, Join, Keep, Layer, LinearPlan, Map, Module, Net, Normalise, Parameters, Part,
};
use crate::rng::Role;
use crate::skip::{self, Order, Skip};

/// The shape of a hidden layer, and where its activation stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerShape {
    /// Features that come in.
    pub input: usize,
    /// Columns of the weights: those features, or what an activation before the map makes of them.
    pub fan_in: usize,
    /// Rows of the weights: features of `z`.
    pub width: usize,
    /// Features that go out.
    pub output: usize,
    /// The activation; linear in the last layer of a block of order `linear`.
    pub activation: Activation,
    /// Where the activation stands: `Pre` before the map, `Post` after the sum with what went around the block.
    pub order: Order,
    /// The first layer of the block whose skip ends here.
    pub from: Option<usize>,
}

impl Mlp {
    /// What the first layer takes beside its own input: a recurrent net that is fed starts from zeros.
    fn first_input(&self) -> usize {
        let width = *self.width.at(0);
        match self.skip.map(|skip| skip.order()) {
            _ if !self.fed => self.in_features,
            // A step gives what its map does, activated before it or not at all.
            Some(Order::Pre | Order::Linear) => width,
            _ => self.activation.at(0).outputs(width),
        }
    }

    /// The shapes of the hidden layers, input side first.
    pub fn layers(&self) -> Result<Vec<LayerShape>> {
        let (mut all, mut input) = (Vec::with_capacity(self.depth), self.first_input());
        let Some(skip) = self.skip else {
            for layer in 0..self.depth {
                all.push(self.layer(layer, input, Order::After, None)?);
                input = all[layer].output;
            }
            return Ok(all);
        };
        for layer in 0..self.stem {
            all.push(self.layer(layer, input, Order::After, None)?);
            input = all[layer].output;
        }
        for start in (self.stem..self.depth).step_by(self.block) {
            let end = start + self.block - 1;
            for layer in start..=end {
                let from = (layer == end).then_some(start);
                all.push(self.layer(layer, all.last().map_or(input, |l: &LayerShape| l.output), skip.order(), from)?);
            }
            let last = all[end];
            let joined = if skip.order() == Order::Post { last.width } else { last.output };
            if skip.way() == skip::Way::Concatenate {
                all[end].output += input;
            } else if joined != input && start == self.stem {
                // A first block that changes the number of features has no skip: its layers are as without one.
                all.truncate(start);
                for layer in start..=end {
                    let input = all.last().map_or(input, |l: &LayerShape| l.output);
                    all.push(self.layer(layer, input, Order::After, None)?);
                }
            } else if joined != input {
                return Err(Error::Value(format!(
                    "a {} skip needs as many features at both ends of a block, got {input} before layer {} and {joined} \
                     after layer {}, whose width[{end}]={}; make them equal or use skip=None",
                    skip.signature().name,
                    start + 1,
                    end + 1,
                    last.width
                )));
            }
            input = all[end].output;
        }
        Ok(all)
    }

    /// One layer by itself; a block that ends here begins at `from`.
    fn layer(&self, index: usize, input: usize, order: Order, from: Option<usize>) -> Result<LayerShape> {
        Cancel::heed()?;
        let width = *self.width.at(index);
        // The last layer of a block of this order has no activation, and one in the middle of a block stands as ever.
        let (activation, order) = match (order, from) {
            (Order::Linear, Some(_)) => (Activation::linear(), Order::After),
            (Order::Linear | Order::Post, None) => (*self.activation.at(index), Order::After),
            (order, _) => (*self.activation.at(index), order),
        };
        let activation_input = if order == Order::Pre { input } else { width };
        if activation.shape() == Shape::Gated && !activation_input.is_multiple_of(2) {
            return Err(Error::value(
                &format!("width of a layer with activation '{}'", activation.text()),
                "even, for half of its units are gates",
                activation_input,
            ));
        }
        let outputs = activation.outputs(activation_input);
        let (fan_in, output) = if order == Order::Pre { (outputs, width) } else { (input, outputs) };
        Ok(LayerShape { input, fan_in, width, output, activation, order, from })
    }

    /// The init of a hidden layer's map, or the readout's.
    pub fn init_of(&self, layer: Option<usize>) -> &Init {
        self.init.of(layer)
    }

    /// Where a hidden layer's map stands, or the readout's.
    pub fn place<'s>(&self, layers: &'s [LayerShape], layer: Option<usize>) -> Place<'s> {
        let scales = |skip: &Skip| matches!(skip.way(), skip::Way::Add | skip::Way::Learned);
        let branches = self.skip.filter(scales);
        let end = |layer: usize| layer - (layer - self.stem) % self.block + self.block - 1;
        let blocks = layer.filter(|&layer| branches.is_some() && layer >= self.stem);
        let branch = blocks.filter(|&layer| layers[end(layer)].from.is_some());
        Place {
            fan_in: layer.map_or_else(|| layers[self.depth - 1].output, |layer| layers[layer].fan_in),
            fan_out: layer.map_or_else(|| self.out_features.unwrap_or_default(), |layer| layers[layer].width),
            depth: self.depth,
            layer,
            blocks: branches.map_or(self.depth, |_| (self.depth - self.stem) / self.block),
            block: branch.map_or(0, |_| self.block),
            ends_branch: branch.is_some_and(|layer| layer == end(layer)),
            activation: layer.map(|layer| &layers[layer].activation),
            stands: Stands::Alone,
        }
    }

    /// The net as layers of parts, the readout last. A valid spec has them, unless the job of this thread is given up.
    pub fn lower(&self) -> Result<Net> {
        let shapes = self.layers()?;
        let lowering = Lowering { spec: self, shapes: &shapes };
        let slots = if self.tied { 1 } else { self.depth };
        let slot = |layer| Cancel::heed().map(|()| lowering.slot(layer));
        let mut slots = (0..slots).map(slot).collect::<Result<Vec<_>>>()?;
        let slot = |layer| if self.tied { 0 } else { layer };
        let layer = |layer| {
            Cancel::heed()?;
            let parts = lowering.parts(layer, &slots[slot(layer)]);
            let hands_on = if self.skip.is_some() { HandsOn::Stream } else { HandsOn::Output };
            Ok(Layer { parts, slot: slot(layer), hands_on })
        };
        let mut layers = (0..self.depth).map(layer).collect::<Result<Vec<_>>>()?;
        let (parts, slot) = lowering.end();
        if !parts.is_empty() {
            layers.push(Layer { parts, slot: slots.len(), hands_on: HandsOn::Output });
            slots.push(slot);
        }
        Ok(Net {
            depth: self.depth,
            columns: self.in_features * if self.fed { self.depth } else { 1 },
            fed: self.fed.then_some(self.in_features),
            tokens: 1,
            input: shapes.first().map_or(0, |shape| shape.input),
            layers,
            slots,
        })
    }
}

/// A spec on its way to parts.
struct Lowering<'s> {
    spec: &'s Mlp,
    shapes: &'s [LayerShape],
}

impl Lowering<'_> {
    /// A linear map that stands at a place.
    fn linear(&self, layer: Option<usize>, place: Place<'_>, roles: (Role, Role)) -> LinearPlan {
        let init = self.spec.init_of(layer);
        LinearPlan {
            fan_in: place.fan_in,
            fan_out: place.fan_out,
            weight: init.weight(&place),
            blocks: Blocks::ONE,
            factor: 1.0,
            bias: match self.spec.bias.of(layer) {
                Bias::Absent => None,
                bias => Some(init.bias(bias.named(), &place)),
            },
            raised: None,
            transform: None,
            calibrates: init.calibrates(),
            layer: layer.unwrap_or(0),
            roles,
        }
    }

    /// What stands behind the last hidden layer, with what it learns.
    fn end(&self) -> (Vec<Part>, Vec<Parameters>) {
        let (mut parts, mut slot) = (Vec::new(), Vec::new());
        let features = self.shapes[self.spec.depth - 1].output;
        if let Some(norm) = self.spec.final_norm {
            parts.push(Part::Norm(Normalise { norm, affine: slot.len() }));
            slot.push(Parameters::affine(Module::FinalNorm, features, norm.centres()));
        }
        if self.spec.out_features.is_some() {
            let place = self.spec.place(self.shapes, None);
            parts.push(Part::Map(Map::of(slot.len(), false)));
            let plan = self.linear(None, place, (Role::ReadoutWeight, Role::ReadoutBias));
            slot.push(Parameters::linear_of(Module::Readout, plan));
        }
        (parts, slot)
    }

    /// The parameters of a layer, in the order of a state dict; in a tied net those of all layers.
    fn slot(&self, layer: usize) -> Vec<Parameters> {
        let Self { spec, shapes } = self;
        let (shape, place) = (&shapes[layer], spec.place(shapes, Some(layer)));
        let own = self.linear(Some(layer), place, (Role::Weight, Role::Bias));
        let mut slot = vec![Parameters::linear_of(Module::Layers, LinearPlan { transform: spec.transform, ..own })];
        let norm = spec.norm.at(layer);
        slot.extend(norm.map(|norm| Parameters::affine(Module::Norms, self.normed(layer, shape), norm.centres())));
        slot.extend(shape.activation.learned().map(|slope| Parameters::scalar(Module::Activations, slope)));
        // The layers of a tied net share one gate or factor, whichever of them has it.
        let joins = if spec.tied { shapes.iter().any(|shape| shape.from.is_some()) } else { shape.from.is_some() };
        match spec.skip.filter(|_| joins).map(|skip| (skip, skip.way())) {
            Some((skip, skip::Way::Learned)) => slot.push(Parameters::scalar(Module::Skips, skip.alpha())),
            Some((skip, skip::Way::Gate)) => {
                let fan_in = shapes[shape.from.unwrap_or(layer)].input;
                let place = Place { fan_in, fan_out: shape.output, ..place };
                let gate = LinearPlan {
                    factor: skip.gate_gain(),
                    bias: Some(Distribution::Constant(skip.gate_bias())),
                    ..self.linear(Some(layer), place, (Role::GateWeight, Role::GateBias))
                };
                slot.push(Parameters::linear_of(Module::Gates, gate));
            }
            _ => (),
        }
        if spec.fed {
            let place = Place { fan_in: spec.in_features, ..place };
            let inputs = self.linear(Some(layer), place, (Role::InputWeight, Role::InputWeight));
            slot.push(Parameters::linear_of(Module::Inputs, LinearPlan { bias: None, ..inputs }));
        }
        slot
    }

    /// Features of a layer's normalisation.
    fn normed(&self, layer: usize, shape: &LayerShape) -> usize {
        match (shape.order, self.spec.position.at(layer)) {
            (Order::Pre, Position::Pre) => shape.input,
            (Order::Pre, Position::Post) | (_, Position::Input) => shape.fan_in,
            (_, Position::Pre) => shape.width,
            (_, Position::Post) => shape.activation.outputs(shape.width),
        }
    }

    /// The parts of a layer, in order.
    fn parts(&self, layer: usize, slot: &[Parameters]) -> Vec<Part> {
        let Self { spec, shapes } = self;
        let shape = &shapes[layer];
        let place = |module| slot.iter().position(|parameters| parameters.module == module);
        let pre = shape.order == Order::Pre;
        let map = Part::Map(Map { fed: place(Module::Inputs), ..Map::of(0, pre) });
        let norm = |norm: Norm| place(Module::Norms).map(|affine| Part::Norm(Normalise { norm, affine }));
        let slope = shape.activation.learned().and_then(|_| place(Module::Activations));
        let phi = Part::Phi(Activate { activation: shape.activation, slope });
        // A block that begins here ends as many layers on as a skip spans.
        let opens = shapes.get(layer + spec.block - 1).is_some_and(|end| end.from == Some(layer));
        let keep = opens.then_some(Part::Keep(Keep::of(0)));
        let join = spec.skip.filter(|_| shape.from.is_some()).map(|skip| {
            let learned = place(Module::Skips).or(place(Module::Gates)).unwrap_or_default();
            Part::Join(Join { stream: 0, way: skip.way(), scale: spec.branch_scale, around: 1.0, learned })
        });
        let norm = spec.norm.at(layer).and_then(norm);
        let at = |position: Position| norm.filter(|_| *spec.position.at(layer) == position);
        let [before, behind, first] = [Position::Pre, Position::Post, Position::Input].map(at);
        let share = *spec.dropout.at(layer);
        let drop = (share > 0.0).then_some(Part::Drop(Drop { p: share, layer }));
        let (map, phi) = (Some(map), Some(phi));
        let parts = match shape.order {
            Order::Pre => [keep, before, phi, behind, first, map, drop, join],
            Order::Post => [keep, first, map, before, drop, join, phi, behind],
            Order::After | Order::Linear => [keep, first, map, before, phi, behind, drop, join],
        };
        parts.into_iter().flatten().collect()
    }
}
